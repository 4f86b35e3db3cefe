"""Functions that the kernels of the GPU engine share.

A program computes the same entries of some images of the batch, which share positions and weights. Images are float32
or float64, an entry each, or half precision: then a word of 32 bits holds an entry of two images, so that one load
serves both. HALF is the type of the two, or None.
"""

import triton
import triton.language as tl

COUNTS = ("num", "size", "slices", "rows", "columns", "num_views", "batch")  # stay numbers of the GPU also where 1


def kernel(fn):
    """Compile a kernel for the GPU, once for all counts."""
    return triton.jit(fn, do_not_specialize=[name for name in COUNTS if name in fn.__code__.co_varnames])


@triton.jit
def nearest(x):
    """x rounded to a whole number, as it is and as int32; |x| < 2^22.

    Added to 1.5 * 2^23, x keeps no bits of a fraction, and the low bits of the sum count: two additions, no conversion.
    """
    if x.dtype == tl.float64:
        shifted = x + 6755399441055744.0  # 1.5 * 2^52
        return shifted - 6755399441055744.0, shifted.to(tl.int64, bitcast=True).to(tl.int32)
    else:
        shifted = x + 12582912.0
        return shifted - 12582912.0, shifted.to(tl.int32, bitcast=True) - 0x4B400000


@triton.jit
def clamp(x, low, high):
    return tl.minimum(tl.maximum(x, low), high)


@triton.jit
def below(x, size):
    """(offset of the pixel below x in a padded line, weight of the pixel above) for a place x on a line of pixels.

    One pixel outside, at -1 or `size`, either neighbor may count as the one below: hence two zeros at each end.
    """
    half = size // 2
    x = clamp(x, (-1 - half).to(x.dtype), (size - half).to(x.dtype))
    cell, offset = nearest(x - 0.5)
    return offset + (half + 2), x - cell


@triton.jit
def hat(x):
    """Weight of linear interpolation at distance x."""
    return tl.maximum(1.0 - tl.abs(x), 0.0)


@triton.jit
def one_of(batch_of, member, batch, step):
    """Pointer to one member of a batch; beyond the last one, to the last."""
    return batch_of + tl.minimum(member, batch - 1).to(tl.int64) * step


@triton.jit
def one_in_word(batch_of, at, member, step, EACH: tl.constexpr):
    """Pointer to an entry of one member (int64) of a batch whose members lie interleaved by EACH."""
    return batch_of + member // EACH * step + (at.to(tl.int64) * EACH + member % EACH)


@triton.jit
def zeros(BLOCK: tl.constexpr, DTYPE: tl.constexpr, COUNT: tl.constexpr):
    """As many vectors of zeros as sums are kept."""
    sums = (tl.zeros([BLOCK], DTYPE),)
    for _ in tl.static_range(COUNT - 1):
        sums = sums + (tl.zeros([BLOCK], DTYPE),)
    return sums


@triton.jit
def _both(word, HALF: tl.constexpr):
    """The two numbers of a word in float32: of an even image in the lower half, of an odd one in the upper."""
    if tl.bfloat16 == HALF:  # the upper half of a float32
        return (word << 16).to(tl.float32, bitcast=True), (word & -65536).to(tl.float32, bitcast=True)
    low, high = word.to(tl.int16), (word >> 16).to(tl.int16)
    return low.to(HALF, bitcast=True).to(tl.float32), high.to(HALF, bitcast=True).to(tl.float32)


@triton.jit
def fetch(batch_of, at, inside, group, batch, step, IMAGES: tl.constexpr, HALF: tl.constexpr):
    """The entries at one place of IMAGES images from `group` on, 0 where not inside (None: everywhere inside)."""
    values = ()
    if HALF is None:
        for k in tl.static_range(IMAGES):
            values = values + (_entry(one_of(batch_of, group + k, batch, step) + at, inside),)
    else:
        for k in tl.static_range(IMAGES // 2):
            word = _entry(one_of(batch_of, group // 2 + k, (batch + 1) // 2, step) + at, inside)
            values = values + _both(word, HALF)
    return values


@triton.jit
def _entry(at, inside):
    if inside is None:
        return tl.load(at)
    else:
        return tl.load(at, mask=inside, other=0)


@triton.jit
def add(sums, weight, values, first: tl.constexpr = 0):
    """The sums, with weighted values added to those from the first on."""
    more = ()
    for i in tl.static_range(len(sums)):
        total = sums[i]
        if (i >= first) & (i < first + len(values)):
            total = tl.fma(weight, values[i - first], total)
        more = more + (total,)
    return more


@triton.jit
def place_of(plane, pixel, num, size, TURNED: tl.constexpr):
    """Offset in an image (num, size), or in its transpose where the planes are its columns."""
    return plane + pixel * num if TURNED else plane * size + pixel


@triton.jit
def put(at, value, inside, ADD: tl.constexpr):
    """Store a result, or add it to what stands there."""
    if ADD:
        value += tl.load(at, mask=inside, other=0.0)
    tl.store(at, value, mask=inside)
