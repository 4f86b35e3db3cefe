"""Rows of the chapter's tables, and what claims are made of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ctlib.papers.hqinet import cases
from ctlib.papers.hqinet.cases import Case
from ctlib.papers.hqinet.cohort import scanner_of
from ctlib.papers.hqinet.judged import METRICS, JudgedSlices, body_scores, judged_slices
from ctlib.papers.hqinet.study import Study

PAPER = {  # Table I: low dose and HQINet, mean and standard deviation
    "L1": ((0.043, 0.020), (0.021, 0.006)),
    "NMSE": ((0.062, 0.039), (0.012, 0.006)),
    "PSNR": ((25.81, 5.86), (31.30, 2.69)),
    "MI": ((1.01, 0.44), (1.30, 0.38)),
}


def spread(values: Tensor) -> tuple[float, float]:
    """(mean, standard deviation) of slices; 0 where there is one alone."""
    return float(values.mean()), float(values.std()) if len(values) > 1 else 0.0


def over_people(values: Tensor, patients: Sequence[str]) -> tuple[float, float]:
    """(mean, standard deviation) over people or bodies of the means over their slices; nan where there is one alone."""
    each = torch.stack([values[[p == q for q in patients]].mean() for p in sorted(set(patients))])
    return float(each.mean()), float(each.std()) if len(each) > 1 else math.nan


def table_one(study: Study, method: str, mi_bins: int) -> list[list]:
    """Rows of Table I: the paper's, then for every world and reference low dose, the method's first seed, full dose."""
    rows = [[f"{m}, paper", *PAPER[m], None] for m in PAPER]
    outputs = study.outputs(method)
    for kind, s in study.tests.items():
        for against, ref in s.targets().items():
            images = [s.low, outputs[kind][0], *([s.full] if against == "truth" else [])]
            cells = [body_scores(x, ref, s.inside, METRICS, mi_bins) for x in images]
            for m in METRICS:
                last = [] if against == "truth" else [None]
                rows.append([f"{m}, {kind}, against {against}", *(over_people(c[m], s.patients) for c in cells), *last])
    return rows


def changes(study: Study, method: str, against: str, what: str, mi_bins: int = 64) -> dict[str, list[list[float]]]:
    """{world: [[before, after] a seed]} of a metric's mean over slices; worlds without that reference are left out."""
    found = {}
    for kind, s in study.tests.items():
        if against in s.targets():
            score = lambda x, s=s: float(  # noqa: E731
                body_scores(x, s.targets()[against], s.inside, [what], mi_bins)[what].mean()
            )
            found[kind] = [[score(s.low), score(x)] for x in study.outputs(method)[kind]]
    return found


def gains(found: Mapping[str, Sequence[Sequence[float]]], ratio: bool = False) -> list[float]:
    """After minus before, or after over before, of every world and seed."""
    pairs = [pair for of in found.values() for pair in of]
    return [after / before if ratio else after - before for before, after in pairs]


def deviations(study: Study, method: str, what: str, mi_bins: int = 64) -> list[float]:
    """Standard deviation of a metric over all test slices, after over before, one a seed; against full dose."""
    outputs, tests = study.outputs(method), study.tests

    def deviation(images: Mapping[str, Tensor]) -> float:
        values = [body_scores(images[k], s.full, s.inside, [what], mi_bins)[what] for k, s in tests.items()]
        return float(torch.cat(values).std())

    before = deviation({k: s.low for k, s in tests.items()})
    seeds = range(len(study.seeds_of(method)))
    return [deviation({k: outputs[k][i] for k in tests}) / before for i in seeds]


def without_noise(study: Study) -> Tensor:
    """The synthetic test slices reconstructed without noise, gray (N, 1, Y, X): the floor of a pipeline."""
    scanner = scanner_of(study.p)
    made = [replace(c, full=cases.without_noise(c, scanner)) for c in study.cases["test"] if c.truth is not None]
    return judged_slices(made, study.p["judged"]).full


def gain_beyond(exact: Tensor, outputs: Sequence[Tensor], s: JudgedSlices) -> float:
    """Gain [dB] against the truth in the squared error beyond that of reconstructions without noise, median over seeds.

    outputs  one a seed;  nan where they have less error than those reconstructions
    """

    def error(x: Tensor) -> float:
        return float((x - s.truth)[s.inside].square().mean())

    left = statistics.median(error(x) for x in outputs) - error(exact)
    return 10 * math.log10((error(s.low) - error(exact)) / left) if left > 0 else math.nan


def window_rows(bodies: Sequence[Case], windows: Mapping[str, tuple[float, float]], each: int, bins: int) -> list[list]:
    """Rows: the paper's low-dose row, then ours in each window, over whole slices as the paper's may be."""
    rows = [["paper, window unknown", *(PAPER[m][0] for m in PAPER)]]
    for name, limits in windows.items():
        s: JudgedSlices = judged_slices(bodies, each, limits)
        found = body_scores(s.low, s.full, torch.ones_like(s.inside), list(PAPER), bins)
        rows.append([name, *(spread(found[m]) for m in PAPER)])
    return rows
