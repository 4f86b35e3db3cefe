"""The 2-D products of the CPU engine: Joseph's method for 16 neighboring rays, or 16 neighboring pixels, at a time.

Images of a batch are packed in groups of 4, or of 1, that share positions and weights. Packed images are flat arrays
(group, plane, image, pixel); packed sinograms (group, image, ray), rays in the order of the runs and multiplied by the
length. Both products evaluate X = fma(slope, q, start) with the same rounding, so one is the exact transpose of the
other; every entry of a result is written by one thread, and its terms are added in one order.
"""

import numpy as np
from numba import prange

from ctlib.backends.cpu import simd
from ctlib.backends.cpu.simd import LANES, fma, hat, splat, sub, zeros
from ctlib.backends.cpu.simd_memory import load, store, take, take_apart
from ctlib.compiled import njit

BAND = 32  # planes the forward product reads at once: they stay in cache for all rays of a thread


@njit
def _sum_planes(read, total, image, at, pixels, step, planes, places, start, slope):
    """total + the image interpolated at X(q) for 16 rays, summed over planes; image[at] begins the first plane."""
    before, beyond, one = splat(total, places[0]), splat(total, places[1]), splat(total, 1)
    for q in range(planes[0], planes[1]):
        x = simd.low(simd.high(fma(slope, splat(total, q), start), before), beyond)
        cell = simd.floor(x)
        base = simd.first(cell)
        lanes, weight, left = simd.offsets(cell, base), sub(x, cell), at + base - places[0]
        total = fma(sub(one, weight), read(total, image, left, pixels, lanes), total)
        total = fma(weight, read(total, image, left + 1, pixels, lanes), total)
        at += step
    return total


