"""The slices that methods are judged on, and the paper's metrics inside the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract, metrics
from ctlib.errors import ArgumentError
from ctlib.metrics.paired import paired_interval
from ctlib.papers.hqinet.cases import WINDOW_HU, Case

METRICS = ("L1", "NMSE", "PSNR", "MI", "SSIM")


@dataclass(frozen=True, eq=False)
class JudgedSlices:
    """Whole slices of several people, as gray values of one window.

    inputs        (N, 3, Y, X) adjacent slices at low dose
    full, truth   (N, 1, Y, X) the middle one at full dose, and as it is (None where nobody knows)
    inside        (N, 1, Y, X) bool: where they are judged
    patients, regions, doses  of each
    """

    inputs: Tensor
    full: Tensor
    truth: Tensor | None
    inside: Tensor
    patients: tuple[str, ...]
    regions: tuple[str, ...]
    doses: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def low(self) -> Tensor:
        """The middle slice at low dose, (N, 1, Y, X)."""
        return self.inputs[:, 1:2]

    def targets(self) -> dict[str, Tensor]:
        """What images can be compared with: the full dose, and the truth where it is known."""
        return {"full dose": self.full} | ({} if self.truth is None else {"truth": self.truth})


def judged_slices(cases: Sequence[Case], each: int = 1, window_hu: tuple[float, float] = WINDOW_HU) -> JudgedSlices:
    """At most `each` inner slices of every case, from its middle, with both their neighbors."""
    each, parts = contract.count("each", each, 1), []
    for c in cases:
        pair, inner = c.gray(window_hu), range(1, len(c.full) - 1)
        first = (len(inner) - min(each, len(inner))) // 2
        for k in inner[first : first + each]:
            truth = None if pair.truth is None else pair.truth[k : k + 1]
            parts.append((pair.low[k - 1 : k + 2], pair.full[k : k + 1], truth, c.inside[k : k + 1], c))
    if not parts:
        raise ArgumentError("cases", f"{len(cases)} of them", "one of at least three slices")
    inputs, full, truth, inside, of = zip(*parts, strict=True)
    known = None if any(t is None for t in truth) else torch.stack(truth)
    about = (tuple(getattr(c, name) for c in of) for name in ("patient", "region", "dose"))
    return JudgedSlices(torch.stack(inputs), torch.stack(full), known, torch.stack(inside), *about)


def body_scores(
    x: Tensor, ref: Tensor, inside: Tensor, names: Sequence[str] = METRICS, mi_bins: int = 64
) -> dict[str, Tensor]:
    """The paper's four metrics and SSIM of every slice inside the body, (N,) each; x, ref gray (N, 1, Y, X).

    mi_bins  histogram bins of the mutual information over [0, 1]
    """
    x, ref = contract.together((1, "Y", "X"), promote=True, x=x, ref=ref)
    inside = contract.mask("inside", inside, x.shape[-2:])
    if x.shape != ref.shape or x.shape != inside.shape or x.ndim != 4:
        raise ArgumentError("x", f"shape {tuple(x.shape)}", f"(N, 1, Y, X) as ref, {tuple(ref.shape)}, and inside")
    mi_bins = contract.count("mi_bins", mi_bins, 1)
    a, b, m = x[:, 0], ref[:, 0], inside[:, 0]

    def l1() -> Tensor:
        return torch.where(m, (a - b).abs(), 0.0).sum((1, 2)) / m.sum((1, 2))

    def information() -> Tensor:
        each = (metrics.mutual_information(s[k][None], t[k][None], mi_bins) for s, t, k in zip(a, b, m, strict=True))
        return torch.stack(list(each))

    known = {
        "L1": l1,
        "NMSE": lambda: metrics.nmse(a, b, m),
        "PSNR": lambda: metrics.psnr(a, b, data_range=1.0, mask=m),
        "MI": information,
        "SSIM": lambda: metrics.ssim(a, b, data_range=1.0, mask=m),
    }
    return {name: known[contract.choice("names", name, METRICS)]() for name in names}


def body_psnr(x: Tensor, s: JudgedSlices, against: str = "full dose") -> float:
    """Mean PSNR [dB] inside the body of images (N, 1, Y, X) of judged slices."""
    return float(body_scores(x, s.targets()[against], s.inside, ["PSNR"])["PSNR"].mean())


def per_patient(outputs: Sequence[Tensor], s: JudgedSlices, against: str = "full dose", what: str = "PSNR") -> Tensor:
    """One metric of every seed, averaged over each patient's slices: (seeds, patients), patients sorted.

    outputs  (N, 1, Y, X) of one method a seed, on the same slices
    """
    if not outputs or any(len(x) != len(s) for x in outputs):
        raise ArgumentError("outputs", [len(x) for x in outputs], f"one image for each of the {len(s)} slices, a seed")
    member = torch.tensor([[p == q for q in s.patients] for p in sorted(set(s.patients))], dtype=torch.float32)
    ref = s.targets()[against]
    values = torch.stack([body_scores(x, ref, s.inside, [what])[what].cpu().float() for x in outputs])
    return values @ member.T / member.sum(1)


def compare(
    first: Sequence[Tensor], second: Sequence[Tensor], s: JudgedSlices, against: str = "full dose", what: str = "PSNR"
) -> list[float]:
    """Lower end, mean and upper end of first minus second, on the same slices and seeds; ends as `paired_interval`."""
    num = min(len(first), len(second))
    both = (per_patient(outputs[:num], s, against, what) for outputs in (first, second))
    difference = next(both) - next(both)
    low, high = paired_interval(difference, torch.Generator().manual_seed(0))
    return [low, float(difference.mean()), high]
