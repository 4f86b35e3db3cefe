"""The 2-D products of the CPU engine: Joseph's method for 16 neighboring rays, or 16 neighboring pixels, at a time.

Images of a batch are packed in groups of 8, 4 or 1 that share positions and weights. Packed images are flat arrays
(group, plane, image, pixel); packed sinograms (group, image, ray), rays in the order of the runs and multiplied by the
length. Both products evaluate X = fma(zoom, T, shift) with the same rounding, so one is the exact transpose of the
other; every entry of a result is written by one work item, and its terms are added in one order.
"""

import numpy as np

from ctlib.backends.cpu import simd
from ctlib.backends.cpu.simd import LANES, fma, hat, splat, sub, zeros
from ctlib.backends.cpu.simd_memory import entry, load, store, take, take_apart
from ctlib.backends.tables.runs import TILE
from ctlib.compiled import njit
from ctlib.cpu.threads import claimed

BAND = 128  # planes of one image that A reads at once: they stay in cache for all rays of an item
PIXELS = 2 * LANES  # of a plane that A.T of one image takes at once
RUNS = 16  # runs that A.T reads at once: what they hold for 16 pixels stays in cache for a tile of planes


@njit
def _sum_planes(read, total, image, at, pixels, step, ends, lines, planes, place):
    """total + the image interpolated at X for 16 rays, summed over planes; image[at] begins the first of them.

    lines  (zoom, shift) of X on every plane;  planes  where these begin and end
    """
    before, beyond, one = splat(total, ends[0]), splat(total, ends[1]), splat(total, 1)
    for q in range(planes[0], planes[1]):
        x = fma(splat(total, entry(lines[0], q)), place, splat(total, entry(lines[1], q)))
        x = simd.low(simd.high(x, before), beyond)
        cell = simd.floor(x)
        cells = simd.whole(cell)
        lanes, weight, left = simd.offsets(cells), sub(x, cell), at + simd.lane(cells) - ends[0]
        total = fma(sub(one, weight), read(total, image, left, pixels, lanes), total)
        total = fma(weight, read(total, image, left, pixels, simd.shift(lanes, 1)), total)
        at += step
    return total


