"""Networks and filters side by side: trials, images, tables, and what claims are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ctlib.papers.hqinet.detection import FULL_DOSE, Seen
from ctlib.papers.hqinet.filters import FILTERS, apply_filter, filter_trials
from ctlib.papers.hqinet.judged import body_psnr
from ctlib.papers.hqinet.noise_power import mean_frequency
from ctlib.papers.hqinet.patches import fixed_patches
from ctlib.papers.hqinet.study import TUNED, Study
from ctlib.papers.hqinet.training import middle_slices, patch_psnr, restore
from ctlib.papers.hqinet.wiener import wiener_response
from ctlib.train.tuning import Tuning, tune

LEARNED_FROM = 64  # training patches of the Wiener filter
Images = Mapping[str, Mapping[str, Sequence[Tensor]]]  # method, world, one a seed


def response_of(study: Study) -> Tensor:
    """Frequency response of the Wiener filter of training patches."""
    patches = study.patches("train", max(study.p["patch"], study.p["full_patch"]), turned=False)
    inputs, targets = fixed_patches(patches, LEARNED_FROM)
    return wiener_response(middle_slices(inputs, 1), targets)


def tuned(study: Study) -> Tuning:
    """As many trials for every network and filter, by PSNR [dB] on the validation patches."""
    inputs, targets = study.held_out()
    low, response = middle_slices(inputs, 1), response_of(study)

    def score(method: str, settings: Mapping[str, float]) -> float:
        if method in TUNED:
            return study.trial(method, settings)
        return patch_psnr(apply_filter(method, low, settings.get("strength", response)), targets)

    trials = {**study.trials(), **filter_trials(len(study.p["tune_rates"]) or 3)}
    return tune(trials, score, better="higher")


def filtered(study: Study, tuning: Tuning, name: str) -> dict[str, list[Tensor]]:
    """{world: [test slices filtered]} with the strength that was best on the validation patches."""
    strength = tuning.best(name).settings.get("strength")
    strength = response_of(study) if strength is None else strength
    return {kind: [apply_filter(name, s.low, strength)] for kind, s in study.tests.items()}


def columns(study: Study) -> list[str]:
    """Headings of `psnr_rows`: every world with its references."""
    return [f"{kind}, against {ref}" for kind, s in study.tests.items() for ref in s.targets()]


def psnr_rows(study: Study, outputs: Images) -> list[list]:
    """Rows: the low dose, then every method, median over seeds with the ends of their range."""
    rows = [["low dose", *(body_psnr(s.low, s, ref) for s in study.tests.values() for ref in s.targets())]]
    for name, by_world in outputs.items():
        cells = []
        for kind, s in study.tests.items():
            for ref in s.targets():
                values = torch.tensor([body_psnr(x, s, ref) for x in by_world[kind]])
                ends = (float(values.min()), float(values.max()))
                cells.append((float(values.median()), ends) if len(values) > 1 else float(values))
        rows.append([name, *cells])
    return rows


def leads(study: Study, outputs: Images, method: str, others: Sequence[str], against: str) -> list[float]:
    """Mean PSNR of a method minus that of the best of others, every world with that reference, every seed."""
    found = []
    for kind, s in study.tests.items():
        if against in s.targets():
            best = max(body_psnr(x, s, against) for other in others for x in outputs[other][kind])
            found += [body_psnr(x, s, against) - best for x in outputs[method][kind]]
    return found


def readers(study: Study, tuning: Tuning, method: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """What makes the images that an observer reads: reconstruction alone, a network, the best classical filter."""
    best = max(FILTERS, key=lambda name: tuning.best(name).value)
    strength = tuning.best(best).settings.get("strength")
    strength = response_of(study) if strength is None else strength
    t = study.training(method, study.seeds_of(method)[0])
    net = study.make(t).net
    return {
        FULL_DOSE[0]: lambda x: middle_slices(x, 1),
        method: lambda x: restore(net, x, t.num_slices, study.p["precision"]),
        best: lambda x: apply_filter(best, middle_slices(x, 1), strength),
    }


def task_rows(seen: Mapping[str, Seen], index: Mapping[str, Mapping], matched: Mapping[str, Mapping]) -> list[list]:
    """Rows: world and method, dose, number of lesions, d', its share of full dose, interval, the other d'."""
    rows = []
    for kind, values in index.items():
        for (name, dose), (value, share, low, high) in values.items():
            interval = f"{low:.2f} to {high:.2f}"
            other = matched[kind][name, dose][0]
            rows.append([f"{kind}, {name}", f"{dose:.0%}", len(seen[kind].groups), value, share, interval, other])
    return rows


def response_rows(spectra: Mapping, contrast: Mapping, edge: Mapping, dose: float) -> list[list]:
    """Rows: method, noise [HU], its mean frequency, contrast kept, width of an edge, at a dose and for the full one."""
    rows = []
    for key in [k for k in contrast if k[1] in (dose, 1.0)]:
        f, power = spectra[key]
        step = float(f[1] - f[0])
        noise = math.sqrt(float((2 * math.pi * f * power).sum()) * step)
        width = edge[key[0]][2] if key[1] == dose and key[0] in edge else None
        rows.append([f"{key[0]} at {key[1]:.0%}", noise, mean_frequency(f, power), contrast[key], width])
    return rows
