"""The cone-beam products of the GPU engine: bilinear interpolation on planes, forward and exactly transposed.

On a plane q along a main axis y or x, the place X of a ray along the plane does not depend on its detector row: the
columns are the rays of a fan in the plane z = 0, with its tables and its inverse map. Its height Z is proportional to
the row, counted from the middle of the detector:

    Z = lift row + z_0,    lift = fma(steep, q, level)    [slices per row], one affine function per column

so the adjoint takes the columns that may touch a voxel from the fan's map, and for each of them the rows by division.
q, X and Z are counted from the middle of the grid; volumes are padded with two zeros at each end.

lines  (6, lanes) per lane: start and slope of X, level and steep of its lift, flat and climb of its length (`Rise`)
"""

import triton
import triton.language as tl

from ctlib.backends.gpu.functions import (
    add,
    below,
    clamp,
    fetch,
    hat,
    kernel,
    nearest,
    one_in_word,
    one_of,
    place_of,
    put,
    zeros,
)  # fmt: skip
from ctlib.backends.gpu.joseph_2d import first_ray


@triton.jit
def from_middle(i, count, DTYPE: tl.constexpr):
    """Distance of detector row i from the middle of all rows."""
    return (2 * i - (count - 1)).to(DTYPE) * 0.5


@triton.jit
def middle(slices, DTYPE: tl.constexpr):
    """The height z = 0, counted from the middle slice: 0 or -1/2."""
    return (slices - 1 - 2 * (slices // 2)).to(DTYPE) * 0.5


@triton.jit
def add_point(
    sums, volume, at, step, w0, w1, w2, w3, first: tl.constexpr, group, batch, volume_step,
    HALF: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    """The sums, with weighted values added to those from the first on: of two neighbors, and of the two a step on."""
    sums = add(sums, w0, fetch(volume, at, None, group, batch, volume_step, IMAGES, HALF), first)
    sums = add(sums, w1, fetch(volume, at + 1, None, group, batch, volume_step, IMAGES, HALF), first)
    sums = add(sums, w2, fetch(volume, at + step, None, group, batch, volume_step, IMAGES, HALF), first)
    return add(sums, w3, fetch(volume, at + step + 1, None, group, batch, volume_step, IMAGES, HALF), first)


@kernel
def forward_3d(
    volume, sino, place, lines, limits, span,
    num, size, width, slices, rows, columns, lanes, batch, volume_step, sino_step,
    HALF: tl.constexpr, ROWS: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sino[b, view, row, column] = length * sum_q volume b interpolated at (Z(q), q, X(q)).

    volume (batch, slices + 4, num, width) padded. A program computes BLOCK columns of ROWS rows.
    """
    block, top, group = tl.program_id(0), tl.program_id(1) * ROWS, tl.program_id(2) * IMAGES
    lane = block * BLOCK + tl.arange(0, BLOCK)
    a, d = tl.load(lines + lane), tl.load(lines + lanes + lane)
    e, f = tl.load(lines + 2 * lanes + lane), tl.load(lines + 3 * lanes + lane)
    first, last = tl.load(span + 2 * block), tl.load(span + 2 * block + 1)
    q, line, slice_step = (first - num // 2).to(a.dtype), first * width, num * width
    sums = zeros(BLOCK, a.dtype, ROWS * IMAGES)
    for _ in range(first, last):
        left, right = below(tl.fma(d, q, a), size)
        lift = tl.fma(f, q, e)
        for r in tl.static_range(ROWS):
            z = tl.fma(from_middle(top + r, rows, a.dtype), lift, middle(slices, a.dtype))
            low, up = below(z, slices)
            at, down, other = low * slice_step + left + line, 1.0 - up, 1.0 - right
            w0, w1, w2, w3 = down * other, down * right, up * other, up * right
            sums = add_point(
                sums, volume, at, slice_step, w0, w1, w2, w3, r * IMAGES, group, batch, volume_step, HALF, IMAGES
            )  # fmt: skip
        q, line = q + 1.0, line + width
    at, low, high = tl.load(place + lane), tl.load(limits + 2 * lane), tl.load(limits + 2 * lane + 1)
    for i in tl.static_range(ROWS * IMAGES):
        row, b = top + i // IMAGES, group + i % IMAGES
        if b < batch:
            p = one_of(sino, b, batch, sino_step) + (at + row * columns)
            tl.store(p, _length(lines, lanes, lane, row, rows) * sums[i], mask=(row >= low) & (row < high))


@triton.jit
def _length(lines, lanes, lane, row, rows):
    """Path between two planes [mm], from its square in the plane z = 0 and what a row from the middle adds."""
    height = from_middle(row, rows, lines.dtype.element_ty)
    return tl.sqrt(tl.fma(tl.load(lines + 5 * lanes + lane), height * height, tl.load(lines + 4 * lanes + lane)))


@kernel
def pack_3d(
    sino, packed, place, lines, limits, rows, columns, lanes, sino_step, packed_step,
    EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """packed[b // EACH, row, lane, b % EACH] = length * sino[b, view, row, column], 0 for padding."""
    lane, row, b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1), tl.program_id(2).to(tl.int64)
    inside = (row >= tl.load(limits + 2 * lane)) & (row < tl.load(limits + 2 * lane + 1))
    value = tl.load(sino + b * sino_step + tl.load(place + lane) + row * columns, mask=inside, other=0.0)
    to = one_in_word(packed, row * lanes + lane, b, packed_step, EACH)
    tl.store(to, _length(lines, lanes, lane, row, rows) * value)


@triton.jit
def _first_row(s, inverse, slices, rows, slack):
    """The first detector row that may touch slice s where a row rises by 1 / inverse slices; at most `rows`.

    As its distance from the middle and as int32.
    """
    z = (s - slices // 2 - 1).to(inverse.dtype) - middle(slices, inverse.dtype)
    row = tl.fma(z, inverse, (rows * 0.5 - slack).to(inverse.dtype))  # (rows - 1) / 2 - slack + 1/2
    row, first = nearest(clamp(row, 0.0, rows.to(inverse.dtype)))
    return row + from_middle(0, rows, inverse.dtype), first


@triton.jit
def _add_row(
    sums, sino, at, lanes, weight, lift, bottom, begin, further, slices, group, batch, sino_step,
    HALF: tl.constexpr, SLICES: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    """sums + weight * sinogram of one candidate row per slice, of one candidate column."""
    for s in tl.static_range(SLICES):
        row, first = begin[s]
        z = tl.fma(row + further, lift, middle(slices, lift.dtype))
        both = weight * hat(z - (bottom + s - slices // 2).to(lift.dtype))
        values = fetch(sino, (first + further) * lanes + at, None, group, batch, sino_step, IMAGES, HALF)
        sums = add(sums, both, values, s * IMAGES)
    return sums


@kernel
def adjoint_3d(
    sino, volume, lines, maps, runs, taps, num_runs, tiles, num, size, slices, rows, lanes, batch, slack, sino_step,
    CURVED: tl.constexpr, ADD: tl.constexpr, TURNED: tl.constexpr, HALF: tl.constexpr,
    SLICES: tl.constexpr, IMAGES: tl.constexpr, PLANES: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """volume[b, slice, plane, pixel] (+)= sum over rays of hat(Z - slice) hat(X - pixel) * sino.

    sino (batch, rows + most candidate rows, lanes) packed. A program computes BLOCK pixels of PLANES planes of SLICES
    slices; `runs` as in `adjoint_2d`, `taps` its candidate columns and rows per tile of TILE planes.
    """
    lane = tl.arange(0, PLANES * BLOCK)
    parts = tl.cdiv(size, BLOCK)
    plane_tile, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    plane, pixel = plane_tile * PLANES + lane // BLOCK, part * BLOCK + lane % BLOCK
    bottom, group, tile = tl.program_id(1) * SLICES, tl.program_id(2) * IMAGES, plane_tile * PLANES // TILE
    dtype = lines.dtype.element_ty
    q, c = (plane - num // 2).to(dtype), (pixel - size // 2).to(dtype)
    sums = zeros(PLANES * BLOCK, dtype, SLICES * IMAGES)
    for run in range(0, num_runs):
        columns, candidates = first_ray(maps, runs, run, q, c, CURVED), taps + 2 * (run * tiles + tile)
        for k in range(0, tl.load(candidates)):
            at = columns + k
            weight = hat(tl.fma(tl.load(lines + lanes + at), q, tl.load(lines + at)) - c)
            lift = tl.fma(tl.load(lines + 3 * lanes + at), q, tl.load(lines + 2 * lanes + at))
            inverse = 1.0 / tl.maximum(lift, 1e-6)
            begin = (_first_row(bottom, inverse, slices, rows, slack),)
            for s in tl.static_range(1, SLICES):
                begin = begin + (_first_row(bottom + s, inverse, slices, rows, slack),)
            for j in range(0, tl.load(candidates + 1)):
                sums = _add_row(
                    sums, sino, at, lanes, weight, lift, bottom, begin, j, slices, group, batch, sino_step,
                    HALF, SLICES, IMAGES,
                )  # fmt: skip
    here, inside = place_of(plane, pixel, num, size, TURNED), (plane < num) & (pixel < size)
    for i in tl.static_range(SLICES * IMAGES):
        s, b = bottom + i // IMAGES, group + i % IMAGES
        if (s < slices) & (b < batch):
            put(one_of(volume, b, batch, slices * num * size) + (s * num * size + here), sums[i], inside, ADD)
