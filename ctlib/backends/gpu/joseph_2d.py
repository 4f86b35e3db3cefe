"""The 2-D products of the GPU engine: Joseph's method, a ray per lane one way and a pixel per lane the other.

Rays stand in the order of the runs (`backends.tables.runs`). Both products evaluate X = fma(slope, q, start) from one
table with the same rounding, so each is the exact transpose of the other; every entry of a result is written by one
lane, which adds its terms in one order: no atomics. Some images of the batch share positions and weights.

q and X are counted from the middle of the grid. Images are padded with two zeros before and behind a line.
"""

import triton
import triton.language as tl

COUNTS = ("num", "size", "slices", "rows", "batch")  # stay numbers of the GPU also where they are 1


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
def zeros(BLOCK: tl.constexpr, DTYPE: tl.constexpr, COUNT: tl.constexpr):
    """As many vectors of zeros as sums are kept."""
    sums = (tl.zeros([BLOCK], DTYPE),)
    for _ in tl.static_range(COUNT - 1):
        sums = sums + (tl.zeros([BLOCK], DTYPE),)
    return sums


@kernel
def forward_2d(
    image, sino, rays, start, slope, length, span, num, size, width, batch, image_step, sino_step,
    IMAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sino[b, rays] = length * sum_q image b interpolated at (q, X(q)); image (batch, num, width) padded."""
    block, group = tl.program_id(0), tl.program_id(1) * IMAGES
    lane = block * BLOCK + tl.arange(0, BLOCK)
    a, d = tl.load(start + lane), tl.load(slope + lane)
    first, last = tl.load(span + 2 * block), tl.load(span + 2 * block + 1)
    q, line = (first - num // 2).to(a.dtype), first * width
    sums = zeros(BLOCK, a.dtype, IMAGES)
    for _ in range(first, last):
        left, weight = below(tl.fma(d, q, a), size)
        left, more = left + line, ()
        for k in tl.static_range(IMAGES):
            at = one_of(image, group + k, batch, image_step) + left
            total = tl.fma(1.0 - weight, tl.load(at), sums[k])
            more = more + (tl.fma(weight, tl.load(at + 1), total),)
        sums = more
        q, line = q + 1.0, line + width
    place, path = tl.load(rays + lane), tl.load(length + lane)
    for k in tl.static_range(IMAGES):
        if group + k < batch:
            tl.store(one_of(sino, group + k, batch, sino_step) + place, path * sums[k], mask=place >= 0)


@kernel
def pack_2d(sino, packed, rays, length, sino_step, packed_step, BLOCK: tl.constexpr):
    """packed[b, lane] = length * sino[b, rays], 0 for padding."""
    lane, b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1).to(tl.int64)
    place = tl.load(rays + lane)
    value = tl.load(sino + b * sino_step + place, mask=place >= 0, other=0.0)
    tl.store(packed + b * packed_step + lane, tl.load(length + lane) * value)


@triton.jit
def first_ray(maps, runs, run, q, c, CURVED: tl.constexpr):
    """Where in the tables the rays of a run begin that may touch pixel c of plane q; at most one behind its last."""
    m = maps + 6 * run
    ray = tl.fma(tl.load(m + 2), c, tl.fma(tl.load(m + 1), q, tl.load(m)))
    if CURVED:
        ray = ray / tl.fma(tl.load(m + 5), c, tl.fma(tl.load(m + 4), q, tl.load(m + 3)))
    _, ray = nearest(clamp(ray, 0.0, tl.load(runs + 2 * run + 1).to(q.dtype)))
    return ray + tl.load(runs + 2 * run)


@triton.jit
def _add_ray(sums, sino, start, slope, ray, q, c, group, batch, sino_step, IMAGES: tl.constexpr):
    """sums + weight * sinogram of one candidate ray per pixel."""
    weight = hat(tl.fma(tl.load(slope + ray), q, tl.load(start + ray)) - c)
    more = ()
    for k in tl.static_range(IMAGES):
        at = one_of(sino, group + k, batch, sino_step) + ray
        more = more + (tl.fma(weight, tl.load(at), sums[k]),)
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


@kernel
def adjoint_2d(
    sino, image, start, slope, maps, runs, taps, num_runs, tiles, num, size, batch, sino_step,
    TAPS: tl.constexpr, MORE: tl.constexpr, CURVED: tl.constexpr, ADD: tl.constexpr, TURNED: tl.constexpr,
    IMAGES: tl.constexpr, PLANES: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """image[b, plane, pixel] (+)= sum over rays of hat(X - pixel) * sino; sino (batch, lanes) packed.

    A program computes BLOCK pixels of PLANES planes. `runs` holds the first lane and the number of rays of each run,
    `taps` its candidates per tile of TILE planes, of which the first TAPS are unrolled: rays behind the last that
    matters have weight 0.
    """
    lane = tl.arange(0, PLANES * BLOCK)
    plane, pixel = tl.program_id(1) * PLANES + lane // BLOCK, tl.program_id(0) * BLOCK + lane % BLOCK
    group, tile = tl.program_id(2) * IMAGES, tl.program_id(1) * PLANES // TILE
    dtype = sino.dtype.element_ty
    q, c = (plane - num // 2).to(dtype), (pixel - size // 2).to(dtype)
    sums = zeros(PLANES * BLOCK, dtype, IMAGES)
    for run in range(0, num_runs):
        ray = first_ray(maps, runs, run, q, c, CURVED)
        for k in tl.static_range(TAPS):
            sums = _add_ray(sums, sino, start, slope, ray + k, q, c, group, batch, sino_step, IMAGES)
        if MORE:
            for k in range(TAPS, tl.load(taps + run * tiles + tile)):
                sums = _add_ray(sums, sino, start, slope, ray + k, q, c, group, batch, sino_step, IMAGES)
    here, inside = place_of(plane, pixel, num, size, TURNED), (plane < num) & (pixel < size)
    for k in tl.static_range(IMAGES):
        if group + k < batch:
            put(one_of(image, group + k, batch, num * size) + here, sums[k], inside, ADD)
