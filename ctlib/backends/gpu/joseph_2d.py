"""The 2-D products of the GPU engine: Joseph's method, a ray per lane one way and a pixel per lane the other.

Rays stand in the order of the runs (`backends.tables.runs`). Both products evaluate X = fma(slope, q, start) from one
table with the same rounding, so each is the exact transpose of the other; every entry of a result is written by one
lane, which adds its terms in one order: no atomics. Some images of the batch share positions and weights.

q and X are counted from the middle of the grid. Images are padded with two zeros before and behind a line.
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


@kernel
def forward_2d(
    image, sino, rays, start, slope, length, span, num, size, width, batch, image_step, sino_step,
    HALF: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr,
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
        left += line
        sums = add(sums, 1.0 - weight, fetch(image, left, None, group, batch, image_step, IMAGES, HALF))
        sums = add(sums, weight, fetch(image, left + 1, None, group, batch, image_step, IMAGES, HALF))
        q, line = q + 1.0, line + width
    place, path = tl.load(rays + lane), tl.load(length + lane)
    for k in tl.static_range(IMAGES):
        if group + k < batch:
            tl.store(one_of(sino, group + k, batch, sino_step) + place, path * sums[k], mask=place >= 0)


@kernel
def pack_2d(sino, packed, rays, length, sino_step, packed_step, EACH: tl.constexpr, BLOCK: tl.constexpr):
    """packed[b // EACH, lane, b % EACH] = length * sino[b, rays], 0 for padding."""
    lane, b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1).to(tl.int64)
    place = tl.load(rays + lane)
    value = tl.load(sino + b * sino_step + place, mask=place >= 0, other=0.0)
    tl.store(one_in_word(packed, lane, b, packed_step, EACH), tl.load(length + lane) * value)


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
def _add_ray(
    sums, sino, start, slope, ray, q, c, group, batch, sino_step, HALF: tl.constexpr, IMAGES: tl.constexpr
):  # fmt: skip
    """sums + weight * sinogram of one candidate ray per pixel."""
    weight = hat(tl.fma(tl.load(slope + ray), q, tl.load(start + ray)) - c)
    return add(sums, weight, fetch(sino, ray, None, group, batch, sino_step, IMAGES, HALF))


@kernel
def adjoint_2d(
    sino, image, start, slope, maps, runs, taps, num_runs, tiles, num, size, batch, sino_step,
    TAPS: tl.constexpr, MORE: tl.constexpr, CURVED: tl.constexpr, ADD: tl.constexpr, TURNED: tl.constexpr,
    HALF: tl.constexpr, IMAGES: tl.constexpr, PLANES: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """image[b, plane, pixel] (+)= sum over rays of hat(X - pixel) * sino; sino (batch, lanes) packed.

    A program computes BLOCK pixels of PLANES planes. `runs` holds the first lane and the number of rays of each run,
    `taps` its candidates per tile of TILE planes, of which the first TAPS are unrolled: rays behind the last that
    matters have weight 0.
    """
    lane = tl.arange(0, PLANES * BLOCK)
    plane, pixel = tl.program_id(1) * PLANES + lane // BLOCK, tl.program_id(0) * BLOCK + lane % BLOCK
    group, tile = tl.program_id(2) * IMAGES, tl.program_id(1) * PLANES // TILE
    dtype = start.dtype.element_ty
    q, c = (plane - num // 2).to(dtype), (pixel - size // 2).to(dtype)
    sums = zeros(PLANES * BLOCK, dtype, IMAGES)
    for run in range(0, num_runs):
        ray = first_ray(maps, runs, run, q, c, CURVED)
        for k in tl.static_range(TAPS):
            sums = _add_ray(sums, sino, start, slope, ray + k, q, c, group, batch, sino_step, HALF, IMAGES)
        if MORE:
            for k in range(TAPS, tl.load(taps + run * tiles + tile)):
                sums = _add_ray(sums, sino, start, slope, ray + k, q, c, group, batch, sino_step, HALF, IMAGES)
    here, inside = place_of(plane, pixel, num, size, TURNED), (plane < num) & (pixel < size)
    for k in tl.static_range(IMAGES):
        if group + k < batch:
            put(one_of(image, group + k, batch, num * size) + here, sums[k], inside, ADD)
