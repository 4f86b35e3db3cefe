"""Compiled back-projection on a CPU: linear interpolation of a row of samples at many places, added up over views.

The places under neighbouring pixels are neighbours in the row: those of sixteen pixels (eight in float64) lie in a
window of two registers, and one permutation of the two replaces sixteen loads. Places and weights are computed once
for all images of a batch. Every thread owns what it writes, rows of pixels or views, so every sum has one order.

views  (V, 8) float64, the place and weight of pixel (j, i) in a padded row:
       place = v0 + (v1 + v2 i + v3 j) / l,    weight = v7 / l^2,    l = v4 + v5 i + v6 j
"""

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from ctlib.backends.cpu.simd_features import has_avx512
from ctlib.compiled import njit

ROWS = 8  # rows of pixels that a thread carries through the views: their sums stay in its cache
MARGIN = 32  # samples beyond the last one used: windows reach that far
INDEX = ir.IntType(32)


def _lanes(array) -> int:
    return 512 // array.dtype.bitwidth


@intrinsic
def lanes(typing, array):
    """How many samples of this array a register holds: 16 in float32, 8 in float64."""
    return types.intp(array), lambda context, builder, signature, args: context.get_constant(types.intp, _lanes(array))


@intrinsic
def add_interpolated(typing, total, i, row, first, lower, fraction, weight):
    """total[k] += weight[k] (row, linear, at lower[k] + fraction[k]) for k = i, ..., i + n - 1 with n = lanes.

    first <= lower[k] < first + 2 n - 1; all arrays of one axis, without gaps.
    """

    def generate(context, builder, signature, args):
        def at(k, offset, of):
            data = make_array(signature.args[k])(context, builder, args[k]).data
            return builder.bitcast(builder.gep(data, [offset]), ir.VectorType(of, _lanes(row)).as_pointer())

        scalar, fused = context.get_value_type(row.dtype), ("contract",)
        sums, f, w = (builder.load(at(k, args[1], scalar), align=4) for k in (0, 5, 6))
        place = builder.sub(builder.load(at(4, args[1], INDEX), align=4), _splat(builder, args[3], _lanes(row)))
        window = at(2, builder.sext(args[3], ir.IntType(64)), scalar)
        a = _pick(builder, window, place)
        b = _pick(builder, window, builder.add(place, _splat(builder, INDEX(1), _lanes(row))))
        value = builder.fadd(builder.fmul(f, builder.fsub(b, a), flags=fused), a, flags=fused)
        builder.store(builder.fadd(builder.fmul(w, value, flags=fused), sums, flags=fused), at(0, args[1], scalar), 4)
        return context.get_dummy_value()

    return types.void(total, i, row, first, lower, fraction, weight), generate


def _splat(builder, value, num):
    """A vector of num times this value."""
    vector = builder.insert_element(ir.Constant(ir.VectorType(value.type, num), ir.Undefined), value, INDEX(0))
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(INDEX, num), None))


def _pick(builder, window, place):
    """The samples at these places of the window: one permutation of two registers, or one load each."""
    vector = window.type.pointee
    if not has_avx512():
        out, samples = ir.Constant(vector, ir.Undefined), builder.bitcast(window, vector.element.as_pointer())
        for lane in map(INDEX, range(vector.count)):
            sample = builder.load(builder.gep(samples, [builder.extract_element(place, lane)]))
            out = builder.insert_element(out, sample, lane)
        return out
    kind, width = ("ps", 32) if vector.count == 16 else ("pd", 64)
    index = ir.VectorType(ir.IntType(width), vector.count)
    place = place if width == 32 else builder.zext(place, index)
    permute = builder.module.declare_intrinsic(
        f"llvm.x86.avx512.vpermi2var.{kind}.512", fnty=ir.FunctionType(vector, [vector, index, vector])
    )
    low, high = (builder.load(builder.gep(window, [INDEX(k)]), align=4) for k in (0, 1))
    return builder.call(permute, [low, place, high])


