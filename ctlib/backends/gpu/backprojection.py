"""The interpolating back-projection of the GPU engine: tables and launches, the batch in one call."""

import math

import numpy as np
import torch
import triton
from torch import Tensor

from ctlib.backends.gpu import backproject_2d as plane
from ctlib.backends.gpu import backproject_3d as space
from ctlib.backends.gpu.cells import cells, centered
from ctlib.backends.gpu.storage import PIXELS, addressable, half, real, shared, stored, tile
from ctlib.backends.gpu.tables import BLOCK, UNROLLED
from ctlib.backends.tables.backprojection import height_table
from ctlib.backends.tables.runs import SLACK, TILE
from ctlib.geometry import ConeBeam, ParallelBeam

ROWS, SLICES = 4, 8  # images times detector rows, or times slices, of a program: what fits into its registers


class TritonBackprojection:
    """The interpolating back-projection and its transpose, both without atomics; needs `self.geometry`.

    Speeds are not yet measured.
    """

    def backproject(self, q: Tensor, view_weights: Tensor) -> Tensor:
        out = q.new_empty(len(q), *self.geometry.volume.shape)
        with torch.cuda.device_of(q):
            if len(q):
                self._places(q).gather(q, self._scales(view_weights, q), out)
        return out

    def backproject_adjoint(self, x: Tensor, view_weights: Tensor) -> Tensor:
        out = x.new_empty(len(x), *self.geometry.sino_shape)
        with torch.cuda.device_of(x):
            if len(x):
                self._places(x).spread(x, self._scales(view_weights, x), out)
        return out

    def _scales(self, view_weights: Tensor, like: Tensor) -> Tensor:
        return view_weights.to(like.device, real(like.dtype)).contiguous()

    def _places(self, t: Tensor) -> "_Places2D":
        """Where voxels project to, in the precision and on the device of a tensor."""
        key = real(t.dtype), t.device
        if key not in self.places:
            kind = _Places3D if isinstance(self.geometry, ConeBeam) else _Places2D
            self.places[key] = kind(self.geometry, t.new_empty(0, dtype=key[0]))
        return self.places[key]


class _Places2D:
    """Tables of the plane in one precision on one device."""

    def __init__(self, geometry, like: Tensor):
        addressable("geometry", math.prod(n + 4 * (i > 0) for i, n in enumerate(geometry.sino_shape)))
        self.curved, (self.num, self.size) = not isinstance(geometry, ParallelBeam), geometry.volume.shape[-2:]
        self.columns, self.num_views = geometry.num_cols, geometry.num_views
        self.views = torch.from_numpy(centered(geometry).T.copy()).to(like)
        self.cells = [(c, *_on_device(c, like)) for c in cells(geometry)]

    def gather(self, q: Tensor, scales: Tensor, image: Tensor) -> None:
        """image (B, Y, X) of data (B, V, U)."""
        batch, images, data = len(q), shared(q), stored(q, pad=(2,))
        along, planes = tile(self.size, PIXELS // (4 if images > 2 else 2))
        grid = triton.cdiv(self.size, along), triton.cdiv(self.num, planes), triton.cdiv(batch, images)
        plane.gather_2d[grid](
            data, image, self.views, scales, self.num_views, self.num, self.size, self.columns, batch, data.stride(0),
            CURVED=self.curved, HALF=half(q), IMAGES=images, PLANES=planes, BLOCK=along,
        )  # fmt: skip

    def spread(self, x: Tensor, scales: Tensor, data: Tensor) -> None:
        """data (B, V, U) of images (B, Y, X)."""
        batch, images = len(x), shared(x)
        for c, numbers, begin, rise, span, taps in self.cells:
            image = stored(x.movedim(1 + c.axis, 1))
            plane.spread_2d[len(c.span), triton.cdiv(batch, images)](
                image, data, self.views, scales, numbers, begin, rise, span, taps,
                self.num_views, c.num, c.size, self.columns, c.taps.shape[1], batch, image.stride(0), data.stride(0),
                TAPS=min(int(np.median(c.taps)), UNROLLED), CURVED=self.curved, TURNED=bool(c.axis), HALF=half(x),
                IMAGES=images, BLOCK=BLOCK, TILE=TILE,
            )  # fmt: skip


class _Places3D(_Places2D):
    """Tables of a cone beam."""

    def __init__(self, cone: ConeBeam, like: Tensor):
        super().__init__(cone, like)
        self.rows, self.slices, (h0, h1, h2) = cone.num_rows, cone.volume.shape[0], height_table(cone)
        h0, h1 = h0 - self.rows // 2, h1 + h2 * (self.slices // 2)
        self.heights = torch.tensor([h0, h1, h2, 1 / h2, -h1 / h2]).to(like)
        self.slack = max(SLACK, self.slices * 2.0**-20)
        farthest = 1 + cone.volume.reach_mm / cone.source_origin_mm  # the largest l
        self.depth = min(math.ceil(2 * farthest / h2 + 2 * self.slack), self.slices + 1)

    def gather(self, q: Tensor, scales: Tensor, image: Tensor) -> None:
        """image (B, Z, Y, X) of data (B, V, R, U)."""
        batch, images, data = len(q), shared(q), stored(q, pad=(2, 3))
        (along, planes), slices = tile(self.size, BLOCK), min(SLICES // images, self.slices)
        grid = triton.cdiv(self.size, along) * triton.cdiv(self.num, planes), triton.cdiv(self.slices, slices)
        space.gather_3d[*grid, triton.cdiv(batch, images)](
            data, image, self.views, scales, self.heights, self.num_views, self.num, self.size, self.slices, self.rows,
            self.columns, batch, data.stride(0), HALF=half(q), SLICES=slices, IMAGES=images, PLANES=planes, BLOCK=along,
        )  # fmt: skip

    def spread(self, x: Tensor, scales: Tensor, data: Tensor) -> None:
        """data (B, V, R, U) of volumes (B, Z, Y, X)."""
        batch, images = len(x), shared(x)
        rows = min(ROWS // images, self.rows)
        for c, numbers, begin, rise, span, taps in self.cells:
            volume = stored(x.movedim(2 + c.axis, 2))
            grid = len(c.span), triton.cdiv(self.rows, rows), triton.cdiv(batch, images)
            space.spread_3d[grid](
                volume, data, self.views, scales, self.heights, numbers, begin, rise, span, taps,
                self.num_views, c.num, c.size, self.slices, self.rows, self.columns, c.taps.shape[1], batch,
                self.depth, self.slack, volume.stride(0), data.stride(0),
                TURNED=bool(c.axis), HALF=half(x), ROWS=rows, IMAGES=images, BLOCK=BLOCK, TILE=TILE,
            )  # fmt: skip


def _on_device(c, like: Tensor) -> tuple[Tensor, ...]:
    """Cells, where their candidates begin and how that rises, spans and candidates, as the kernels read them."""
    numbers, span, taps = (torch.from_numpy(t).to(like.device, torch.int32) for t in (c.cells, c.span, c.taps))
    begin, rise = (torch.from_numpy(t).to(like).contiguous() for t in (c.begin, c.rise))
    return numbers, begin, rise, span, taps
