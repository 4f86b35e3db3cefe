"""The chapter's experiment: bodies divided by patient, all trainings in order of importance, and their test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ctlib.data.pairs import require_disjoint
from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.cases import Case
from ctlib.papers.hqinet.cohort import cases_of
from ctlib.papers.hqinet.judged import JudgedSlices, judged_slices
from ctlib.papers.hqinet.patches import CasePatches, fixed_patches
from ctlib.papers.hqinet.training import Trained, Training, builder, restore, sizes, train_once
from ctlib.train.distributed import rank_and_size
from ctlib.train.kept import claimed

TUNING_SEED = 100  # of trainings that choose a learning rate; used nowhere else
TUNED = {"HQINet": "hqinet", "U-Net": "unet", "RED-CNN": "redcnn"}
FULL = "HQINet, full width"
HELD_OUT = 24  # patches that trainings are validated on
VARIANTS = {  # method: what differs from the method it is a variant of, and the block of the plan
    "1 slice": ("main", {"num_slices": 1}),
    "no scSE": ("ablations", {"options": (("scse", False),)}),
    "no ASPP": ("ablations", {"options": (("use_aspp", False),)}),
    "one scale": ("ablations", {"options": (("multi_scale", False),)}),
    "L1 alone": ("ablations", {"alpha": 1.0}),
    "SSIM alone": ("ablations", {"alpha": 0.0}),
    "paper's optimizer": ("ablations", {"schedule": "constant", "options": (("how", "paper"),)}),
}


@dataclass
class Study:
    """Cases of "train", "val" and "test", and the trainings of the chapter's parameters `p` as far as they are made."""

    p: Mapping
    cases: Mapping[str, Sequence[Case]]
    told: str = ""
    done: dict[str, Trained] = field(default_factory=dict, repr=False)
    chosen: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if empty := [part for part in ("train", "val", "test") if not self.cases.get(part)]:
            raise ArgumentError("cases", f"none to {', '.join(empty)}", "bodies in every part")
        require_disjoint({part: [c.patient for c in cases] for part, cases in self.cases.items()})
        self._tests: dict[str, JudgedSlices] = {}
        self._outputs: dict[str, dict[str, Tensor]] = {}

    @property
    def size(self) -> dict[str, object]:
        """Options of the HQINet of this study."""
        return sizes(self.p["shrink"], self.p["blocks"], self.p["aspp_rates"])

    @property
    def tests(self) -> dict[str, JudgedSlices]:
        """What is judged: {"real": slices, "synthetic": slices}, those that there are."""
        if not self._tests:
            kinds = {"real": False, "synthetic": True}
            of = {k: [c for c in self.cases["test"] if (c.truth is not None) is made] for k, made in kinds.items()}
            self._tests = {k: judged_slices(cases, self.p["judged"]) for k, cases in of.items() if cases}
        return self._tests

    def patches(self, part: str, size: int, num_slices: int = 3, turned: bool = True) -> CasePatches:
        """Samples of a part, cut to patches."""
        return CasePatches(self.cases[part], size, num_slices, turned)

    def held_out(self) -> tuple[Tensor, Tensor]:
        """Validation patches, the same for every method."""
        return fixed_patches(self.patches("val", max(self.p["patch"], self.p["full_patch"]), turned=False), HELD_OUT)

    def training(self, method: str, seed: int, **changes) -> Training:
        """A training of the plan by its name."""
        p, block, changed = self.p, "main", {}
        if method == FULL:
            sized = tuple(sizes(1, p["full_blocks"], p["aspp_rates"]).items())
            full = {"steps": p["full_steps"], "batch": p["full_batch"], "patch": p["full_patch"], "lr": p["full_lr"]}
            changed, block = {**full, "options": sized}, "full width"
        elif method in VARIANTS:
            block, changed = VARIANTS[method]
        kind = TUNED.get(method, "hqinet")
        lr = p["lr_paper"] if method == "paper's optimizer" else self.rate(method if method in TUNED else "HQINet")
        base = Training(block, method, seed, kind, p["steps"], p["batch"], p["patch"], lr, alpha=p["alpha"])
        return replace(base, **{**changed, **changes})

    def rate(self, method: str) -> float:
        """Learning rate of a method: the one that was chosen, else that of the parameters."""
        return self.chosen.get(method, self.p[f"lr_{TUNED[method]}"])

    def make(self, t: Training) -> Trained:
        """The result of a training: known, read from its checkpoint, or computed."""
        if t.file not in self.done:
            folder, options = self.p["checkpoints"], dict(t.options)
            build = builder(t.kind, t.num_slices, self.size, **options)
            fetch = CasePatches(self.cases["train"], t.patch, t.num_slices, device=self.p["device"])
            path = Path(folder, t.file) if folder else None
            how = {"precision": self.p["precision"], "device": self.p["device"], "looks": self.p["looks"]}
            self.done[t.file] = train_once(t, build, fetch, self.held_out(), path=path, **how)
        return self.done[t.file]

    def trials(self) -> dict[str, list[dict[str, float]]]:
        """Learning rates tried for every network, as many for each; RED-CNN, without normalization, a tenth of them."""
        rates = {m: [(0.1 if m == "RED-CNN" else 1.0) * r for r in self.p["tune_rates"]] for m in TUNED}
        return {m: [{"lr": r} for r in of] or [{}] for m, of in rates.items()}

    def trial(self, method: str, settings: Mapping[str, float]) -> float:
        """PSNR [dB] on the validation patches of a short training; of the whole one where there is no trial."""
        job = self.trial_of(method, settings)
        with self.claim(job):  # another process may be at it
            return self.make(job).best

    def trial_of(self, method: str, settings: Mapping[str, float]) -> Training:
        """The training that is a trial."""
        changes = {"steps": self.p["tune_steps"], "block": "tuning", **settings} if settings else {}
        return self.training(method, TUNING_SEED if settings else self.p["seeds"][0], **changes)

    def choose(self, methods: Sequence[str] = tuple(TUNED)) -> None:
        """Set the learning rates to the best of the trials, where some were asked for."""
        for method in methods:
            if self.p["tune_rates"]:
                self.chosen[method] = max(self.trials()[method], key=lambda s, m=method: self.trial(m, s))["lr"]

    def seeds_of(self, method: str) -> Sequence[int]:
        """Seeds of a method's trainings."""
        if method == FULL:
            return self.p["full_seeds"]
        few = method in VARIANTS and VARIANTS[method][0] == "ablations"
        return self.p["seeds"][: self.p["ablation_seeds"]] if few else self.p["seeds"]

    def steps_of(self, method: str) -> int:
        """Steps of a method's trainings."""
        return self.training(method, self.seeds_of(method)[0]).steps

    def trained(self, method: str) -> list[Trained]:
        """All trainings of a method, one a seed."""
        return [self.make(self.training(method, seed)) for seed in self.seeds_of(method)]

    def outputs(self, method: str) -> dict[str, list[Tensor]]:
        """{"real": [restored test slices (N, 1, Y, X), one a seed], "synthetic": ...}."""
        found: dict[str, list[Tensor]] = {kind: [] for kind in self.tests}
        for seed in self.seeds_of(method):
            t = self.training(method, seed)
            if t.file not in self._outputs:
                net = self.make(t).net
                self._outputs[t.file] = {
                    kind: restore(net, s.inputs, t.num_slices, self.p["precision"]) for kind, s in self.tests.items()
                }
            for kind, image in self._outputs[t.file].items():
                found[kind].append(image)
        return found

    def curves(self, *methods: str) -> dict[str, tuple]:
        """{"method, seed": (steps, PSNR)} of trainings, for a claim that rests on them."""
        return {f"{m}, {s}": self.make(self.training(m, s)).curve for m in methods for s in self.seeds_of(m)}

    def main_method(self) -> str:
        """HQINet at the paper's width where it is trained, else the one of this study."""
        return FULL if self.p["full_seeds"] else "HQINet"

    @property
    def checkpoints(self) -> str:
        """The folder of the trainings; empty: none."""
        return self.p["checkpoints"]

    def tuning(self, methods: Sequence[str]) -> list[Training]:
        """The short trainings that choose the learning rates of methods."""
        trials = self.trials()
        return [self.trial_of(m, s) for m in methods for s in trials[m] if self.p["tune_rates"]]

    def plan(self) -> Iterator[Training]:
        """All trainings, the most important first; learning rates are chosen on the way."""
        yield from self.tuning(["HQINet"])
        self.choose(["HQINet"])
        yield from (self.training(FULL, s) for s in self.p["full_seeds"])
        yield from (self.training("HQINet", s) for s in self.p["seeds"])
        yield from self.tuning(["U-Net", "RED-CNN"])
        self.choose(["U-Net", "RED-CNN"])
        for block in ("main", "ablations"):
            methods = (["U-Net", "RED-CNN"] if block == "main" else []) + [
                m for m, v in VARIANTS.items() if v[0] == block
            ]
            yield from (self.training(m, s) for m in methods for s in self.seeds_of(m))

    def claim(self, job: Training, wait: bool = True) -> AbstractContextManager[bool]:
        """`claimed` for a training; where several processes make it together, or none of it is kept, all have it."""
        alone = self.checkpoints and rank_and_size()[1] == 1
        return claimed(Path(self.checkpoints, job.file), wait) if alone else nullcontext(True)

    def do(self, job: Training, wait: bool = True) -> str | None:
        """Make a training or find it, and say how good it is; None where another process is at it, if not waited for.

        The processes of one training, several devices, make it together.
        """
        with self.claim(job, wait) as ours:
            if not ours:
                return None
            best = self.make(job).best
        self.done.pop(job.file)  # it is in its file
        return f"{best:.2f} dB"


def study_of(p: Mapping) -> Study:
    """The experiment of the chapter with these parameters, by name as its first cell declares them."""
    cases, told = cases_of(p)
    return Study(p, cases, told)
