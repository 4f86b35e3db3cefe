"""Readings at low signals on the first page: a world of drawings, the networks of rays, and their calibration."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ctlib.papers.tomography.bench import Bench, scan_geometry
from ctlib.papers.tomography.noise_study import NoiseStudy
from ctlib.papers.tomography.scans import Scans, both, hit, predict
from ctlib.papers.tomography.worlds import synthetic_world
from ctlib.train import Settings
from ctlib.train.kept import Kept

NAMES = ("n", "views", "noise_images", "noise_steps", "noise_width", "low_signals", "eps_sd", "bits")
CODE = [
    f"ctlib.papers.tomography.{m}"
    for m in ("bodies", "courses", "noise_networks", "noise_study", "readings", "residual_unet")
]
LR = 0.01


def low_scans(p: Mapping) -> Scans:
    """Drawings read at the low signals of the page's parameters, by name."""
    geometry = scan_geometry(p["n"], "full", p["views"], p["few_views"], p["arc_deg"])
    world = synthetic_world(p["n"], p["noise_images"])
    bench = Bench(world, geometry, p["low_signals"], p["eps_sd"], p["bits"], device=p["device"])
    return Scans(bench.A, bench.images, bench.levels)


def noise_nets(p: Mapping, scans: Scans, seed: int, curves: dict[str, tuple]) -> tuple[nn.Module, nn.Module]:
    """Networks of mu and sigma of a seed, kept; `curves` gets their validation curves."""
    settings = Settings(0, p["batch"], LR, "cosine", precision=p["precision"])
    study = NoiseStudy(scans, p["noise_width"], p["noise_steps"], settings)
    about = {name: p[name] for name in (*NAMES, "batch", "precision")} | {"seed": seed}

    def make() -> dict:
        own = {}
        mean, spread = study.two_stages(seed, own)
        return {"mean": mean.state_dict(), "spread": spread.state_dict(), "curves": own}

    found = Kept(p["checkpoints"] or None, *CODE).get(f"rays-seed{seed}", about, make)
    curves |= found["curves"]
    nets = study.untrained(seed)
    for net, name in zip(nets, ("mean", "spread"), strict=True):
        net.load_state_dict(found[name])
    return tuple(net.eval() for net in nets)


def judged_noise(p: Mapping, scans: Scans) -> tuple[dict[float, dict], dict[tuple[int, float], dict], dict[str, tuple]]:
    """`calibration` by signal of the exact table of single readings, by (seed, signal) of networks; their curves."""
    curves = {}
    study = NoiseStudy(scans, p["noise_width"], p["noise_steps"], Settings(0, p["batch"], LR, "cosine"))
    nets = {seed: noise_nets(p, scans, seed, curves) for seed in p["noise_seeds"]}
    features, first = scans.features["test"], next(iter(nets.values()))
    rays = {s: hit(both(first, f)[0]) for s, f in features.items()}
    by_table = {s: study.judged((f[:, 1], f[:, 2].exp()), rays[s]) for s, f in features.items()}
    by_nets = {(k, s): study.judged(both(own, f), rays[s]) for k, own in nets.items() for s, f in features.items()}
    return by_table, by_nets, curves


def judged_students(
    p: Mapping, scans: Scans
) -> tuple[dict[tuple[int, float], tuple[float, float, float]], dict[str, tuple]]:
    """Negative log likelihood [nat] by (seed, signal): the exact table, two networks, and their student; all curves."""
    settings = Settings(0, p["batch"], LR, "cosine", precision=p["precision"])
    study = NoiseStudy(scans, p["noise_width"], p["noise_steps"], settings)
    found, curves = {}, {}
    for seed in p["noise_seeds"]:
        nets = noise_nets(p, scans, seed, curves)
        student = study.distilled(nets, seed, curves)
        for s, f in scans.features["test"].items():
            rays = hit(both(nets, f)[0])
            estimates = (f[:, 1], f[:, 2].exp()), both(nets, f), predict(student, f).unbind(1)
            found[seed, s] = tuple(study.judged(e, rays)["nll"] for e in estimates)
    return found, curves
