"""The back-projection of a cone beam on the GPU and its transpose, built from what the plane has.

A column of voxels (all slices at one pixel) projects to one detector column, with the place, the weight and 1 / l of
the plane, and to rows that rise evenly with the slice:

    row = h0 + (h1 + h2 k) / l,    k the slice

so the transpose takes the pixels near a detector column from `gpu.cells`, and for each the slices by multiplication.
All are counted from the middles of grid and detector.

heights  (5,) h0, h1, h2, 1 / h2, -h1 / h2
"""

import triton
import triton.language as tl

from ctlib.backends.gpu.backproject_2d import cell_of, first_pixel, pixels_of, under, under_pixel, view_of
from ctlib.backends.gpu.functions import add, below, clamp, fetch, hat, kernel, nearest, one_of, zeros
from ctlib.backends.gpu.joseph_3d import add_point


@kernel
def gather_3d(
    data, volume, views, scales, heights, num_views, num, size, slices, rows, columns, batch, data_step,
    HALF: tl.constexpr, SLICES: tl.constexpr, IMAGES: tl.constexpr, PLANES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """volume[b, slice, row, column] = sum over views of weight * data b interpolated at the place.

    data (batch, V, rows + 4, columns + 4) padded. A program computes BLOCK pixels of PLANES rows of SLICES slices.
    """
    bottom, group = tl.program_id(1) * SLICES, tl.program_id(2) * IMAGES
    dtype = views.dtype.element_ty
    parts, width = tl.cdiv(size, BLOCK), columns + 4
    row, column, i, j = pixels_of(
        tl.program_id(0) % parts, tl.program_id(0) // parts, num, size, dtype, PLANES, BLOCK
    )  # fmt: skip
    h0, h1, h2 = tl.load(heights), tl.load(heights + 1), tl.load(heights + 2)
    sums = zeros(PLANES * BLOCK, dtype, SLICES * IMAGES)
    for v in range(0, num_views):
        x, inverse = under(view_of(views, v, num_views), i, j, True)
        left, right = below(x, columns)
        left, weight = left + v * (rows + 4) * width, tl.load(scales + v) * inverse * inverse
        near, far = weight * (1.0 - right), weight * right
        start, step = tl.fma(h1, inverse, h0), h2 * inverse
        for s in tl.static_range(SLICES):
            low, up = below(tl.fma(step, (bottom + s - slices // 2).to(dtype), start), rows)
            sums = add_point(
                sums, data, left + low * width, width, (1.0 - up) * near, (1.0 - up) * far, up * near, up * far,
                s * IMAGES, group, batch, data_step, HALF, IMAGES,
            )  # fmt: skip
    here, inside = row * size + column, (row < num) & (column < size)
    for k in tl.static_range(SLICES * IMAGES):
        s, b = bottom + k // IMAGES, group + k % IMAGES
        if (s < slices) & (b < batch):
            tl.store(one_of(volume, b, batch, slices * num * size) + (s * num * size + here), sums[k], mask=inside)


@triton.jit
def _first_slice(row, l, heights, slices, slack):
    """The first slice that may touch a detector row, from the middle and as int32 from the first slice."""
    h0, shrink, shift = tl.load(heights), tl.load(heights + 3), tl.load(heights + 4)
    at = tl.fma(row - 1.0 - h0, l * shrink, shift) + (0.5 - slack)
    at = clamp(at, (0 - slices // 2).to(l.dtype), (slices - slices // 2).to(l.dtype))
    place, number = nearest(at)
    return place, number + slices // 2


@kernel
def spread_3d(
    volume, data, views, scales, heights, cells, begin, rise, span, taps,
    num_views, num, size, slices, rows, columns, tiles, batch, depth, slack, volume_step, data_step,
    TURNED: tl.constexpr, HALF: tl.constexpr, ROWS: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    """data[b, view, row, column] = scale * sum of hat(row's place - row) hat(place - column) / l^2 * volume b.

    volume (batch, slices, num, size), its planes the rows, or TURNED the columns, of pixels. A program computes the
    cells of BLOCK lanes in ROWS detector rows; `depth` is the number of candidate slices of a row.
    """
    block, top, group = tl.program_id(0), tl.program_id(1) * ROWS, tl.program_id(2) * IMAGES
    lane = block * BLOCK + tl.arange(0, BLOCK)
    real, number, column = cell_of(cells + lane, columns)
    view, a, d = view_of(views, number, num_views), tl.load(begin + lane), tl.load(rise + lane)
    cell = (column - columns // 2).to(a.dtype)
    first, last = tl.load(span + 2 * block), tl.load(span + 2 * block + 1)
    h0, h1, h2 = tl.load(heights), tl.load(heights + 1), tl.load(heights + 2)
    sums = zeros(BLOCK, a.dtype, ROWS * IMAGES)
    for plane in range(first, last):
        q = (plane - num // 2).to(a.dtype)
        pixel, at = first_pixel(a, d, q, size)
        for k in range(0, tl.load(taps + block * tiles + plane // TILE)):
            x, inverse = under_pixel(view, pixel + k, q, True, TURNED)
            weight, inside, here = hat(x - cell) * inverse * inverse, at + k < size, plane * size + at + k
            start, step, l = tl.fma(h1, inverse, h0), h2 * inverse, 1.0 / inverse
            for n in range(0, depth):
                for r in tl.static_range(ROWS):
                    detector = (top + r - rows // 2).to(a.dtype)
                    z, slab = _first_slice(detector, l, heights, slices, slack)
                    both = weight * hat(tl.fma(step, z + n, start) - detector)
                    values = fetch(
                        volume, (slab + n) * (num * size) + here, inside & (slab + n < slices), group, batch,
                        volume_step, IMAGES, HALF,
                    )  # fmt: skip
                    sums = add(sums, both, values, r * IMAGES)
    scale, to = tl.load(scales + number), number * (rows * columns) + column
    for k in tl.static_range(ROWS * IMAGES):
        row, b = top + k // IMAGES, group + k % IMAGES
        if (row < rows) & (b < batch):
            tl.store(one_of(data, b, batch, data_step) + (to + row * columns), scale * sums[k], mask=real)
