"""Compiled: all pixels, which threads share, block by block.

What the functions of a block are given is borrowed: to count its users took a quarter of the time of short ones.
"""

import numpy as np

from ctlib.compiled import njit
from ctlib.cpu.threads import borrowed, claimed
from ctlib.decompose.cpu import block, rows
from ctlib.decompose.cpu.block import BLOCK, plain
from ctlib.decompose.cpu.newton import MOST_ROUGH, USUAL, adjoint, any_beyond, finish, newton, quick_newton, settled
from ctlib.decompose.cpu.packed import unpacked

AT_ONCE = 16 * BLOCK  # pixels that a thread takes at a time, some 60 microseconds


@plain
def read_block(task, b, index, paths):
    """y, a <- counts of the pixels in an index, and their start, from the polynomial or else what paths hold."""
    rows.read_counts(task, b, index)
    if task.coefficients.shape[0] > 0:
        block.start(task, b)
    else:
        rows.read(paths, index, b.a)


@plain
def keep_block(task, b, index, some, few, paths, steps, done):
    settled(task, b, few)
    rows.write(b.a, index, some, paths)
    for l in range(some):
        done[index[l]], steps[index[l]] = b.sure[0, l] > 0, np.int32(b.taken[0, l])


@plain
def solve_item(item, task, fine, rough, most, max_iters, few, b, index, waiting, paths, steps, done):
    """`newton_pixels` of the pixels of one item."""
    pixels, left = paths.shape[0], 0
    for first in range(item * AT_ONCE, min((item + 1) * AT_ONCE, pixels), BLOCK):
        some = min(BLOCK, pixels - first)
        b.still[:] = 1
        if most > USUAL:
            rows.fill(index, first, some)
            read_block(task, b, index, paths)
            quick_newton(task, fine, rough, b)
            keep_block(task, b, index, some, few, paths, steps, done)
        for l in range(some):
            if b.still[0, l] > 0:
                waiting[left] = first + l
                left += 1
    for first in range(0, left, BLOCK):
        some = min(BLOCK, left - first)
        for l in range(BLOCK):
            index[l] = waiting[first + min(l, some - 1)]
        if most > USUAL:
            rows.read_counts(task, b, index)
            rows.read(paths, index, b.a)
            b.taken[:] = USUAL + 1
            finish(task, fine, b, USUAL + 1, max_iters)
        else:
            read_block(task, b, index, paths)
            newton(task, fine, rough, b, most, max_iters - most)
        keep_block(task, b, index, some, few, paths, steps, done)


@njit(nogil=True, error_model="numpy", cache=True)
def newton_pixels(
    claims, y, photons, readings, tolerance, materials, reals, wholes, max_iters, few, paths, steps, done
):
    """paths (P, M) <- solution, from the polynomial or else what they hold; steps (P,) <- steps, done <- `settled`.

    y, ... tolerance of a `Task`;  materials, ... what is `Packed`;  an item: `AT_ONCE` pixels
    few  counts below which a flat likelihood is a reason for doubt

    Sixteen pixels take as many steps as the slowest of them. So all take the usual ones, and the few that are not
    there yet go on together afterwards.
    """
    task, fine, rough = unpacked(y, photons, readings, tolerance, materials, reals, wholes)
    own = block.new_block(task.y.shape[1], task.materials)
    places = np.empty(BLOCK, np.int64), np.empty(AT_ONCE, np.int64)
    most = min(max_iters // 2, MOST_ROUGH) if rough.middle.size > 0 else 0
    given, out = borrowed((task, fine, rough)), borrowed((paths, steps, done))
    for item in claimed(claims):
        solve_item(item, *given, most, max_iters, few, borrowed(own), *borrowed(places), *out)


@plain
def adjoint_block(task, rule, b, index, some, paths, v, w, to_counts):
    """`adjoint_pixels` of the pixels in an index; their path lengths are in the block."""
    negative = rows.read_counts(task, b, index)
    rows.read(v, index, b.step)
    adjoint(task, rule, b)
    if w.shape[0] > 0:
        rows.write(b.step, index, some, w)
    rows.to_readings(task, b, index, negative)
    rows.write(b.y, index, some, to_counts)


@plain
def adjoint_item(item, task, fine, whole, b, index, waiting, paths, v, w, to_counts):
    """`adjoint_pixels` of the pixels of one item; those for which few energies do not stand for all come last."""
    pixels, left = paths.shape[0], 0
    for first in range(item * AT_ONCE, min((item + 1) * AT_ONCE, pixels), BLOCK):
        some = min(BLOCK, pixels - first)
        rows.fill(index, first, some)
        rows.read(paths, index, b.a)
        if any_beyond(task, b):
            for l in range(some):
                if b.sure[0, l] > 0:
                    waiting[left] = first + l
                    left += 1
        adjoint_block(task, fine, b, index, some, paths, v, w, to_counts)
    for first in range(0, left, BLOCK):
        some = min(BLOCK, left - first)
        for l in range(BLOCK):
            index[l] = waiting[first + min(l, some - 1)]
        rows.read(paths, index, b.a)
        adjoint_block(task, whole, b, index, some, paths, v, w, to_counts)


@njit(nogil=True, error_model="numpy", cache=True)
def adjoint_pixels(claims, y, photons, readings, tolerance, materials, reals, wholes, paths, v, w, to_counts):
    """w (P, M) <- `adjoint_solution` for v (P, M), or of all (1, M); to_counts (P, E) <- gradient to the counts.

    w  (0, M) where it is not asked for
    """
    task, fine, whole = unpacked(y, photons, readings, tolerance, materials, reals, wholes)
    own = block.new_block(task.y.shape[1], task.materials)
    places = np.empty(BLOCK, np.int64), np.empty(AT_ONCE, np.int64)
    given, out = borrowed((task, fine, whole)), borrowed((paths, v, w, to_counts))
    for item in claimed(claims):
        adjoint_item(item, *given, borrowed(own), *borrowed(places), *out)
