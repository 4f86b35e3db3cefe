"""GPU engines: Triton kernels over small tables, the batch in one launch per main axis.

A call stays on the device, but for the steep rays of a cone. Beyond its result it holds a padded copy of the images, or
of the sinograms.

float16 and bfloat16 are storage: half the memory, and for several images half the loads of images (`gpu.storage`).
Positions, weights and sums are float32. Besides the data, data times lengths and the part of a result from each main
axis are rounded: measured on random positive data against float32, all four products are off by at most 5e-4 of the
largest value, 2.5e-4 rms, in float16. bfloat16 has three bits fewer, hence eight times that on a GPU, where numbers are
rounded to the nearest; the interpreter cuts them off, which gave 1.3e-2, 7e-3 rms. float16 ends at 65504, also for
line integrals in mm. Speeds are not yet measured.
"""

import math
from functools import cached_property

import numpy as np
import torch
import triton
from torch import Tensor

from ctlib.backends.gpu import joseph_2d as triton_2d
from ctlib.backends.gpu import joseph_3d as triton_3d
from ctlib.backends.gpu.backprojection import TritonBackprojection
from ctlib.backends.gpu.storage import PIXELS, addressable, each, half, real, room, shared, stored, tile, words
from ctlib.backends.gpu.tables import BLOCK, lanes, middle_fan, rise
from ctlib.backends.reference.torch_engine import TorchEngine
from ctlib.backends.tables.columns import columns
from ctlib.backends.tables.runs import TILE, runs

ROWS, SLICES = 8, 6  # images times detector rows, or times slices, of a program: what fits into its registers


class _Engine(TritonBackprojection):
    """Tables per type and device, and the two products as sums over main axes."""

    def __init__(self, geometry):
        self.geometry, self.shape, self.num_rays = geometry, geometry.volume.shape, geometry.num_rays
        self.tables, self.places = {}, {}
        addressable("volume", math.prod(n + 4 for n in self.shape))

    def _axes(self, t: Tensor) -> list:
        key = real(t.dtype), t.device
        if key not in self.tables:
            self.tables[key] = self._make(t.new_empty(0, dtype=key[0]))
        return self.tables[key]

    def _sinogram(self, x: Tensor) -> Tensor:
        """Where the main axes write, each its own rays."""
        return x.new_empty(len(x), self.num_rays)

    def forward(self, x: Tensor) -> Tensor:
        sino = self._sinogram(x)
        with torch.cuda.device_of(x):
            for axis in self._axes(x) if len(x) else ():
                axis.forward(x, sino)
        return sino

    def adjoint(self, y: Tensor) -> Tensor:
        image, y = y.new_empty(len(y), *self.shape), y.contiguous()
        with torch.cuda.device_of(y):
            for number, axis in enumerate(self._axes(y) if len(y) else ()):
                axis.adjoint(y, image, number > 0)
        return image


class Triton2D(_Engine):
    """Joseph's method on CUDA tensors; images (B, Y, X), sinograms (B, rays)."""

    @cached_property
    def lanes(self) -> list:
        fans = [lanes(r) for r in runs(self.geometry)]
        addressable("geometry", max(len(fan.rays) for fan in fans))
        return fans

    def _make(self, like: Tensor) -> list:
        return [_Axis2D(axis, like) for axis in self.lanes]


