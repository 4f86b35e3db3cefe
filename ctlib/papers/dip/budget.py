"""How many steps a deep image prior needs to pass its rivals, task by task: leads at given budgets, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctlib.papers.dip.compare import PRIOR, rivals_of, score_of
from ctlib.papers.dip.plan import KINDS, Study

AHEAD_DB = 0.2  # a lead that another machine does not turn
NUM_BUDGETS = 7


@dataclass(frozen=True)
class Race:
    """The prior's averaged output over its steps and the levels of tuned rivals, one task on one body.

    after   steps done when images were kept, rising;  values  PSNR on the judged pixels then [dB], (seeds, steps)
    levels  {method: median PSNR [dB]}, best rival first
    stop    (steps, median PSNR [dB]) where the prior was stopped by what was best on another body
    """

    after: np.ndarray
    values: np.ndarray
    levels: Mapping[str, float]
    stop: tuple[int, float]

    @property
    def middle(self) -> np.ndarray:
        """The median over seeds [dB], (steps,)."""
        return np.median(self.values, axis=0)

    def lead(self, method: str, budget: int) -> float | None:
        """Lead over a method at the last image kept within a budget [dB]; None where the fit has other lengths."""
        within = np.flatnonzero(self.after <= budget)
        if not len(within) or budget > self.after[-1]:
            return None
        return float(self.middle[within[-1]] - self.levels[method])

    def ahead_from(self, method: str) -> int | None:
        """Steps after which the prior is first ahead by more than 0.2 dB; None where it never is."""
        ahead = np.flatnonzero(self.middle > self.levels[method] + AHEAD_DB)
        return int(self.after[ahead[0]]) if len(ahead) else None


def course(study: Study, role: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps done, PSNR of the averaged output on the judged pixels [dB] (seeds, steps)), where images are kept."""
    steps, seeds = study.marks(kind), study.seeds[role]
    fits = zip(study.fits(role, kind), seeds, strict=True)
    values = np.array([[score_of(study, role, kind, s, f.averages[t]) for t in steps] for f, s in fits])
    return np.array(steps) + 1, values


def races(study: Study, role: str, found: Mapping[str, Mapping[str, np.ndarray]], tunings: Mapping) -> dict[str, Race]:
    """{kind: Race} on a body, from its scores and from what was tuned on the other one."""
    out = {}
    for kind in KINDS:
        levels = {m: float(np.median(found[kind][m])) for m in rivals_of(found[kind])}
        levels = dict(sorted(levels.items(), key=lambda item: -item[1]))
        chosen = tunings[kind].best(PRIOR).settings["step"] + 1
        out[kind] = Race(*course(study, role, kind), levels, (chosen, float(np.median(found[kind][PRIOR]))))
    return out


def budgets(study: Study) -> list[int]:
    """The longest fit, half of it, a quarter ...: the budgets of the tables, rising."""
    longest = max(study.steps[kind] for kind in KINDS)
    return sorted({max(1, longest >> k) for k in range(NUM_BUDGETS)})


def lead_rows(found: Mapping[str, Race], at: Sequence[int], words: Mapping[str, str]) -> list[list]:
    """Rows of a table: task, method, its PSNR, the prior's lead at every budget, first step at which it is ahead."""
    rows = []
    for kind, race in found.items():
        for method, level in race.levels.items():
            first = race.ahead_from(method)
            leads = [race.lead(method, steps) for steps in at]
            rows.append([f"{words[kind]}: {method}", level, *leads, "never" if first is None else str(first)])
    return rows


def race_plots(found: Mapping[str, Mapping[str, Race]], words: Mapping[str, str]) -> dict[str, dict]:
    """{"panels", "levels", "dots"} of a figure with a plot a body: curves, the best rival's level, stopping points."""
    one = {role: {words[k]: r for k, r in by.items()} for role, by in found.items()}
    return {
        "panels": {role: {w: (r.after, r.values) for w, r in by.items()} for role, by in one.items()},
        "levels": {role: {w: max(r.levels.values()) for w, r in by.items()} for role, by in one.items()},
        "dots": {role: {w: r.stop for w, r in by.items()} for role, by in one.items()},
    }


def told(found: Mapping[str, Race], methods: Iterable[str], words: Mapping[str, str]) -> str:
    """Over which methods the prior is ahead in which tasks and from which step on, as one line a method."""
    lines = []
    for method in methods:
        against = {words[k]: r.ahead_from(method) for k, r in found.items() if method in r.levels}
        won = [f"{task} from step {step}" for task, step in against.items() if step is not None]
        lost = [task for task, step in against.items() if step is None]
        parts = [f"ahead in {'; '.join(won)}"] * bool(won) + [f"at no budget in {'; '.join(lost)}"] * bool(lost)
        lines.append(f"- {method}: {', and '.join(parts)}")
    return "\n".join(lines)


def ever_ahead(found: Mapping[str, Race], methods: Iterable[str]) -> list[bool]:
    """Whether the prior is ahead at some budget, for every task and method of these that are compared in it."""
    return [r.ahead_from(m) is not None for r in found.values() for m in methods if m in r.levels]
