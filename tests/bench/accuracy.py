"""How far an engine is from exact detector-averaged integrals, and its adjoint from the transpose."""

import torch
from setups import Setup

from ctlib.phantoms import Ellipsoids

BOUND = 0.1  # an engine further away than this computes something else, and is not timed


def forward_error(engine, setup: Setup) -> float:
    """|A x - y| / |y|, x the phantom averaged over pixels, y its exact integrals averaged over the rays of a bin."""
    x = phantom_of(engine, setup).raster(setup.geometry.volume, setup.fine)[None]
    y = setup.sinogram(1).double()
    found = engine.tensor(engine.forward(engine.native(x))).double()
    if found.shape != y.shape:
        return float("inf")
    return float((found - y).norm() / y.norm())


def phantom_of(engine, setup: Setup) -> Ellipsoids:
    """The phantom, moved by half a pixel for engines that turn about the center of pixel N // 2."""
    p = setup.phantom
    if engine.name not in ("scikit-image", "deepinv"):
        return p
    half = setup.geometry.volume.voxel_mm[0] / 2
    return Ellipsoids(p.values, p.centers_mm + torch.tensor([half, -half]).numpy(), p.axes_mm, p.angles_rad)


def adjoint_error(engine, setup: Setup, positive: bool) -> float:
    """|<A x, y> - <x, A' y>| over <A x, y> for positive data, over |A x| |y| for random signs."""
    draw = torch.rand if positive else torch.randn
    g = torch.Generator().manual_seed(0)
    x = draw(1, *setup.geometry.volume.shape, generator=g)
    y = draw(1, *setup.geometry.sino_shape, generator=g)
    Ax = engine.tensor(engine.forward(engine.native(x))).double()
    Aty = engine.tensor(engine.adjoint(engine.native(y))).double()
    left, right = (Ax * y).sum(), (x * Aty).sum()
    return float((left - right).abs() / (left if positive else Ax.norm() * y.double().norm()))


def records(engine, setup: Setup) -> list[dict]:
    """The accuracy row of one engine."""
    return [
        {
            "case": "accuracy", "geometry": setup.name, "engine": engine.name,
            "relative_error": forward_error(engine, setup),
            "adjoint_error_positive": adjoint_error(engine, setup, True),
            "adjoint_error_random": adjoint_error(engine, setup, False),
        }
    ]  # fmt: skip
