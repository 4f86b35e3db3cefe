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
NETWORK_TRIALS: tuple[dict[str, object], ...] = (
    {"start": 0, "share": 0.25},
    {"start": 0, "share": 1.0},
    {"start": 0, "share": 1.0, "outer": 1},
    {"start": 50, "share": 1.0},
)
"""SIRT iterations of the first images (0: solved), share of the training steps (few slices may be learned by heart),
and whether the network is applied once, or between as many data steps as the study has."""
TRIALS: dict[str, tuple[dict[str, object], ...]] = {
    "TV": tuple({"strength": v} for v in (0.7, 1.0, 1.4, 2.0)),
    "Noise2Sim": NETWORK_TRIALS,
    "Noise2Noise": NETWORK_TRIALS,
    "low-rank": tuple({"strength": v} for v in (3.0, 6.0, 9.0, 13.0)),
    TAUGHT: NETWORK_TRIALS,
    BINS: NETWORK_TRIALS,
    SPAN: tuple({"strength": v} for v in (0.5, 0.7, 1.0, 1.4)),
    PRINTED: ({},),
}
TRAINED = ("Noise2Sim", "Noise2Noise", TAUGHT, BINS, PRINTED)
RIVALS = ("Noise2Sim", "Noise2Noise", "low-rank")  # that the paper shows beside its own
SHORT = {TAUGHT: "S2S", PRINTED: "S2S as printed", BINS: "bins", SPAN: "TV in span"}
LIMIT = 0.8  # of Noise2Sim, up to which slices are similar
REDRAW = 100  # training steps between two deals of the photons
SIMILARITY = 0.03  # weight of L_ss in the tuned version
PRINTED_OUTER, PRINTED_START = 5, 50  # the paper gives no number of outer steps; SIRT iterations as it says


def trials_of(methods: tuple[str, ...] | list[str], num: int) -> dict[str, list[dict[str, object]]]:
    """{method: settings to try}: `num` of each list; none to choose where a method has one alone."""
    num = contract.count("num", num, 1, 4)
    pick = {1: (1,), 2: (1, 2), 3: (0, 1, 2), 4: (0, 1, 2, 3)}[num]
    return {m: [dict(TRIALS[m][k]) for k in pick] if len(TRIALS[m]) > 1 else [{}] for m in methods}


def _classical(prior: Callable[[Scene, float], Prior]) -> Callable:
    return lambda scene, s, options: (scene, prior(scene, options["strength"]), s)


def _started(scene: Scene, iterations: int) -> Scene:
    """The scene with other first images; one that is made of images has no others."""
    if not isinstance(scene, ScannedScene) or iterations == scene.sirt_start:
        return scene
    x0, full = (first_images(scene.A, y, iterations) for y in (scene.y, scene.scan.full_spectrum()))
    return replace(scene, x0=x0, full=full, sirt_start=iterations, taught={})


def _network(make: Callable[[Scene, Settings], Prior]) -> Callable:
    """A method of a network whose first images, training steps and outer steps (else the loop's) are chosen."""

    def maker(scene: Scene, s: Settings, options: Mapping):
        total, steps = options["share"] * s.outer * s.steps, options.get("outer", s.outer)
        s, scene = replace(s, outer=steps, steps=max(1, round(total / steps))), _started(scene, options["start"])
        return scene, make(scene, s), s

    return maker


def _printed(scene: Scene, s: Settings, options: Mapping):
    """A rate of 1e-4, lambda_s growing to 1, scaled by extremes, Neighbor2Neighbor's network, SIRT-50 images."""
    scene = _started(scene, PRINTED_START)
    changed = {"lam_s": 1.0, "scaling": "extremes", "outer": PRINTED_OUTER, "lr": 1e-4, "epochs": s.epochs, **options}
    outer, epochs, lr = (changed.pop(k) for k in ("outer", "epochs", "lr"))
    steps = max(1, epochs * len(scene.x0) // (s.batch * outer))
    net = {"width": s.printed_width, "depth": s.printed_depth, "huang": True}
    s = replace(s, outer=outer, steps=steps, lr=lr, decay=0.9, **net)
    return scene, spectral2spectral(scene, s, **changed), s


MAKERS: dict[str, Callable] = {
    "TV": _classical(lambda scene, v: tv(v)),
    "low-rank": _classical(lambda scene, v: low_rank(v)),
    SPAN: _classical(in_span),
    "Noise2Sim": _network(lambda scene, s: noise2sim(scene, s, LIMIT)),
    "Noise2Noise": _network(lambda scene, s: noise2noise(scene, s, REDRAW, scene.scan.mode == "poisson")),
    TAUGHT: _network(lambda scene, s: spectral2spectral(scene, s, SIMILARITY)),
    BINS: _network(lambda scene, s: spectral2spectral(scene, s, 0.0, retrain=False, pairs="bins", most=1)),
    PRINTED: _printed,
}


def run_method(method: str, scene: Scene, settings: Settings, options: Mapping[str, object]) -> tuple[Run, list]:
    """The reconstruction of a scene by a method with its options, and its validation curve [(step, error), ...]."""
    maker = MAKERS[contract.choice("method", method, tuple(MAKERS))]
    scene, prior, settings = maker(scene, settings, dict(options))
    classical = method not in TRAINED
    run = solve(scene, prior, replace(settings, outer=settings.classical_outer) if classical else settings)
    return run, list(getattr(prior, "course", []))
