"""FBP, SIRT and TV under equal constraints: no negative values, settings chosen on another body, errors inside the
body, and what of an error is noise and what stays without any."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract, metrics
from ctlib.errors import ConvergenceError
from ctlib.papers.forward.bodies import Body, clinical_fan, noise_hu
from ctlib.physics.counts import line_integral_variance, line_integrals_from_counts, transmission_counts
from ctlib.projector import Projector
from ctlib.recon import fbp, sirt, tv_reconstruct
from ctlib.train.tuning import Tuning, tune
from ctlib.units import MU_WATER, hu_from_mu

METHODS = ("FBP", "SIRT", "TV")
RELAXATION = 1.9  # of SIRT
SETTLED = 2e-3  # 2 HU in water
FIRST_ITERS, MAX_ITERS = 40, 10_240
LEAST_NOISE = 4e-3  # of a line integral, that scales the weight of TV where the data have none


@dataclass(frozen=True)
class Scan:
    """How a body is scanned.

    num_views       over a full turn
    photons         of a reading in the open beam; infinite: exact data
    electronic_std  in photons
    """

    num_views: int
    photons: float
    electronic_std: float = 10.0

    @property
    def exact(self) -> bool:
        """Whether its data have no noise."""
        return math.isinf(self.photons)

    @property
    def trials(self) -> dict[str, list[dict[str, object]]]:
        """Five settings a method; SIRT goes farther where no noise tells it to stop."""
        first = 160 if self.exact else 10
        return {
            "FBP": [{"window": w} for w in ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")],
            "SIRT": [{"num_iters": first * 2**k} for k in range(5)],
            "TV": [{"kappa": k} for k in (0.5, 1.0, 2.0, 4.0, 8.0)],
        }

    def readings(self, exact: Tensor, seed: int) -> Tensor:
        """Line integrals as measured, from exact ones."""
        if self.exact:
            return exact
        stream = torch.Generator().manual_seed(seed)
        counts = transmission_counts(exact, self.photons, stream, self.electronic_std)
        return line_integrals_from_counts(counts, self.photons)


@dataclass(frozen=True, eq=False)
class Result:
    """What one method made of a body.

    settings            chosen on the other body
    images              (S, Y, X), one a noise seed; clean: of the same data without noise
    error_hu, noise_hu  (S,) root mean square inside the body: against the truth, and against `clean`
    floor_hu            error of `clean`: what blur, aliasing and constraints leave without noise
    """

    settings: Mapping[str, object]
    images: Tensor
    clean: Tensor
    error_hu: Tensor
    noise_hu: Tensor
    floor_hu: float


def reconstruct(method: str, settings: Mapping[str, object], A: Projector, y: Tensor, scan: Scan) -> Tensor:
    """Image(s) without negative values: filtered back-projection is clipped, SIRT and TV are constrained.

    SIRT ends at the number of iterations that was chosen on another body, TV where it has settled.
    """
    contract.choice("method", method, METHODS)
    if method == "FBP":
        return fbp(A, y, settings["window"], truncation="ignore").clamp_min(0)
    if method == "SIRT":
        return sirt(A, y.float(), settings["num_iters"], relaxation=RELAXATION, nonneg=True).double()
    return settled_tv(A, y.float(), settings["kappa"] * noise_weight(A, y, scan)).double()


def settled_tv(A: Projector, y: Tensor, weight: float) -> Tensor:
    """Non-negative TV image, which the last half of its iterations moved by less than 0.002 of its norm.

    Starts at filtered back-projection. ConvergenceError after 10 240 iterations.
    """
    norm, x, done = A.norm(40), fbp(A, y, "hann", truncation="ignore").clamp_min(0), 0
    while done < MAX_ITERS:
        steps = done or FIRST_ITERS  # as many as before
        before, x = x, tv_reconstruct(A, y, weight, steps, x0=x, nonneg=True, norm=norm)
        done += steps
        moved = (x - before).flatten(-2).norm(dim=-1) / x.flatten(-2).norm(dim=-1)
        if done > FIRST_ITERS and bool((moved < SETTLED).all()):
            return x
    raise ConvergenceError(f"TV of weight {weight:.3g} still moves by {float(moved.max()):.2g} after {done} iterations")


def noise_weight(A: Projector, y: Tensor, scan: Scan) -> float:
    """The TV weight that equals the deviation of A.T noise in a pixel [mm]: kappa = 1."""
    variance = LEAST_NOISE**2
    if not scan.exact:
        behind = y[y > 0.5] if bool((y > 0.5).any()) else y.flatten()
        variance = float(line_integral_variance(behind, scan.photons, scan.electronic_std).median())
    return A.volume.voxel_mm[1] * math.sqrt(A.geometry.num_views * variance)


def error_hu(x: Tensor, body: Body) -> Tensor:
    """Root mean squared error inside the body [HU]: (..., Y, X) -> (...)."""
    return 1000 / MU_WATER * metrics.rmse(x, body.truth, body.region)


def tuned(body: Body, scan: Scan, seed: int = 1000) -> Tuning:
    """The five trials of each method on a body that is not the one under test, with a noise seed of its own."""
    A = Projector(clinical_fan(body.volume, scan.num_views))
    y = scan.readings(body.exact(A.geometry), seed)
    counts = [trial["num_iters"] for trial in scan.trials["SIRT"]]
    passed = {}  # one run of SIRT passes all its trials
    note = lambda k, x: passed.update({k: x.double()}) if k in counts else None  # noqa: E731
    sirt(A, y.float(), counts[-1], relaxation=RELAXATION, nonneg=True, callback=note)

    def score(method, settings):
        x = passed[settings["num_iters"]] if method == "SIRT" else reconstruct(method, settings, A, y, scan)
        return float(error_hu(x, body))

    return tune(scan.trials, score)


def compared(body: Body, scan: Scan, tuning: Tuning, seeds: Sequence[int]) -> dict[str, Result]:
    """{method: Result} of a body, every method with its settings of `tuning`."""
    A, found = Projector(clinical_fan(body.volume, scan.num_views)), {}
    exact = body.exact(A.geometry)
    y = torch.stack([exact, *(scan.readings(exact, seed) for seed in seeds)])
    for method in METHODS:
        settings = tuning.best(method).settings
        x = reconstruct(method, settings, A, y, scan)
        noise = 1000 / MU_WATER * metrics.rmse(x[1:], x[:1], body.region)
        errors = error_hu(x, body)
        found[method] = Result(settings, x[1:], x[0], errors[1:], noise, float(errors[0]))
    return found


def photons_for_noise(body: Body, num_views: int, target_hu: float, electronic_std: float = 10.0) -> float:
    """Photons a reading at which FBP with the Hann window has this noise in soft tissue [HU], by fixed-point steps."""
    target_hu = contract.number("target_hu", target_hu, above=0)
    A, photons = Projector(clinical_fan(body.volume, num_views)), 1e5
    exact = body.exact(A.geometry)
    clean = fbp(A, exact, "hann", truncation="ignore")
    soft = (hu_from_mu(body.truth).abs() < 150) & body.region
    for step in range(6):  # the variance is nearly proportional to 1 / photons: two or three steps are enough
        y = Scan(num_views, photons, electronic_std).readings(exact, 2000 + step)
        noise = metrics.rmse(fbp(A, y, "hann", truncation="ignore"), clean, soft)
        photons *= (float(noise) * 1000 / MU_WATER / target_hu) ** 2
    return photons


def clinical_noise_hu(images: Sequence[Tensor]) -> float:
    """Median noise of real slices (Y, X) [HU]: the level that a simulated scan is set to."""
    return sorted(noise_hu(image) for image in images)[len(images) // 2]


def error_rows(results: Mapping[str, Mapping[str, Result]]) -> list[list]:
    """Rows of a table: body and method, settings, error with its range over seeds, error without noise, noise [HU]."""
    rows = []
    for kind, of_methods in results.items():
        for method, r in of_methods.items():
            error = (float(r.error_hu.median()), (float(r.error_hu.min()), float(r.error_hu.max())))
            chosen = ", ".join(f"{name} {value}" for name, value in r.settings.items())
            rows.append([f"{kind}, {method}", chosen, error, r.floor_hu, float(r.noise_hu.median())])
    return rows


def absolute(results: Mapping[str, Mapping[str, Result]]) -> dict[str, Tensor | float]:
    """{what: values [HU]} of every body and method, as a record keeps them."""
    found = {}
    for kind, of_methods in results.items():
        for method, r in of_methods.items():
            found |= {f"error: {kind}, {method}": r.error_hu, f"noise: {kind}, {method}": r.noise_hu}
            found[f"error without noise: {kind}, {method}"] = r.floor_hu
    return found


def by_dose(
    body: Body,
    settings: Mapping[str, Mapping[str, object]],
    views: Sequence[int],
    totals: Mapping[str, float],
    electronic_std: float = 10.0,
) -> dict[tuple[int, str], Tensor]:
    """{(views, name of total): (M, Y, X) images of the methods}, where all views share a total of photons a cell."""
    found = {}
    for num_views in views:
        A = Projector(clinical_fan(body.volume, num_views))
        exact = body.exact(A.geometry)
        for name, total in totals.items():
            scan = Scan(num_views, total / num_views, electronic_std)
            y = scan.readings(exact, 0)
            found[num_views, name] = torch.stack([reconstruct(m, settings[m], A, y, scan) for m in METHODS])
    return found


def decibels(results: Mapping[str, Result], method: str, other: str = "TV") -> float:
    """By how much another method's noise-free error is below that of `method` [dB]."""
    return 20 * math.log10(results[method].floor_hu / results[other].floor_hu)
