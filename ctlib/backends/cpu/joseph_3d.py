"""The cone-beam products of the CPU engine: 16 neighboring rows of a detector column, or 16 slices, at a time.

A detector column crosses a plane of its main axis at one in-plane place (see `columns`): two lines of voxels share the
in-plane weights, and the rows take their heights along these lines. Packed volumes are flat arrays (plane, pixel,
image, slice), with a pixel of zeros on either side and, along slices, one zero in front and at least REACH behind;
packed sinograms (view, column, image, row), multiplied by the length, with zeros behind. Images share all weights.
"""

import math

import numpy as np

from ctlib.backends.cpu import simd
from ctlib.backends.cpu.simd import LANES, fma, hat, splat, sub, zeros
from ctlib.backends.cpu.simd_memory import REACH, load, store, take, take_apart
from ctlib.compiled import njit
from ctlib.cpu.threads import claimed

STRIP = 16  # columns a work item of the forward product follows together: they read the same lines


@njit
def _crossing(tables, view, column, q, size):
    """Pixel in front of the place where a column crosses plane q (-2: outside), share of the next pixel, g(q)."""
    start, slope, gain, source = tables[1:5]
    place, g = start[view, column] + slope[view, column] * q, gain[view, column] * (q - source[view, column])
    pixel = math.floor(place) if -1 < place < size and g > 0 else -2
    return pixel, place - pixel, g


@njit
def _length(tables, view, column, row, rows):
    """Path between two planes [mm]; 0 for a ray that is too steep."""
    flat, rise, limits = tables[5:8]
    if not limits[view, column, 0] <= row < limits[view, column, 1]:
        return 0.0
    return math.sqrt(flat[view, column] + rise[view, column] * (row - (rows - 1) / 2) ** 2)


@njit
def _between(read, total, volume, at, step, stride, lanes, up, share):
    """total + values between two lines of voxels `step` apart: `share` of the second, `up` of the upper slice."""
    one, above = splat(total, 1), simd.shift(lanes, 1)
    weight = splat(total, 1 - share)
    total = fma(simd.mul(weight, sub(one, up)), read(total, volume, at, stride, lanes), total)
    total = fma(simd.mul(weight, up), read(total, volume, at, stride, above), total)
    weight = splat(total, share)
    total = fma(simd.mul(weight, sub(one, up)), read(total, volume, at + step, stride, lanes), total)
    return fma(simd.mul(weight, up), read(total, volume, at + step, stride, above), total)


@njit
def _images(volume, grid):
    """Images packed in a volume."""
    return volume.size // (grid[0] * (grid[1] + 2) * grid[3])