@njit
def _forward(zero, image, pixels, grid, tables, blocks, sino):
    """sino[image, ray] of the blocks [from, to) of 16 rays, for all groups of images."""
    groups, num, size = grid
    rays, start, slope, length, span, close = tables
    images, like = sino.shape[0] // groups, zeros(image, 1)
    step, entries, middle = images * pixels, images * LANES, num // 2
    places = (-1 - size // 2, size - size // 2)
    sums = np.empty((blocks[1] - blocks[0]) * entries, image.dtype)
    for g in range(groups):
        sums[:] = 0
        for band in range(0, num, BAND):
            for b in range(blocks[0], blocks[1]):
                q0, q1 = max(band, span[b, 0]), min(band + BAND, span[b, 1])
                if q0 < q1:
                    at, here, planes = (g * num + q0) * step, (b - blocks[0]) * entries, (q0 - middle, q1 - middle)
                    a, d = load(like, start, b * LANES, 0), load(like, slope, b * LANES, 0)
                    total = load(zero, sums, here, LANES)
                    if close[b]:
                        total = _sum_planes(take, total, image, at, pixels, step, planes, places, a, d)
                    else:
                        total = _sum_planes(take_apart, total, image, at, pixels, step, planes, places, a, d)
                    store(total, sums, here, LANES)
        _unpack(sums, rays, length, blocks, sino[g * images : (g + 1) * images])


@njit
def _unpack(sums, rays, length, blocks, sino):
    for b in range(blocks[0], blocks[1]):
        for k in range(sino.shape[0]):
            for lane in range(LANES):
                r = b * LANES + lane
                if rays[r] >= 0:
                    sino[k, rays[r]] = length[r] * sums[((b - blocks[0]) * sino.shape[0] + k) * LANES + lane]


@njit(parallel=True, cache=True)
def pack_sinogram(sino, rays, length, stride, packed):
    """packed[image, ray] = length * sino, rays in the order of the runs, 0 beyond; packed (B * stride)."""
    parts = -(-stride // 4096)
    for item in prange(sino.shape[0] * parts):
        b, part = item // parts, item % parts
        for r in range(part * 4096, min(stride, (part + 1) * 4096)):
            inside = r < rays.size and rays[r] >= 0
            packed[b * stride + r] = length[r] * sino[b, rays[r]] if inside else 0


@njit
def _add_rays(read, total, sino, at, stride, index, place, taps, lanes, pixel):
    """total + weight * sinogram for `taps` candidate rays per pixel; index holds X of the rays on this plane."""
    for k in range(taps):
        ray = simd.shift(lanes, k)
        weight = hat(sub(read(pixel, index, place, 0, ray), pixel))
        total = fma(weight, read(total, sino, at, stride, ray), total)
    return total


@njit
def _places(index, width, planes, middle, start, slope, run, reach, far):
    """index[plane, ray] = X of a run's rays on some planes; `far` beyond its last ray, where no pixel is near."""
    begin, full = run[0], -(-run[1] // LANES) * LANES
    like = zeros(index, 1)
    for i in range(0, full, LANES):
        a, d = load(like, start, begin + i, 0), load(like, slope, begin + i, 0)
        for q in range(planes[0], planes[1]):
            store(fma(d, splat(like, q - middle), a), index, (q - planes[0]) * width + i, 0)
    for q in range(planes[1] - planes[0]):
        for i in range(full, full + reach, LANES):
            store(splat(like, far), index, q * width + i, 0)


@njit
def _adjoint(zero, sino, stride, grid, tables, tile, planes, image):
    """image[plane, image, pixel] of one group on the planes of a tile: the sum over all runs."""
    pixels, num, size, width, reach, slack = grid
    start, slope, first, count, inverse, taps, near = tables
    images, middle, half = image.size // (num * pixels), num // 2, size // 2
    none, slack = splat(zero, 0), splat(zero, slack)
    index = np.empty((planes[1] - planes[0]) * width, sino.dtype)
    for r in range(first.size):
        p, n, last = inverse[r], taps[r, tile], splat(zero, count[r])
        _places(index, width, planes, middle, start, slope, (first[r], count[r]), reach, 4 * size)
        curved = p[3] != 0 or p[4] != 0
        for q in range(planes[0], planes[1]):
            row = (q - planes[0]) * width
            above, along = splat(zero, p[0] + p[1] * (q - middle) - p[2]), splat(zero, p[2])
            below, beside = splat(zero, 1 + p[3] * (q - middle) - p[4]), splat(zero, p[4])
            low = max(0, int(index[row] + (half - 1)) // LANES)
            high = min(pixels // LANES, int(index[row + count[r] - 1] + (half + 2)) // LANES + 1)
            for b in range(low, high):
                pixel = simd.ramp(zero, b * LANES - half)
                ray = fma(along, pixel, above)
                if curved:
                    ray = simd.ratio(ray, fma(beside, pixel, below))  # the ray at place pixel - 1
                ray = simd.low(simd.high(simd.ceil(sub(ray, slack)), none), last)
                base = simd.first(ray)
                lanes, at, place = simd.offsets(ray, base), first[r] + base, row + base
                here = q * images * pixels + b * LANES
                total = load(zero, image, here, pixels)
                if not near[r]:
                    total = _add_rays(take_apart, total, sino, at, stride, index, place, n, lanes, pixel)
                elif n == 2:
                    total = _add_rays(take, total, sino, at, stride, index, place, 2, lanes, pixel)
                elif n == 3:
                    total = _add_rays(take, total, sino, at, stride, index, place, 3, lanes, pixel)
                else:
                    total = _add_rays(take, total, sino, at, stride, index, place, n, lanes, pixel)
                store(total, image, here, pixels)


@njit
def _item(zero, sino, stride, grid, tables, items, item, tile_planes, image):
    """One work item of the adjoint: a tile of planes of a group of images."""
    tiles = tables[5].shape[1]
    group, tile, images = item // tiles, item % tiles, image.size // (items // tiles * grid[0] * grid[1])
    planes = (tile * tile_planes, min(grid[1], (tile + 1) * tile_planes))
    entries = grid[1] * images * grid[0]
    sinos = sino[group * images * stride : (group + 1) * images * stride]
    _adjoint(zero, sinos, stride, grid, tables, tile, planes, image[group * entries : (group + 1) * entries])


@njit(parallel=True, cache=True)
def forward_1(image, pixels, grid, tables, parts, sino):
    blocks = tables[4].shape[0]
    for c in prange(parts):
        _forward(zeros(image, 1), image, pixels, grid, tables, (blocks * c // parts, blocks * (c + 1) // parts), sino)


@njit(parallel=True, cache=True)
def forward_4(image, pixels, grid, tables, parts, sino):
    blocks = tables[4].shape[0]
    for c in prange(parts):
        _forward(zeros(image, 4), image, pixels, grid, tables, (blocks * c // parts, blocks * (c + 1) // parts), sino)


@njit(parallel=True, cache=True)
def adjoint_1(sino, stride, grid, tables, tile_planes, items, image):
    for item in prange(items):
        _item(zeros(sino, 1), sino, stride, grid, tables, items, item, tile_planes, image)


@njit(parallel=True, cache=True)
def adjoint_4(sino, stride, grid, tables, tile_planes, items, image):
    for item in prange(items):
        _item(zeros(sino, 4), sino, stride, grid, tables, items, item, tile_planes, image)


@njit(parallel=True, cache=True)
def adjoint_8(sino, stride, grid, tables, tile_planes, items, image):
    for item in prange(items):
        _item(zeros(sino, 8), sino, stride, grid, tables, items, item, tile_planes, image)
