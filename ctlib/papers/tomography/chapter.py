"""The experiments of the chapter's pages from their parameters."""

from __future__ import annotations

from collections.abc import Mapping

from ctlib.papers.tomography import generator_study, image_study
from ctlib.papers.tomography.adversarial import GanSettings
from ctlib.papers.tomography.contenders import Size

BLOCKS = ("main", "joint", "drawings", "scans", "sizes")


def images_of(p: Mapping) -> image_study.Study:
    """The comparison of the first page with these parameters, by name as its first cell declares them."""
    plain = ("n", "views", "few_views", "arc_deg", "signals", "eps_sd", "bits", "depths", "blocks", "positions",
             "batch", "steps", "short_steps", "rates", "tune_steps", "main", "small", "precision",
             "device")  # fmt: skip
    return image_study.Study(
        **{name: p[name] for name in plain},
        folder=p["data"],
        limits={w: tuple(p[f"num_{w}"]) for w in p["worlds"]},
        sizes=[Size(*s) for s in p["sizes"]],
        weights=tuple(p["image_loss"]),
        seeds={b: p["seeds"][: p["seeds_of"][k]] for k, b in enumerate(BLOCKS)},
        checkpoints=p["checkpoints"] or None,
    )


def generators_of(p: Mapping) -> generator_study.GeneratorStudy:
    """The generators of the second page with these parameters."""
    plain = ("n", "views", "signals", "eps_sd", "bits", "depths", "blocks", "noise_width", "noise_steps",
             "noise_batch", "noise_lr", "image_steps", "image_batch", "image_lr", "critic_widths",
             "device")  # fmt: skip
    settings = GanSettings(
        p["gan_steps"], p["gan_batch"], p["gan_lr"], "warm-up", precision=p["precision"], start_lr=p["gan_lr"] / 8,
        rise=max(1, p["gan_steps"] // 10), halve=max(1, p["gan_steps"] // 5), lam=p["lam"],
        z_shape=tuple(p["z_shape"]), eta=p["eta"], betas=(0.5, 0.99),
    )  # fmt: skip
    worlds = {w: k for k, w in enumerate(p["worlds"])}
    return generator_study.GeneratorStudy(
        **{name: p[name] for name in plain},
        step=0.0,
        positions="fixed",
        folder=p["data"],
        limits={w: tuple(p[f"num_{w}"]) for w in worlds},
        size=Size(*p["size"]),
        weights=tuple(p["image_loss"]),
        settings=settings,
        seeds={w: p["seeds"][: p["seeds_of"][k]] for w, k in worlds.items()},
        losses={w: p[f"losses_{w}"] for w in worlds},
        checkpoints=p["checkpoints"] or None,
    )