@njit
def _project(zero, volume, grid, main, tables, view, strip, sums):
    """sums[column, image, row] over all planes, for the columns [from, to) of one view."""
    num, size, slices, stride, rows = grid
    images, width, half = _images(volume, grid), -(-rows // LANES) * LANES, slices // 2
    height, middle, step = (slices - 1) / 2 - half, (rows - 1) / 2, images * stride
    low, high, orbit = splat(zero, -1 - half), splat(zero, slices - half), splat(zero, height)
    for q in range(num):
        for column in range(strip[0], strip[1]):
            pixel, share, g = _crossing(tables, view, column, q, size)
            if tables[0][view, column] != main or pixel < -1:
                continue
            line = (q * (size + 2) + pixel + 1) * step
            for r in range(0, rows, LANES):
                z = (r - middle) * g + height
                if z + LANES * g < -1 - half or z > slices - half:
                    continue
                heights = simd.low(simd.high(fma(simd.ramp(zero, r - middle), splat(zero, g), orbit), low), high)
                cell = simd.floor(heights)
                cells = simd.whole(cell)
                lanes, up, at = simd.offsets(cells), sub(heights, cell), line + simd.lane(cells) + half + 1
                here = (column - strip[0]) * images * width + r
                total = load(zero, sums, here, width)
                if g * (LANES - 1) <= REACH - 3:
                    total = _between(take, total, volume, at, step, stride, lanes, up, share)
                else:
                    total = _between(take_apart, total, volume, at, step, stride, lanes, up, share)
                store(total, sums, here, width)


@njit
def _forward(zero, volume, grid, main, tables, item, sino):
    """sino[view, column, image, row] for one work item: a strip of columns of one view."""
    _views, columns, images, rows = sino.shape
    strips = -(-columns // STRIP)
    view, first = item // strips, item % strips * STRIP
    strip, width = (first, min(first + STRIP, columns)), -(-rows // LANES) * LANES
    sums = np.zeros((strip[1] - strip[0]) * images * width, volume.dtype)
    _project(zero, volume, grid, main, tables, view, strip, sums)
    for column in range(strip[0], strip[1]):
        if tables[0][view, column] == main:
            for k in range(images):
                for row in range(rows):
                    path = _length(tables, view, column, row, rows)
                    sino[view, column, k, row] = path * sums[((column - first) * images + k) * width + row]


@njit(nogil=True, cache=True)
def pack_sinogram(claims, sino, tables, packed):
    """packed[view, column, image, row] = length * sino[image, view, row, column], 0 behind the last row."""
    images, _views, rows, columns = sino.shape
    for item in claimed(claims):
        view, column = item // columns, item % columns
        for row in range(packed.shape[3]):
            path = _length(tables, view, column, row, rows) if row < rows else 0.0
            for k in range(images):
                packed[view, column, k, row] = path * sino[k, view, row, column] if row < rows else 0.0


@njit
def _add_rows(read, zero, sino, at, stride, row, lanes, taps, z, g, orbit):
    """Sum over `taps` candidate rows per slice of weight * sinogram; row: their numbers from the middle row."""
    line = zero
    for k in range(taps):
        weight = hat(sub(fma(simd.add(row, splat(zero, k)), g, orbit), z))
        line = fma(weight, read(zero, sino, at, stride, simd.shift(lanes, k)), line)
    return line


@njit
def _spread(zero, sino, grid, shape, tables, view, column, q, crossing, slack, volume):
    """Add one column of the detector to the two lines of voxels it crosses on plane q."""
    _num, size, slices, stride, rows = grid
    images, width = shape
    pixel, share, g = crossing
    half, middle, step = slices // 2, (rows - 1) / 2, images * stride
    height, taps = (slices - 1) / 2 - half, min(rows, math.ceil(2 / g + 2 * slack))
    near = (LANES - 1) / g + taps + 2 <= REACH - 1
    gain, orbit, inverse = splat(zero, g), splat(zero, height), splat(zero, 1 / g)
    shift, none, last = splat(zero, middle - (1 + height) / g - slack), splat(zero, 0), splat(zero, rows)
    data, line = (view * tables[0].shape[1] + column) * images * width, (q * (size + 2) + pixel + 1) * step
    for s in range(0, slices, LANES):
        z = simd.ramp(zero, s - half)
        row = simd.low(simd.high(simd.ceil(fma(z, inverse, shift)), none), last)
        begin = simd.whole(row)
        lanes, number, at = simd.offsets(begin), sub(row, splat(zero, middle)), data + simd.lane(begin)
        if near:
            values = _add_rows(take, zero, sino, at, width, number, lanes, taps, z, gain, orbit)
        else:
            values = _add_rows(take_apart, zero, sino, at, width, number, lanes, taps, z, gain, orbit)
        here = line + s + 1
        store(fma(splat(zero, 1 - share), values, load(zero, volume, here, stride)), volume, here, stride)
        here += step
        store(fma(splat(zero, share), values, load(zero, volume, here, stride)), volume, here, stride)


@njit
def _adjoint(zero, sino, grid, shape, main, tables, slack, planes, volume):
    """volume[plane, pixel, image, slice] on the planes [from, to): the sum over all views and columns."""
    views, columns = tables[0].shape
    for view in range(views):
        for column in range(columns):
            if tables[0][view, column] == main:
                for q in range(planes[0], planes[1]):
                    crossing = _crossing(tables, view, column, q, grid[1])
                    if crossing[0] > -2:
                        _spread(zero, sino, grid, shape, tables, view, column, q, crossing, slack, volume)


@njit(nogil=True, cache=True)
def forward_1(claims, volume, grid, main, tables, sino):
    for item in claimed(claims):
        _forward(zeros(volume, 1), volume, grid, main, tables, item, sino)


@njit(nogil=True, cache=True)
def forward_4(claims, volume, grid, main, tables, sino):
    for item in claimed(claims):
        _forward(zeros(volume, 4), volume, grid, main, tables, item, sino)


@njit(nogil=True, cache=True)
def adjoint_1(claims, sino, grid, shape, main, tables, slack, planes, volume):
    for item in claimed(claims):
        span = (item * planes, min(grid[0], (item + 1) * planes))
        _adjoint(zeros(sino, 1), sino, grid, shape, main, tables, slack, span, volume)


@njit(nogil=True, cache=True)
def adjoint_4(claims, sino, grid, shape, main, tables, slack, planes, volume):
    for item in claimed(claims):
        span = (item * planes, min(grid[0], (item + 1) * planes))
        _adjoint(zeros(sino, 4), sino, grid, shape, main, tables, slack, span, volume)
