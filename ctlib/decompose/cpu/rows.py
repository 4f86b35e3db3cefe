"""Compiled: rows of pixels in memory to a block of them and back, and what becomes of readings on the way."""

import numpy as np

from ctlib.backends.cpu.simd import LANES, splat, zeros
from ctlib.backends.cpu.simd_memory import entry, put, store
from ctlib.decompose.cpu.block import BLOCK, FINITE, plain, row
from ctlib.decompose.cpu.lanes import any_less, divide, where_less


@plain
def fill(index, first, some):
    """index (BLOCK,) <- first, first + 1, ... of `some` pixels; beyond them the last one again."""
    for l in range(BLOCK):
        index[l] = first + min(l, some - 1)


@plain
def read(rows, index, block):
    """block (., BLOCK) <- rows of the pixels in the index; a single row is that of all."""
    step = rows.shape[1] if rows.shape[0] > 1 else 0
    for k in range(rows.shape[1]):
        for l in range(BLOCK):
            block[k, l] = entry(rows, step * entry(index, l) + k)


@plain
def write(block, index, some, rows):
    """The reverse, for the first of them."""
    step = rows.shape[1]
    for k in range(step):
        for l in range(some):
            put(rows, step * entry(index, l) + k, block[k, l])


@plain
def read_counts(task, b, index):
    """y, photons <- those of the pixels in an index; a negative reading is 0, one of -inf none. Whether any is."""
    read(task.y, index, b.y)
    read(task.photons, index, b.photons)
    negative = False
    if task.readings:
        one = zeros(b.acc, 1)
        zero, least, none = splat(one, 0), splat(one, -FINITE), splat(one, np.float32(np.nan))
        for at in range(0, BLOCK, LANES):
            many = row(one, b.photons, 0, at)
            for i in range(task.y.shape[1]):
                y = row(one, b.y, i, at)
                negative = negative or any_less(y, zero)
                y = where_less(y, zero, where_less(y, least, none, zero), y)
                store(divide(y, many), b.y, i * BLOCK + at, 0)
    return negative


@plain
def to_readings(task, b, index, negative):
    """y, a gradient to counts per photon <- that to the readings: 0 to a negative one; acc is scratch."""
    if not task.readings:
        return
    one = zeros(b.acc, 1)
    zero = splat(one, 0)
    if negative:
        read(task.y, index, b.acc)
    for at in range(0, BLOCK, LANES):
        many = row(one, b.photons, 0, at)
        for i in range(task.y.shape[1]):
            grad = divide(row(one, b.y, i, at), many)
            if negative:
                grad = where_less(row(one, b.acc, i, at), zero, zero, grad)
            store(grad, b.y, i * BLOCK + at, 0)
