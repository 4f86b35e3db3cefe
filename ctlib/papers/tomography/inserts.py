"""Which inserts of a body an image shows, and how many it shows that are not there."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.papers.tomography.bodies import AXES, Body, Insert

RING = (1.5, 4.0)  # radii of the surroundings, in radii of the disk


@dataclass(frozen=True)
class InsertCount:
    """Inserts of one image: which of the body's are shown, and the places (row, column) of those it does not have."""

    shown: tuple[bool, ...]
    false: tuple[tuple[int, int], ...]


def insert_radius(volume: Volume) -> float:
    """Radius of the filter's disk [pixels]: the mean half axis of an insert."""
    return sum(AXES) / 2 * volume.shape[0] / 2


def local_contrast(difference: Tensor, soft: Tensor, plain: Tensor, radius: float) -> Tensor:
    """Mean over a disk of soft tissue less the mean over the plain tissue in a ring around it: (Y, X), same unit.

        c(p) = mean{d(q): |q - p| <= R, q soft} - mean{d(q): 1.5 R <= |q - p| <= 4 R, q plain}

    The filter matched to a uniform disk of radius R on an unknown level: such a disk of height h has c = h. 0 where
    less than half of the disk is soft, or nothing of the ring plain.

    soft, plain  pixels (Y, X), bool: soft tissue, and soft tissue without inserts, which would cast shadows
    """
    difference, radius = (
        contract.tensor("difference", difference, ("Y", "X")),
        contract.number("radius", radius, above=0),
    )
    masks = tuple(contract.mask(n, m, difference.shape[-2:]) for n, m in (("soft", soft), ("plain", plain)))
    if difference.ndim != 2 or not difference.numel() or any(m.ndim != 2 for m in masks):
        given = (tuple(difference.shape), *(tuple(m.shape) for m in masks))
        raise ArgumentError("difference, soft, plain", given, "(Y, X), and bool of the same shape")
    if radius > 4 * max(difference.shape):
        raise ArgumentError("radius", radius, "one that fits into the image")
    reach = math.ceil(RING[1] * radius)
    t = torch.arange(-reach, reach + 1, dtype=torch.float64)
    far = (t[:, None].square() + t.square()).sqrt()
    kernels = torch.stack([far <= radius, (far >= RING[0] * radius) & (far <= RING[1] * radius)]).double()
    weight = torch.stack([m.cpu() for m in masks]).double()
    maps = torch.stack([difference.double().cpu() * weight, weight])  # (2, 2, Y, X): values and weights, soft and plain
    sums = _correlate(maps, kernels)  # of the disk and of the ring
    known = (sums[1, 0] >= kernels[0].sum() / 2 - 0.1) & (sums[1, 1] > 0.1)
    means = sums[0] / sums[1].clamp_min(1)
    return torch.where(known, means[0] - means[1], 0.0)


def _correlate(maps: Tensor, kernels: Tensor) -> Tensor:
    """Maps (..., K, Y, X) with symmetric kernels (K, r, r) of odd size, zeros around the maps, by Fourier transform."""
    reach, shape = kernels.shape[-1] // 2, maps.shape[-2:]
    size = [n + 2 * reach for n in shape]
    product = torch.fft.rfft2(maps, s=size) * torch.fft.rfft2(kernels, s=size)
    return torch.fft.irfft2(product, s=size)[..., reach : reach + shape[0], reach : reach + shape[1]]


def insert_threshold(bodies: Iterable[Body], volume: Volume) -> float:
    """Contrast [1/mm] from which something counts as an insert: half of what 95 % of the inserts reach in the truth.

    Half way between no insert and a weak one, fixed on true images before any reconstruction is looked at.
    """
    reached = [v for b in bodies for v in _at_inserts(_response(b.image, b, volume), b.inserts, volume)]
    if not reached:
        raise ArgumentError("bodies", 0, "at least one insert")
    return float(0.5 * torch.tensor(reached, dtype=torch.float64).quantile(0.05))


def count_inserts(image: Tensor, body: Body, volume: Volume, threshold: float) -> InsertCount:
    """Count the inserts of an image (Y, X) [1/mm] of a body by `local_contrast` of its difference to the background.

    shown  the contrast with the insert's own sign, within a pixel of its center, is at least the threshold
    false  local extrema in soft tissue, of either sign, at least as strong, and more than one radius outside of the
           outline of every insert
    """
    threshold = contract.number("threshold", threshold, above=0)
    if contract.tensor("image", image).shape != body.image.shape or not bool(image.isfinite().all()):
        raise ArgumentError("image", tuple(image.shape), f"a finite image of the body, {tuple(body.image.shape)}")
    c = _response(image, body, volume)
    shown = tuple(v >= threshold for v in _at_inserts(c, body.inserts, volume))
    window = 2 * round(insert_radius(volume)) + 1
    peak = max_pool2d(c.abs()[None], window, 1, window // 2)[0] == c.abs()
    near = _near(body.inserts, volume, insert_radius(volume) * volume.voxel_mm[0])
    wrong = peak & (c.abs() >= threshold) & body.soft.cpu() & ~near
    return InsertCount(shown, tuple((int(y), int(x)) for y, x in torch.nonzero(wrong)))


def _response(image: Tensor, body: Body, volume: Volume) -> Tensor:
    soft, pixel = body.soft.cpu(), volume.voxel_mm[0]
    plain = soft & ~_near(body.inserts, volume, pixel)
    return local_contrast((image - body.background.to(image)).cpu(), soft, plain, insert_radius(volume))


def _at_inserts(c: Tensor, inserts: tuple[Insert, ...], volume: Volume) -> list[float]:
    """Largest contrast of the right sign in the 3 x 3 pixels around each center."""
    best = max_pool2d(torch.stack([c, -c])[:, None], 3, 1, 1)[:, 0]
    places = [_pixel(i, volume) for i in inserts]
    return [float(best[0 if i.contrast > 0 else 1, y, x]) for i, (y, x) in zip(inserts, places, strict=True)]


def _pixel(insert: Insert, volume: Volume) -> tuple[int, int]:
    x, y = insert.center_mm
    return tuple(int(abs(torch.from_numpy(volume.axis(k)) - v).argmin()) for k, v in ((0, y), (1, x)))


def _near(inserts: tuple[Insert, ...], volume: Volume, margin_mm: float) -> Tensor:
    """Pixels within a margin of an insert's outline, taken as the circle of its larger half axis."""
    y, x = (torch.from_numpy(volume.axis(k)) for k in range(2))
    far = [torch.hypot(x - i.center_mm[0], (y - i.center_mm[1])[:, None]) - max(i.axes_mm) for i in inserts]
    return torch.stack([f <= margin_mm for f in far]).any(0)
