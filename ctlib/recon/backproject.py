"""Interpolating (pixel-driven) back-projection: what filtered back-projection sums over.

It is not the transpose of the projector; chapter 1 shows what that does to an iteration. Its own exact transpose is its
gradient, which needs no graph through the views. The engines behind the projector compute both; the loop that says so
in torch is `backends.reference.backprojection`.
"""

from functools import lru_cache, partial

from torch import Tensor

from ctlib import backends, contract
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam
from ctlib.linop import linear_map


def backproject(
    q: Tensor, geometry: ParallelBeam | FanBeam | ConeBeam, view_weights: Tensor, backend: str = "auto"
) -> Tensor:  # fmt: skip
    """Sum over views of the projection value under each voxel, linear between cells, zero beyond the detector.

        b(r) = sum_v view_weights_v c_v(r) q_v(u_v(r))
        parallel: u = r . e, c = 1;     fan: u = SD (r . e) / L, c = (SO / L)^2, L = SO - r . d
        cone: as fan, and bilinear with the height SD z / L along the detector's rows

    q             (..., V, U), or (..., V, R, U) for a cone beam
    view_weights  (V,) [rad], without gradient
    backend       the engine, as in `Projector`
    e, d          detector axis (cos t, sin t) and direction from the axis to the source (sin t, -cos t), y up

    Returns (..., Y, X) or (..., Z, Y, X), in the dtype of q, which is as in `Projector`. Differentiable any number of
    times: {cite}`kak2001`, sections 3.3 to 3.6.
    """
    shape = geometry.sino_shape
    dtypes = backends.dtypes(backend, q)
    q = contract.tensor("q", q, shape, dtypes=dtypes)
    view_weights = contract.tensor("view_weights", view_weights)
    if tuple(view_weights.shape) != (geometry.num_views,) or view_weights.requires_grad:
        given = f"shape {tuple(view_weights.shape)}, requires_grad {view_weights.requires_grad}"
        raise ArgumentError("view_weights", given, f"({geometry.num_views},) without a gradient")
    engine = _engine(backends.resolve(backend, q.device.type), geometry)
    product = partial(_product, engine=engine, view_weights=view_weights, shapes=(shape, geometry.volume.shape))
    return linear_map(q, partial(product, transposed=False), partial(product, transposed=True), dtypes)


_engine = lru_cache(maxsize=8)(backends.engine)  # an engine keeps its tables from call to call


def _product(t: Tensor, engine: backends.Engine, view_weights: Tensor, shapes, transposed: bool) -> Tensor:
    """Back-projection of (..., V, [R,] U) to (..., [Z,] Y, X), or its transpose, in one call of the engine."""
    given, wanted = shapes[::-1] if transposed else shapes
    product = engine.backproject_adjoint if transposed else engine.backproject
    return product(t.reshape(-1, *given), view_weights).reshape(*t.shape[: t.ndim - len(given)], *wanted)