@njit
def _forward(zero, image, pixels, grid, tables, blocks, sino):
    """sino[image, ray] of the blocks [from, to) of 16 rays, for one group of images."""
    num, size = grid
    rays, place, zoom, shift, length, span, close, run = tables
    images, like = sino.shape[0], zeros(image, 1)
    step, entries, ends = images * pixels, images * LANES, (-1 - size // 2, size - size // 2)
    sums, height = np.zeros((blocks[1] - blocks[0]) * entries, image.dtype), BAND // images
    for band in range(0, num, height):
        for b in range(blocks[0], blocks[1]):
            q0, q1 = max(band, span[b, 0]), min(band + height, span[b, 1])
            if q0 < q1:
                at, here, planes = q0 * step, (b - blocks[0]) * entries, (run[b] * num + q0, run[b] * num + q1)
                x, lines, total = load(like, place, b * LANES, 0), (zoom, shift), load(zero, sums, here, LANES)
                if close[b]:
                    total = _sum_planes(take, total, image, at, pixels, step, ends, lines, planes, x)
                else:
                    total = _sum_planes(take_apart, total, image, at, pixels, step, ends, lines, planes, x)
                store(total, sums, here, LANES)
    _unpack(sums, rays, length, blocks, sino)


@njit
def _unpack(sums, rays, length, blocks, sino):
    for b in range(blocks[0], blocks[1]):
        for k in range(sino.shape[0]):
            for lane in range(LANES):
                r = b * LANES + lane
                if rays[r] >= 0:
                    sino[k, rays[r]] = length[r] * sums[((b - blocks[0]) * sino.shape[0] + k) * LANES + lane]


@njit
def _add_rays(read, taps, fans, total, sino, stride, tables, at, here, m, block):
    """total + the candidate rays of one run, `taps` of them, for 16 pixels of a plane; of m runs.

    at, here  of the run in the tile's and in the plane's rows of the tables;  block  the pixels
    """
    (place, spans, maps, scales), none = tables, splat(block, 0)
    ray = fma(splat(block, entry(maps, at)), block, splat(block, entry(scales, here + 2 * m)))
    if fans:
        below = splat(block, entry(scales, here + 3 * m))
        ray = simd.ratio(ray, fma(splat(block, entry(maps, at + m)), block, below))
    rays = simd.whole(simd.low(simd.high(ray, none), splat(block, entry(maps, at + 2 * m))))
    lanes, first = simd.offsets(rays), entry(spans, at) + simd.lane(rays)
    zoom, shift = splat(block, entry(scales, here)), splat(block, entry(scales, here + m))
    for k in range(taps):
        lane = simd.shift(lanes, k)
        weight = hat(sub(fma(zoom, read(block, place, first, 0, lane), shift), block))
        total = fma(weight, read(total, sino, first, stride, lane), total)
    return total


@njit
def _sum_block(read, taps, fans, zero, sino, stride, tables, rows, runs, pixels, block, image, at):
    """image[at ...] += the runs [from, to, of all) for 16 pixels of a plane, block number `pixels`.

    rows  where the tile's and the plane's rows of the tables begin
    """
    (tile, plane), (begin, end, m), spans, step = rows, runs, tables[1], image.shape[2]
    total = load(zero, image, at, step)
    for r in range(begin, end):
        if entry(spans, tile + r + m) <= pixels < entry(spans, tile + r + 2 * m):
            total = _add_rays(read, taps, fans, total, sino, stride, tables, tile + r, plane + r, m, block)
    store(total, image, at, step)


@njit
def _sum_pair(read, taps, fans, zero, sino, stride, tables, rows, runs, pixels, block, image, at):
    """As `_sum_block` for this block and the next, which share what is read of a run; for one image.

    Groups of images read as much for the images, and two blocks of them would not find registers.
    """
    (tile, plane), (begin, end, m), spans, step = rows, runs, tables[1], image.shape[2]
    total, other = load(zero, image, at, step), load(zero, image, at + LANES, step)
    beside = simd.add(block, splat(block, LANES))
    for r in range(begin, end):
        high = entry(spans, tile + r + 2 * m)
        if entry(spans, tile + r + m) <= pixels + 1 and pixels < high:
            total = _add_rays(read, taps, fans, total, sino, stride, tables, tile + r, plane + r, m, block)
            if pixels + 1 < high:
                other = _add_rays(read, taps, fans, other, sino, stride, tables, tile + r, plane + r, m, beside)
    store(total, image, at, step)
    store(other, image, at + LANES, step)


@njit
def _write(planes, first, axis, add, out):
    """out[image, y, x] = planes[plane, image, pixel], or += with `add`; rows from `first` on, or columns for axis 1."""
    for k in range(planes.shape[1]):
        if axis == 0:
            for q in range(planes.shape[0]):
                for i in range(out.shape[2]):
                    out[k, first + q, i] = planes[q, k, i] + (out[k, first + q, i] if add else 0)
        else:
            for i in range(out.shape[1]):
                for q in range(planes.shape[0]):
                    out[k, i, first + q] = planes[q, k, i] + (out[k, i, first + q] if add else 0)


def _backprojection(sum_pixels, width):
    """One work item of A.T, compiled for a way to sum `width` pixels at once."""

    @njit
    def add_runs(read, taps, fans, zero, sino, stride, tables, tile, runs, planes, middle, image):
        """image[plane, image, pixel] += some runs, on the planes [from, to)."""
        like, pixels = zeros(sino, 1), image.shape[2]
        for block in range(0, pixels, width):
            numbers, number = simd.ramp(like, block - middle), block // LANES
            for q in range(planes[0], planes[1]):
                here, rows = (q - planes[0]) * image.shape[1] * pixels + block, (3 * tile * runs[2], 4 * q * runs[2])
                sum_pixels(read, taps, fans, zero, sino, stride, tables, rows, runs, number, numbers, image, here)

    @njit
    def adjoint(zero, sino, stride, tables, kinds, tile, planes, middle, image):
        """image[plane, image, pixel] += all runs for one group of images, on the planes [from, to) of a tile."""
        taps, near, fans = kinds[0][tile], kinds[1], kinds[2]
        a, m = 0, taps.size
        while a < m:
            n, b = taps[a], a + 1
            while b < min(m, a + RUNS) and taps[b] == n and near[b] == near[a] and fans[b] == fans[a]:
                b += 1
            runs = (a, b, m)
            if not near[a]:
                add_runs(take_apart, n, True, zero, sino, stride, tables, tile, runs, planes, middle, image)
            elif n < 2 or n > 3:
                add_runs(take, n, True, zero, sino, stride, tables, tile, runs, planes, middle, image)
            elif fans[a] and n == 2:
                add_runs(take, 2, True, zero, sino, stride, tables, tile, runs, planes, middle, image)
            elif fans[a]:
                add_runs(take, 3, True, zero, sino, stride, tables, tile, runs, planes, middle, image)
            elif n == 2:
                add_runs(take, 2, False, zero, sino, stride, tables, tile, runs, planes, middle, image)
            else:
                add_runs(take, 3, False, zero, sino, stride, tables, tile, runs, planes, middle, image)
            a = b

    @njit
    def backprojected(images, item, sino, stride, pixels, tables, kinds, axis, add, out):
        """One work item of A.T: a tile of planes of a group of images, a literal number; pixels in whole `PIXELS`."""
        num, middle = out.shape[1 + axis], out.shape[2 - axis] // 2
        tiles = -(-num // TILE)
        group, tile = item // tiles, item % tiles
        planes = tile * TILE, min(num, (tile + 1) * TILE)
        image = np.zeros((planes[1] - planes[0], images, pixels), sino.dtype)
        sinos = sino[group * images * stride : (group + 1) * images * stride]
        adjoint(zeros(sino, images), sinos, stride, tables, kinds, tile, planes, middle, image)
        _write(image, planes[0], axis, add, out[group * images : (group + 1) * images])

    return backprojected


_backprojected, _backprojected_in_pairs = _backprojection(_sum_block, LANES), _backprojection(_sum_pair, PIXELS)


@njit
def _projected(images, item, image, pixels, grid, tables, parts, sino):
    """One work item of A: a part of the rays for a group of images, a literal number."""
    group, part, blocks = item // parts, item % parts, tables[7].size
    entries = grid[0] * images * pixels
    packed = image[group * entries : (group + 1) * entries]
    span = blocks * part // parts, blocks * (part + 1) // parts
    _forward(zeros(image, images), packed, pixels, grid, tables, span, sino[group * images : (group + 1) * images])


@njit(nogil=True, cache=True)
def forward_1(claims, image, pixels, grid, tables, parts, sino):
    for item in claimed(claims):
        _projected(1, item, image, pixels, grid, tables, parts, sino)


@njit(nogil=True, cache=True)
def forward_4(claims, image, pixels, grid, tables, parts, sino):
    for item in claimed(claims):
        _projected(4, item, image, pixels, grid, tables, parts, sino)


@njit(nogil=True, cache=True)
def adjoint_1(claims, sino, stride, pixels, tables, kinds, axis, add, out):
    for item in claimed(claims):
        _backprojected_in_pairs(1, item, sino, stride, pixels, tables, kinds, axis, add, out)


@njit(nogil=True, cache=True)
def adjoint_4(claims, sino, stride, pixels, tables, kinds, axis, add, out):
    for item in claimed(claims):
        _backprojected(4, item, sino, stride, pixels, tables, kinds, axis, add, out)


@njit(nogil=True, cache=True)
def adjoint_8(claims, sino, stride, pixels, tables, kinds, axis, add, out):
    for item in claimed(claims):
        _backprojected(8, item, sino, stride, pixels, tables, kinds, axis, add, out)
