"""The 2-D back-projection of the GPU engine and its transpose: a pixel per lane one way, a detector cell the other.

Both evaluate places and weights from one table with the same rounding, so each is the exact transpose of the other. A
pixel adds the interpolated value of every view, a cell the pixels near it (`gpu.cells`); every entry of a result is
written by one lane, which adds its terms in one order: no atomics, and equal calls give equal bits. Some images of the
batch share places and weights.

views  (7, V), of pixel i of row j, counted from the middles of the grid and of the detector:
       place = v0 + (v1 + v2 i + v3 j) / l,    weight = scale / l^2,    l = v4 + v5 i + v6 j  (1: not CURVED)
"""

import triton
import triton.language as tl

from ctlib.backends.gpu.functions import add, below, clamp, fetch, hat, kernel, nearest, one_of, zeros


@triton.jit
def view_of(views, number, num_views):
    """v0 to v6 of one view, or of the view of every lane."""
    view = (tl.load(views + number),)
    for k in tl.static_range(1, 7):
        view = view + (tl.load(views + k * num_views + number),)
    return view


@triton.jit
def under(view, i, j, CURVED: tl.constexpr):
    """(place on the detector under pixel i of row j, 1 / l)."""
    x = tl.fma(view[2], i, tl.fma(view[3], j, view[1]))
    if CURVED:
        inverse = 1.0 / tl.fma(view[5], i, tl.fma(view[6], j, view[4]))
        return tl.fma(x, inverse, view[0]), inverse
    else:
        return x + view[0], 1.0


@triton.jit
def under_pixel(view, pixel, plane, CURVED: tl.constexpr, TURNED: tl.constexpr):
    """The same under a pixel of a plane, which is a row of pixels, or TURNED a column."""
    if TURNED:
        return under(view, plane, pixel, CURVED)
    else:
        return under(view, pixel, plane, CURVED)


@triton.jit
def pixels_of(part, planes, num, size, DTYPE: tl.constexpr, PLANES: tl.constexpr, BLOCK: tl.constexpr):
    """(row, column, column from the middle, row from the middle) of the pixels of a program."""
    lane = tl.arange(0, PLANES * BLOCK)
    row, column = planes * PLANES + lane // BLOCK, part * BLOCK + lane % BLOCK
    return row, column, (column - size // 2).to(DTYPE), (row - num // 2).to(DTYPE)


@kernel
def gather_2d(
    data, image, views, scales, num_views, num, size, columns, batch, data_step,
    CURVED: tl.constexpr, HALF: tl.constexpr, IMAGES: tl.constexpr, PLANES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """image[b, row, column] = sum over views of weight * data b interpolated at the place.

    data (batch, V, columns + 4) padded. A program computes BLOCK pixels of PLANES rows.
    """
    group = tl.program_id(2) * IMAGES
    dtype = views.dtype.element_ty
    row, column, i, j = pixels_of(tl.program_id(0), tl.program_id(1), num, size, dtype, PLANES, BLOCK)
    sums = zeros(PLANES * BLOCK, dtype, IMAGES)
    for v in range(0, num_views):
        x, inverse = under(view_of(views, v, num_views), i, j, CURVED)
        left, right = below(x, columns)
        left, weight = left + v * (columns + 4), tl.load(scales + v) * inverse * inverse
        values = fetch(data, left, None, group, batch, data_step, IMAGES, HALF)
        sums = add(sums, weight * (1.0 - right), values)
        values = fetch(data, left + 1, None, group, batch, data_step, IMAGES, HALF)
        sums = add(sums, weight * right, values)
    for k in tl.static_range(IMAGES):
        if group + k < batch:
            at = one_of(image, group + k, batch, num * size) + (row * size + column)
            tl.store(at, sums[k], mask=(row < num) & (column < size))


@triton.jit
def cell_of(cells, columns):
    """(whether there is a cell, its view, its column) of every lane."""
    cell = tl.load(cells)
    view = tl.maximum(cell, 0) // columns
    return cell >= 0, view, tl.maximum(cell, 0) - view * columns


@triton.jit
def first_pixel(begin, rise, q, size):
    """Where the candidates of a cell begin on plane q, from the middle and as int32 from the first pixel."""
    pixel, number = nearest(clamp(tl.fma(rise, q, begin), (0 - size // 2).to(q.dtype), (size - size // 2).to(q.dtype)))
    return pixel, number + size // 2


@triton.jit
def _add_pixel(
    sums, image, view, cell, pixel, number, q, line, size, group, batch, image_step,
    CURVED: tl.constexpr, TURNED: tl.constexpr, HALF: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    """sums + weight * image of one candidate pixel per cell."""
    x, inverse = under_pixel(view, pixel, q, CURVED, TURNED)
    values = fetch(image, number + line, number < size, group, batch, image_step, IMAGES, HALF)
    return add(sums, hat(x - cell) * inverse * inverse, values)


@kernel
def spread_2d(
    image, data, views, scales, cells, begin, rise, span, taps,
    num_views, num, size, columns, tiles, batch, image_step, data_step,
    TAPS: tl.constexpr, CURVED: tl.constexpr, TURNED: tl.constexpr, HALF: tl.constexpr,
    IMAGES: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """data[b, cells] = scale * sum over planes and pixels of hat(place - cell) / l^2 * image b.

    image (batch, num, size), its planes the rows, or TURNED the columns, of pixels. `taps` holds a block's candidates
    per tile of TILE planes, of which the first TAPS are unrolled.
    """
    block, group = tl.program_id(0), tl.program_id(1) * IMAGES
    lane = block * BLOCK + tl.arange(0, BLOCK)
    real, number, column = cell_of(cells + lane, columns)
    view, a, d = view_of(views, number, num_views), tl.load(begin + lane), tl.load(rise + lane)
    cell = (column - columns // 2).to(a.dtype)
    first, last = tl.load(span + 2 * block), tl.load(span + 2 * block + 1)
    sums = zeros(BLOCK, a.dtype, IMAGES)
    for plane in range(first, last):
        q = (plane - num // 2).to(a.dtype)
        pixel, at = first_pixel(a, d, q, size)
        for k in tl.static_range(TAPS):
            sums = _add_pixel(
                sums, image, view, cell, pixel + k, at + k, q, plane * size, size, group, batch, image_step,
                CURVED, TURNED, HALF, IMAGES,
            )  # fmt: skip
        for k in range(TAPS, tl.load(taps + block * tiles + plane // TILE)):
            sums = _add_pixel(
                sums, image, view, cell, pixel + k, at + k, q, plane * size, size, group, batch, image_step,
                CURVED, TURNED, HALF, IMAGES,
            )  # fmt: skip
    scale, to = tl.load(scales + number), number * columns + column
    for k in tl.static_range(IMAGES):
        if group + k < batch:
            tl.store(one_of(data, group + k, batch, data_step) + to, scale * sums[k], mask=real)
