"""Lesions in scans at several doses, read by a model observer: does a restored low dose serve as well as a full one?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.data.images import window
from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.cases import WINDOW_HU, Case
from ctlib.papers.hqinet.lesions import (
    cutouts,
    edge_width,
    lesion_sites,
    lesions_image,
    radial_profile,
    sphere_in_slices,
)
from ctlib.papers.hqinet.noise_power import noise_power
from ctlib.papers.hqinet.observer import compare_detectability, decisions
from ctlib.papers.hqinet.scan import Scanner
from ctlib.train.sampling import stream

Method = Callable[[Tensor], Tensor]  # gray stacks (N, 3, Y, X) -> gray images (N, 1, Y, X)
FULL_DOSE = ("FBP", 1.0)
GRAY_HU = WINDOW_HU[1] - WINDOW_HU[0]


@dataclass(frozen=True)
class Task:
    """What an observer looks for: spheres of a low contrast in flat soft tissue, at known places.

    sites    at most so many in a slice;  size  pixels of the square that an observer sees
    repeats  scans of every body with new noise
    """

    radius_mm: float
    contrast_hu: float
    sites: int = 8
    repeats: int = 4
    size: int = 32
    slice_mm: float = 5.0

    def shares(self) -> Tensor:
        """Contrast in the three slices, as a share: (3, 1, 1)."""
        middle, beside = sphere_in_slices(self.radius_mm, self.slice_mm)
        return torch.tensor([beside, middle, beside])[:, None, None]


@dataclass(frozen=True, eq=False)
class Seen:
    """Squares with and without the lesion, (N, S, S) in HU, of every (method, dose).

    groups, bodies  the scan and the body that each comes from; scans of a body follow each other, with the same lesions
    people          whose body it is: a person may have several stretches of slices, each a body here
    """

    present: Mapping[tuple[str, float], Tensor]
    absent: Mapping[tuple[str, float], Tensor]
    groups: tuple[int, ...]
    bodies: tuple[int, ...]
    people: tuple[int, ...]
    pixel_mm: float


def scans_of(case: Case, scanner: Scanner, dose: float, seed: int) -> Tensor:
    """The three middle slices of a case, scanned anew at a share of its dose: (3, Y, X) HU.

    Of a person there is one scan at full dose, its own; lower doses are put into it.
    """
    k, generator = len(case.full) // 2, torch.Generator().manual_seed(seed)
    three = slice(k - 1, k + 2)
    if case.truth is None:
        own = case.full[three]
        return own if dose == 1.0 else scanner.at_low_dose(own, case.photons, dose, generator)
    full, low = scanner.readings(scanner.line_integrals(case.truth[three]), case.photons, dose, generator)
    return scanner.image(full if dose == 1.0 else low)


def can_read(cases: Sequence[Case]) -> bool:
    """Whether there are enough bodies for templates and intervals; of people, who are scanned once, several more."""
    return len({c.patient for c in cases}) > 1 and (cases[0].truth is not None or len(cases) > 5)


def observe(
    cases: Sequence[Case], scanner: Scanner, task: Task, methods: Mapping[str, Method], doses: Sequence[float]
) -> Seen:
    """Every method's images of every case at every dose, with lesions and without in the same noise.

    At dose 1 the plain reconstruction alone is looked at.
    """
    present: dict[tuple[str, float], list[Tensor]] = {}
    absent: dict[tuple[str, float], list[Tensor]] = {}
    groups: list[int] = []
    bodies: list[int] = []
    people: dict[str, int] = {}  # those with lesions, in order
    whose: list[int] = []
    for body, c in enumerate(cases):
        k = len(c.full) // 2
        known = c.full[k] if c.truth is None else c.truth[k]
        sites = lesion_sites(known, c.inside[k], task.sites, task.size)
        if not sites:
            continue
        lesion = task.contrast_hu * task.shares() * lesions_image(scanner, sites, task.radius_mm)
        for repeat in range(1 if c.truth is None else task.repeats):
            number = groups[-1] + 1 if groups else 0
            groups += [number] * len(sites)
            bodies += [body] * len(sites)
            whose += [people.setdefault(c.patient, len(people))] * len(sites)
            for dose in doses:
                hu = scans_of(c, scanner, dose, stream("lesion", c.patient, repeat))
                both = window(torch.stack([hu, hu + lesion]), *WINDOW_HU)
                for name, run in methods.items():
                    if dose == 1.0 and name != FULL_DOSE[0]:
                        continue
                    squares = cutouts(GRAY_HU * run(both)[:, 0], sites, task.size)  # (2, sites, S, S)
                    absent.setdefault((name, dose), []).append(squares[0])
                    present.setdefault((name, dose), []).append(squares[1])
    if len(people) < 2:
        raise ArgumentError("cases", f"{len(groups)} lesions in {len(people)} bodies", "flat soft tissue in several")
    joined = ({key: torch.cat(v) for key, v in of.items()} for of in (present, absent))
    return Seen(*joined, tuple(groups), tuple(bodies), tuple(whose), scanner.pixel_mm)


def detectabilities(
    seen: Seen, observer: str = "hotelling", num_channels: int = 10, draws: int = 1000
) -> dict[tuple[str, float], tuple[float, float, float, float]]:
    """{(method, dose): (d', share of that of the full dose, ends of its 95 % interval)}.

    Nobody's body is read by a template that was learned on it, and whole bodies are drawn anew: scans of one body share
    its anatomy and its lesions.
    """
    keys = {f"{name} at {dose}": (name, dose) for name, dose in seen.present}
    read = {
        text: decisions(seen.present[key], seen.absent[key], seen.people, observer, num_channels)
        for text, key in keys.items()
    }
    reference = f"{FULL_DOSE[0]} at {FULL_DOSE[1]}"
    return {keys[text]: v for text, v in compare_detectability(read, reference, seen.people, draws).items()}


def least_dose(found: Mapping[tuple[str, float], tuple], method: str, margin: float = 0.1) -> float:
    """The lowest dose down to which a method is shown not to be worse than the full dose by more than a margin; nan."""
    lowest = math.nan
    for dose in sorted((d for m, d in found if m == method and d < 1.0), reverse=True):
        if found[method, dose][2] < 1 - margin:
            break
        lowest = dose
    return lowest


def spectra(seen: Seen) -> dict[tuple[str, float], tuple[Tensor, Tensor]]:
    """{(method, dose): noise-power spectrum} of the squares without lesion, less what every scan of a body shares.

    Only where bodies were scanned more than once.
    """
    found = {}
    for key, squares in seen.absent.items():
        noise = []
        for scans in _scans_of_bodies(squares, seen):  # (repeats, sites, S, S)
            if len(scans) > 1:
                noise.append(((scans - scans.mean(0)) * math.sqrt(len(scans) / (len(scans) - 1))).flatten(0, 1))
        if noise:
            found[key] = noise_power(torch.cat(noise), seen.pixel_mm)
    return found


def _scans_of_bodies(squares: Tensor, seen: Seen) -> list[Tensor]:
    """The squares (N, S, S) of every body by scan: (repeats, sites, S, S)."""
    of, scan, found = torch.as_tensor(seen.bodies), torch.as_tensor(seen.groups), []
    for body in sorted(set(seen.bodies)):
        own = of == body
        repeats = len(scan[own].unique())
        found.append(squares[own].unflatten(0, (repeats, -1)))
    return found


def kept_contrast(seen: Seen, radius_px: float) -> dict[tuple[str, float], float]:
    """{(method, dose): contrast of the lesions' middle in its images, as a share of that at full dose}."""
    size = next(iter(seen.present.values())).shape[-1]
    t = torch.arange(size) - size // 2
    core = torch.hypot(t[:, None].float(), t[None, :].float()) <= max(1.0, radius_px / 2)
    height = {key: float((seen.present[key] - seen.absent[key])[:, core].mean()) for key in seen.present}
    return {key: h / height[FULL_DOSE] for key, h in height.items()}


def edges(
    cases: Sequence[Case], scanner: Scanner, methods: Mapping[str, Method], dose: float, task: Task
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """{method: (radii [mm], profile [HU], width of the edge [mm])} of one large disc a case, mean over the cases."""
    found: dict[str, list[Tensor]] = {}
    for c in cases:
        k = len(c.full) // 2
        sites = lesion_sites(c.full[k], c.inside[k], 1, task.size)
        if not sites:
            continue
        disc = task.contrast_hu * lesions_image(scanner, sites, task.radius_mm)
        hu = scans_of(c, scanner, dose, stream("edge", c.patient))
        both = window(torch.stack([hu, hu + disc]), *WINDOW_HU)
        for name, run in methods.items():
            images = cutouts(GRAY_HU * run(both)[:, 0], sites, task.size)[:, 0]
            found.setdefault(name, []).append(images[1] - images[0])
    profiles = {name: radial_profile(torch.stack(v), scanner.pixel_mm) for name, v in found.items()}
    return {name: (r, p, edge_width(r, p * math.copysign(1.0, task.contrast_hu))) for name, (r, p) in profiles.items()}