@njit(inline="always")
def _interpolate(total, row, lower, fraction, weight):
    """total += weight times the row at these places; the places rise or fall along the arrays."""
    num = lanes(row)
    for i in range(0, lower.size, num):
        first = min(lower[i], lower[i + num - 1])
        if max(lower[i], lower[i + num - 1]) - first < 2 * num - 1:
            add_interpolated(total, i, row, first, lower, fraction, weight)
        else:  # a step of more than two samples from pixel to pixel
            for k in range(i, i + num):
                a, b = row[np.uint32(lower[k])], row[np.uint32(lower[k]) + 1]
                total[k] += weight[k] * (a + fraction[k] * (b - a))


@njit(inline="always")
def _places(view, j, num_cols, size, lower, fraction, weight):
    """Whole part and fraction of the place of every pixel of row j, kept in the padded row, and its weight.

    The last pixel is repeated to the end of the arrays: rows of pixels are filled up to whole registers.
    """
    real = weight.dtype.type
    start, top, step = real(view[0]), real(view[1] + view[3] * j), real(view[2])
    depth, slope, scale = real(view[4] + view[6] * j), real(view[5]), real(view[7])
    for i in range(num_cols):
        x = real(np.int32(i))
        inverse = real(1) / (depth + slope * x)
        place = min(max(start + (top + step * x) * inverse, real(0)), real(size))
        lower[i] = np.int32(place)
        fraction[i], weight[i] = place - real(lower[i]), scale * inverse * inverse
    for i in range(num_cols, lower.size):
        lower[i], fraction[i], weight[i] = lower[num_cols - 1], real(0), real(0)


@njit(inline="always")
def _buffers(num, dtype):
    """Whole parts, fractions and weights of num places."""
    return np.empty(num, np.int32), np.empty(num, dtype), np.empty(num, dtype)


@njit(parallel=True, cache=True, fastmath={"contract"}, error_model="numpy")
def gather(rows, size, views, image):
    """image (B, Y, X) = sum over the views of weight times row at the place.

    rows  (B, V, size + 1 + MARGIN), zero at the first sample and from sample `size` on
    """
    batch, (num_rows, num_cols), num = rows.shape[0], image.shape[1:], lanes(rows)
    whole = (num_cols + num - 1) // num * num
    for tile in prange((num_rows + ROWS - 1) // ROWS):
        start, stop = tile * ROWS, min(tile * ROWS + ROWS, num_rows)
        lower, fraction, weight = _buffers(whole, rows.dtype)
        total = np.zeros((stop - start, batch, whole), rows.dtype)
        for v in range(views.shape[0]):
            for j in range(start, stop):
                _places(views[v], j, num_cols, size, lower, fraction, weight)
                for b in range(batch):
                    _interpolate(total[j - start, b], rows[b, v], lower, fraction, weight)
        for b in range(batch):
            image[b, start:stop] = total[:, b, :num_cols]


@njit(parallel=True, cache=True, fastmath={"contract"}, error_model="numpy")
def scatter(image, size, views, rows):
    """rows += transpose of `gather` applied to the image."""
    batch, (num_rows, num_cols) = image.shape[0], image.shape[1:]
    for v in prange(views.shape[0]):
        lower, fraction, weight = _buffers(num_cols, rows.dtype)
        for j in range(num_rows):
            _places(views[v], j, num_cols, size, lower, fraction, weight)
            for b in range(batch):
                _spread(image[b, j], rows[b, v], lower, fraction, weight)


@njit(inline="always")
def _spread(values, row, lower, fraction, weight):
    """Transpose of `_interpolate`: add the values, weighted, to the two samples around each place."""
    for i in range(lower.size):
        k, value = np.uint32(lower[i]), weight[i] * values[i]
        right = fraction[i] * value
        row[k] += value - right
        row[k + 1] += right