class _Axis2D:
    """The rays of one main axis in one precision on one device."""

    def __init__(self, fan, like: Tensor):
        self.fan = fan
        self.rays, self.span, self.runs, self.taps = (
            torch.from_numpy(t).to(like.device, torch.int32)
            for t in (fan.rays, fan.span, np.stack([fan.first, fan.count], 1), fan.taps)
        )
        self.start, self.slope, self.length, self.maps = (
            torch.from_numpy(t).to(like) for t in (fan.start, fan.slope, fan.length, fan.maps)
        )

    def forward(self, x: Tensor, sino: Tensor) -> None:
        """sino (B, rays) of these rays."""
        fan, batch, images, data = self.fan, len(x), shared(x), stored(x.movedim(1 + self.fan.axis, 1), pad=(2,))
        triton_2d.forward_2d[len(fan.span), triton.cdiv(batch, images)](
            data, sino, self.rays, self.start, self.slope, self.length, self.span,
            fan.num, fan.size, fan.size + 4, batch, data.stride(0), sino.stride(0),
            HALF=half(x), IMAGES=images, BLOCK=BLOCK,
        )  # fmt: skip

    def adjoint(self, y: Tensor, image: Tensor, add: bool) -> None:
        """image (B, Y, X) = or += the adjoint of these rays."""
        fan, batch, images, packed = self.fan, len(y), shared(y), room(y, len(self.fan.rays))
        triton_2d.pack_2d[len(fan.span), batch](
            y, packed, self.rays, self.length, y.stride(0), packed.stride(0), EACH=each(y), BLOCK=BLOCK
        )
        packed = words(packed)
        along, planes = tile(fan.size, PIXELS // (4 if images > 2 else 2))
        grid = triton.cdiv(fan.size, along), triton.cdiv(fan.num, planes), triton.cdiv(batch, images)
        triton_2d.adjoint_2d[grid](
            packed, image, self.start, self.slope, self.maps, self.runs, self.taps,
            len(fan.first), fan.taps.shape[1], fan.num, fan.size, batch, packed.stride(0), TAPS=fan.unrolled,
            MORE=fan.more, CURVED=fan.curved, ADD=add, TURNED=bool(fan.axis), HALF=half(y), IMAGES=images,
            PLANES=planes, BLOCK=along, TILE=TILE,
        )  # fmt: skip


class Triton3D(_Engine):
    """Joseph's method on CUDA tensors; images (B, Z, Y, X), sinograms (B, rays).

    Rays steeper than some 45 degrees, whose main axis is z, are left to the torch engine: slow, and on a CUDA device
    its adjoint adds in no fixed order.
    """

    @cached_property
    def lanes(self) -> list:
        fans = [lanes(r) for r in runs(middle_fan(self.geometry))]
        both = [(fan, rise(self.geometry, fan)) for fan in fans]
        for fan, up in both:
            addressable("geometry", (self.geometry.num_rows + up.taps.max()) * len(fan.rays))
        return both

    @cached_property
    def steep(self) -> TorchEngine | None:
        return TorchEngine(self.geometry, axes=(0,)) if columns(self.geometry).steep else None

    def _make(self, like: Tensor) -> list:
        return [_Axis3D(self.geometry, *axis, like) for axis in self.lanes]

    def _sinogram(self, x: Tensor) -> Tensor:
        return self.steep.forward(x.to(real(x.dtype))).to(x.dtype) if self.steep else super()._sinogram(x)

    def adjoint(self, y: Tensor) -> Tensor:
        image = super().adjoint(y)
        return (image + self.steep.adjoint(y.to(real(y.dtype)))).to(y.dtype) if self.steep else image


class _Axis3D(_Axis2D):
    """The rays of one main axis, y or x, of a cone beam."""

    def __init__(self, cone, fan, up, like: Tensor):
        super().__init__(fan, like)
        self.rows, self.columns, self.slices, self.slack = cone.num_rows, cone.num_cols, cone.volume.shape[0], up.slack
        self.place, self.limits, self.taps = (
            torch.from_numpy(t).to(like.device, torch.int32)
            for t in (up.place, up.limits, np.stack([fan.taps, up.taps], -1))
        )
        lines = np.stack([fan.start, fan.slope, up.level, up.steep, up.flat, up.climb])
        self.lines = torch.from_numpy(lines).to(like)
        self.room = int(up.taps.max())

    def forward(self, x: Tensor, sino: Tensor) -> None:
        """sino (B, rays) of these rays."""
        fan, batch, images, data = self.fan, len(x), shared(x), stored(x.movedim(2 + self.fan.axis, 2), pad=(1, 3))
        rows = min(ROWS // images, self.rows)
        triton_3d.forward_3d[len(fan.span), triton.cdiv(self.rows, rows), triton.cdiv(batch, images)](
            data, sino, self.place, self.lines, self.limits, self.span,
            fan.num, fan.size, fan.size + 4, self.slices, self.rows, self.columns, len(fan.rays), batch,
            data.stride(0), sino.stride(0), HALF=half(x), ROWS=rows, IMAGES=images, BLOCK=BLOCK,
        )  # fmt: skip

    def adjoint(self, y: Tensor, volume: Tensor, add: bool) -> None:
        """volume (B, Z, Y, X) = or += the adjoint of these rays."""
        fan, batch, images = self.fan, len(y), shared(y)
        packed = room(y, self.rows + self.room, len(fan.rays))
        triton_3d.pack_3d[len(fan.span), packed.shape[1], batch](
            y, packed, self.place, self.lines, self.limits, self.rows, self.columns, len(fan.rays),
            y.stride(0), packed.stride(0), EACH=each(y), BLOCK=BLOCK,
        )  # fmt: skip
        packed = words(packed)
        (along, planes), slices = tile(fan.size, BLOCK), min(SLICES // images, self.slices)
        grid = triton.cdiv(fan.size, along) * triton.cdiv(fan.num, planes), triton.cdiv(self.slices, slices)
        triton_3d.adjoint_3d[*grid, triton.cdiv(batch, images)](
            packed, volume, self.lines, self.maps, self.runs, self.taps, len(fan.first), fan.taps.shape[1],
            fan.num, fan.size, self.slices, self.rows, len(fan.rays), batch, self.slack, packed.stride(0),
            CURVED=fan.curved, ADD=add, TURNED=bool(fan.axis), HALF=half(y), SLICES=slices, IMAGES=images,
            PLANES=planes, BLOCK=along, TILE=TILE,
        )  # fmt: skip


def TritonEngine(geometry):
    """The engine for a geometry's number of dimensions."""
    return (Triton2D if geometry.volume.ndim == 2 else Triton3D)(geometry)
