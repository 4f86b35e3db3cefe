"""The X-ray transform as a differentiable linear operator on torch tensors."""

from functools import partial

from torch import Tensor

from ctlib import backends, contract
from ctlib.errors import ArgumentError
from ctlib.linop import LinearOperator, linear_map


class Projector(LinearOperator):
    """X-ray transform A of a geometry, with its exact adjoint A.T; both differentiable, any number of times.

        y = A(x)        (..., Y, X) -> (..., V, U)             line integrals: x in 1/mm gives y without unit
        x = A.T(y)      back                                   (..., Z, Y, X) and (..., V, R, U) for a cone beam

    geometry      ParallelBeam, FanBeam or ConeBeam
    backend       "auto" (fastest for the tensor's device) or one of Projector.backends()
    rays_per_bin  rays averaged over the width of a bin (and over its height, for a cone): about bin / pixel of them
                  where bins are wider than pixels, for one ray does not see what lies beside it

    Leading axes are computed in one call. float32 or float64; dtype and device follow the input. The triton engine
    also takes float16 and bfloat16, stored so and summed in float32 (`backends.gpu.engine` states the error). Joseph's
    method, {cite}`joseph1982` (the astra engine: ASTRA's own models).
    """

    def __init__(self, geometry, backend: str = "auto", rays_per_bin: int = 1):
        backends.require(backend)
        if not hasattr(geometry, "finer"):
            raise ArgumentError("geometry", type(geometry).__name__, "ParallelBeam, FanBeam or ConeBeam")
        self.rays_per_bin = contract.count("rays_per_bin", rays_per_bin, 1)
        self._fine = geometry.finer(self.rays_per_bin)
        self.geometry, self.volume, self.backend = geometry, geometry.volume, backend
        self.domain_shape, self.range_shape = geometry.volume.shape, geometry.sino_shape
        self._engines = {}
        if backend != "auto":  # refuse a missing package, or what an engine cannot do, before the first product
            self._engines[backend] = backends.engine(backend, self._fine)

    @staticmethod
    def backends() -> tuple[str, ...]:
        """Names of the engines installed here."""
        return backends.available()

    def _engine(self, device_type: str):
        name = backends.resolve(self.backend, device_type)
        if name not in self._engines:
            self._engines[name] = backends.engine(name, self._fine)
        return self._engines[name]

    def _dtypes(self, t: object) -> tuple[str, ...]:
        return backends.dtypes(self.backend, t)

    def _apply(self, x: Tensor) -> Tensor:
        maps = partial(self._product, adjoint=False), partial(self._product, adjoint=True)
        return linear_map(x, *maps, self._dtypes(x))

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        maps = partial(self._product, adjoint=True), partial(self._product, adjoint=False)
        return linear_map(y, *maps, self._dtypes(y))

    def _product(self, t: Tensor, adjoint: bool) -> Tensor:
        if t.is_meta:
            raise ArgumentError("y" if adjoint else "x", "a tensor on the meta device", "one that holds values")
        given, wanted = (self.domain_shape, self.range_shape)[:: -1 if adjoint else 1]
        lead, engine = t.shape[: t.ndim - len(given)], self._engine(t.device.type)
        if adjoint:
            return engine.adjoint(self._spread(t).reshape(-1, self._fine.num_rays)).reshape(*lead, *wanted)
        return self._average(engine.forward(t.reshape(-1, *given))).reshape(*lead, *wanted)

    def _average(self, y: Tensor) -> Tensor:
        """Mean over the rays of each bin: (B, rays) -> (B, V, [R,] U)."""
        k, y = self.rays_per_bin, y.reshape(-1, *self._fine.sino_shape)
        for axis in range(2, y.ndim) if k > 1 else ():
            y = y.unflatten(axis, (-1, k)).mean(axis + 1)
        return y

    def _spread(self, y: Tensor) -> Tensor:
        """The transpose of `_average`."""
        k = self.rays_per_bin
        for axis in range(1 - len(self.range_shape), 0) if k > 1 else ():
            y = (y / k).repeat_interleave(k, axis)
        return y

    def __repr__(self) -> str:
        return f"Projector({self.geometry}, backend={self.backend!r}, rays_per_bin={self.rays_per_bin})"
