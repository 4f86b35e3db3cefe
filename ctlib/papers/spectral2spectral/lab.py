"""A laboratory's scan by every method that its data allow: settings by left-out views, images, material maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch import Tensor

from ctlib.decompose import decompose_images
from ctlib.errors import ArgumentError
from ctlib.files import write_whole
from ctlib.papers.spectral2spectral.binned import log_covariance
from ctlib.papers.spectral2spectral.experiment import Settings
from ctlib.papers.spectral2spectral.methods import BINS, SPAN, TAUGHT, run_method, trials_of
from ctlib.papers.spectral2spectral.noise_level import detrended, noise_level
from ctlib.papers.spectral2spectral.scan import SpectralScan
from ctlib.papers.spectral2spectral.scan_files import OwnScan
from ctlib.papers.spectral2spectral.scene import ScannedScene, scanned
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.train.tuning import Tuning, tune

LEFT_OUT = 8  # every so many-th view tells how well a setting predicts what it has not seen


@dataclass(frozen=True, eq=False)
class Outcome:
    """Images (Z, E, Y, X) [1/mm] by method, CPU seconds, the trials, and maps (Z, M, Y, X) [g/cm3] where vials are."""

    images: Mapping[str, Tensor]
    seconds: Mapping[str, float]
    tuning: Tuning
    maps: Mapping[str, Tensor]


def methods_for(own: OwnScan) -> list[str]:
    """What the data allow: dealt photons need whole counts, neighboring slices need two, the span needs vials."""
    scan = own.scan
    found = ["TV", "low-rank"]
    whole = scan.mode == "poisson" and bool((scan.counts == scan.counts.round()).all())
    if whole:
        found.append("Noise2Noise")
    if len(scan.counts) > 1:
        found.append("Noise2Sim")
    found.append(TAUGHT)
    if scan.counts.shape[1] > 3 and scan.mode == "poisson":
        found.append(BINS)  # differences of scans share photons with their neighbors
    if own.vials and len(own.materials) < scan.counts.shape[1]:
        found.append(SPAN)
    return found


def vial_matrix(own: OwnScan, x: Tensor) -> Tensor:
    """Effective attenuation (E, M) [cm2/g], float64, from the vials' means in images x (Z, E, Y, X) [1/mm].

    Q = argmin sum over vials |10 mean mu - Q a|^2
    """
    if not own.vials:
        raise ArgumentError("own", "no vials", "a scan whose file lists calibration vials")
    means = torch.stack([x[..., v].mean((0, -1)) for v in own.vial_masks().to(x.device)]).double().cpu()  # (vials, E)
    contents = torch.tensor([[v.densities.get(m, 0.0) for m in own.materials] for v in own.vials], dtype=torch.float64)
    return 10 * torch.linalg.lstsq(contents, means).solution.T


def weighted_maps(x: Tensor, matrix: Tensor, covariance: Tensor) -> Tensor:
    """Densities (Z, M, Y, X) of images (Z, E, Y, X) for bins with this covariance (E, E), of correlated bins too.

    a = argmin (10 mu - Q a)^T C^-1 (10 mu - Q a)
    """
    L = torch.linalg.cholesky(covariance.double())
    whitened = torch.linalg.solve_triangular(L, matrix.double(), upper=False)
    images = torch.einsum("ek,...kyx->...eyx", torch.linalg.inv(L).to(x), x)
    return decompose_images(images, whitened)


def own_scene(own: OwnScan, seed: int = 0) -> ScannedScene:
    """The scan with its first images; its matrix, where it has vials, from these."""
    scene = scanned(own.scan, 0, seed)
    return replace(scene, matrix=vial_matrix(own, scene.x0)) if own.vials else scene


def without_views(scan: SpectralScan) -> tuple[SpectralScan, list[int]]:
    """The scan less every eighth view, and which those are."""
    g = scan.geometry
    out = list(range(LEFT_OUT // 2, g.num_views, LEFT_OUT))
    if not out or len(out) == g.num_views:
        raise ArgumentError("scan", f"{g.num_views} views", f"at least {LEFT_OUT}")
    kept = [v for v in range(g.num_views) if v not in set(out)]
    return replace(scan, geometry=_views(g, kept), counts=scan.counts[..., kept, :]), out


def _views(geometry, which: Sequence[int]):
    return replace(geometry, num_views=len(which), angles=tuple(geometry.angles[v] for v in which))


def tuned_on_views(
    own: OwnScan, settings: Settings, methods: Sequence[str], trials: int, tell: Callable | None = None
) -> Tuning:
    """As many trials for every method, each judged by the views it was not given.

        mean over bins of |y - A x|^2 / |y|^2 over the left-out views

    No truth is needed: their noise is independent of the image and adds the same to every score.
    """
    part, out = without_views(own.scan)
    scene = own_scene(replace(own, scan=part))
    A = Projector(_views(own.scan.geometry, out))
    y = own.scan.line_integrals()[..., out, :]
    found: dict[tuple, float] = {}

    def score(method: str, tried: Mapping[str, object]) -> float:
        options = {k: v for k, v in tried.items() if k != "image"}
        key = (method, *options.items())
        if key not in found:
            run, _ = run_method(method, scene, settings, options)
            found[key] = {image: _misfit(A, y, getattr(run, image)) for image in ("x", "z")}
        return found[key][tried["image"]]

    tried = trials_of(list(methods), trials)
    return tune(
        {m: [{**o, "image": i} for o in options for i in "xz"] for m, options in tried.items()}, score, tell=tell
    )


def _misfit(A: Projector, y: Tensor, x: Tensor) -> float:
    off = (y - A(x)).square().sum((0, 2, 3)) / y.square().sum((0, 2, 3))
    return float(off.mean())


def reconstruct(own: OwnScan, settings: Settings, trials: int = 2, tell: Callable | None = None) -> Outcome:
    """Every method that the data allow, each with the settings that predict left-out views best."""
    methods = methods_for(own)
    tuning, scene = tuned_on_views(own, settings, methods, trials, tell), own_scene(own)
    images, seconds = {"FBP": fbp(scene.A, scene.y), "first": scene.x0}, {}
    for method in methods:
        options, began = dict(tuning.best(method).settings), process_time()
        image = options.pop("image")
        images[method] = getattr(run_method(method, scene, settings, options)[0], image)
        seconds[method] = process_time() - began
        if tell is not None:
            tell(f"{method}: {seconds[method]:.0f} s")
    maps = {}
    if own.vials and len(own.materials) <= scene.x0.shape[1]:
        covariance = log_covariance(own.scan.counts, own.scan.mode)
        maps = {m: weighted_maps(x, scene.matrix, covariance) for m, x in images.items()}
    return Outcome(images, seconds, tuning, maps)


def lab_table(own: OwnScan, outcome: Outcome) -> tuple[list[str], list[list]]:
    """Columns and rows: noise of the first and the last bin, and of the vials their densities, mean and deviation."""
    masks, bins = own.vial_masks(), own.scan.counts.shape[1]
    columns = ["method", "noise, bin 1 [1/m]", f"noise, bin {bins} [1/m]"]
    columns += [f"vial {k + 1}, {m} [mg/mL]" for k, v in enumerate(own.vials) for m in v.densities]
    rows = []
    for method, x in outcome.images.items():
        row: list = [method]
        for e in (0, bins - 1):
            inside = [detrended(x[:, e], v)[:, v].std() for v in masks.to(x.device)]
            row.append(1e3 * float(torch.stack(inside).median() if inside else noise_level(x[:, e]).median()))
        for k, v in enumerate(own.vials):
            for m in v.densities:
                values = 1e3 * outcome.maps[method][:, own.materials.index(m)][:, masks[k]]
                row.append((float(values.mean()), float(values.std())))
        rows.append(row)
    return columns, rows


def write_results(folder: str | Path, own: OwnScan, outcome: Outcome) -> list[str]:
    """Write images and maps as .npy (float32) and what they are as results.json; the names of the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written, about = [], {"images": {}, "maps": {}, "materials": list(own.materials), "unit": {}}
    for kind, arrays in (("images", outcome.images), ("maps", outcome.maps)):
        for method, values in arrays.items():
            name = f"{kind}_{method.lower().replace(' ', '-')}.npy"
            np.save(folder / name, values.float().cpu().numpy())
            about[kind][method] = name
            written.append(name)
    about["unit"] = {"images": "1/mm, axes (slice, bin, y, x)", "maps": "g/cm3, axes (slice, material, y, x)"}
    about["voxel_mm"] = own.scan.geometry.volume.voxel_mm[0]
    about["settings"] = {m: dict(outcome.tuning.best(m).settings) for m in outcome.seconds}
    about["seconds"] = dict(outcome.seconds)
    write_whole(folder / "results.json", json.dumps(about, indent=1))
    return [*written, "results.json"]
