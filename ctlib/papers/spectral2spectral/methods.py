"""Every method that is compared, and the settings that are tried for it: as many for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ctlib import contract
from ctlib.papers.spectral2spectral.experiment import (
    Run,
    Settings,
    in_span,
    low_rank,
    noise2noise,
    noise2sim,
    solve,
    spectral2spectral,
    tv,
)
from ctlib.papers.spectral2spectral.scene import ScannedScene, Scene
from ctlib.papers.spectral2spectral.splitting import Prior
from ctlib.papers.spectral2spectral.start import first_images

PRINTED = "Spectral2Spectral as printed"
TAUGHT = "Spectral2Spectral"
BINS = "bins teach bins"
SPAN = "TV in the span"
TRIALS: dict[str, tuple[dict[str, object], ...]] = {
    "TV": tuple({"strength": v} for v in (0.7, 1.0, 1.4, 2.0)),
    "Noise2Sim": tuple({"limit": v, "share": k} for v in (0.8, 0.3) for k in (0.25, 1.0)),
    "Noise2Noise": tuple({"share": k, "lr": r} for k in (0.25, 1.0) for r in (0.001, 0.003)),
    "low-rank": tuple({"strength": v} for v in (3.0, 6.0, 9.0, 13.0)),
    TAUGHT: tuple({"outer": n, "share": k} for n in (1, 3) for k in (0.25, 1.0)),
    BINS: tuple({"most": v, "lr": r} for v in (1, 2) for r in (0.001, 0.003)),
    SPAN: tuple({"strength": v} for v in (0.5, 0.7, 1.0, 1.4)),
    PRINTED: ({},),
}
TRAINED = ("Noise2Sim", "Noise2Noise", TAUGHT, BINS, PRINTED)
RIVALS = ("Noise2Sim", "Noise2Noise", "low-rank")  # that the paper shows beside its own
SHORT = {TAUGHT: "S2S", PRINTED: "S2S as printed", BINS: "bins", SPAN: "TV in span"}
REDRAW = 100  # training steps between two deals of the photons
SIMILARITY = 0.03  # weight of L_ss in the tuned version
EPOCHS, PRINTED_OUTER, PRINTED_START = 50, 5, 50  # of the paper; it gives no number of outer steps


def trials_of(methods: tuple[str, ...] | list[str], num: int) -> dict[str, list[dict[str, object]]]:
    """{method: settings to try}: `num` of each list; none to choose where a method has one alone."""
    num = contract.count("num", num, 1, 4)
    pick = {1: (1,), 2: (1, 2), 3: (0, 1, 2), 4: (0, 1, 2, 3)}[num]
    return {m: [dict(TRIALS[m][k]) for k in pick] if len(TRIALS[m]) > 1 else [{}] for m in methods}


def _classical(prior: Callable[[Scene, float], Prior]) -> Callable:
    return lambda scene, s, options: (scene, prior(scene, options["strength"]), s)


def _with_share(s: Settings, options: Mapping) -> Settings:
    """Settings with a share of the training steps: a network that trains on few slices may learn them by heart."""
    return replace(s, steps=max(1, round(options["share"] * s.steps)))


def _noise2sim(scene: Scene, s: Settings, options: Mapping):
    s = _with_share(s, options)
    return scene, noise2sim(scene, s, options["limit"]), s


def _noise2noise(scene: ScannedScene, s: Settings, options: Mapping):
    s = replace(_with_share(s, options), lr=options["lr"])
    scene = replace(scene, taught={})  # which is kept by the kind of its pairs alone
    return scene, noise2noise(scene, s, REDRAW, scene.scan.mode == "poisson"), s


def _taught(scene: Scene, s: Settings, options: Mapping):
    total, outer = s.outer * s.steps, options["outer"]
    s = _with_share(replace(s, outer=outer, steps=max(1, total // outer)), options)
    return scene, spectral2spectral(scene, s, SIMILARITY), s


def _bins(scene: Scene, s: Settings, options: Mapping):
    s = replace(s, lr=options["lr"])
    prior = spectral2spectral(scene, s, 0.0, retrain=False, pairs="bins", most=options["most"])
    return scene, prior, s


def _printed(scene: Scene, s: Settings, options: Mapping):
    """50 epochs at 1e-4, lambda_s growing to 1, scaled by extremes, Neighbor2Neighbor's network, SIRT-50 images."""
    parts = {"x0": scene.y, "full": scene.scan.full_spectrum()}
    images = {name: first_images(scene.A, y, PRINTED_START) for name, y in parts.items()}
    scene = replace(scene, **images, sirt_start=PRINTED_START, taught={})
    changed = {"lam_s": 1.0, "scaling": "extremes", "outer": PRINTED_OUTER, "lr": 1e-4, "epochs": EPOCHS, **options}
    outer, epochs, lr = (changed.pop(k) for k in ("outer", "epochs", "lr"))
    steps = max(1, epochs * len(scene.x0) // (s.batch * outer))
    net = {"width": s.printed_width, "depth": s.printed_depth, "huang": True}
    s = replace(s, outer=outer, steps=steps, lr=lr, decay=0.9, **net)
    return scene, spectral2spectral(scene, s, **changed), s


MAKERS: dict[str, Callable] = {
    "TV": _classical(lambda scene, v: tv(v)),
    "low-rank": _classical(lambda scene, v: low_rank(v)),
    SPAN: _classical(in_span),
    "Noise2Sim": _noise2sim,
    "Noise2Noise": _noise2noise,
    TAUGHT: _taught,
    BINS: _bins,
    PRINTED: _printed,
}


def run_method(method: str, scene: Scene, settings: Settings, options: Mapping[str, object]) -> tuple[Run, list]:
    """The reconstruction of a scene by a method with its options, and its validation curve [(step, error), ...]."""
    maker = MAKERS[contract.choice("method", method, tuple(MAKERS))]
    scene, prior, settings = maker(scene, settings, dict(options))
    classical = method not in TRAINED
    run = solve(scene, prior, replace(settings, outer=settings.classical_outer) if classical else settings)
    return run, list(getattr(prior, "course", []))
