"""Tuples of vectors in Triton, one for each bin, material or pair: what is kept of a block of pixels in registers."""

import triton
import triton.language as tl


@triton.jit
def load(rows, pixel, COUNT: tl.constexpr):
    """The columns of rows (P, COUNT) as a tuple, for some pixels."""
    out = ()
    for k in tl.static_range(COUNT):
        out = out + (tl.load(rows + pixel * COUNT + k),)
    return out


@triton.jit
def store(rows, pixel, values, inside, COUNT: tl.constexpr):
    """The reverse, where `inside`."""
    for k in tl.static_range(COUNT):
        tl.store(rows + pixel * COUNT + k, values[k], mask=inside)


@triton.jit
def zeros(like, COUNT: tl.constexpr):
    """As many vectors of zeros."""
    out = ()
    for _ in tl.static_range(COUNT):
        out = out + (tl.zeros_like(like),)
    return out


@triton.jit
def everywhere(like, COUNT: tl.constexpr):
    """As many masks that are true in all pixels."""
    out = ()
    for k in tl.static_range(COUNT):
        out = out + (tl.zeros_like(like[k]) == 0,)
    return out


@triton.jit
def chosen(condition, a, b, COUNT: tl.constexpr):
    """Vectors of the tuple a where a condition holds, else of b."""
    out = ()
    for k in tl.static_range(COUNT):
        out = out + (tl.where(condition, a[k], b[k]),)
    return out


@triton.jit
def kept(values, free, M: tl.constexpr):
    """Values of the free components, 0 for the others."""
    out = ()
    for k in tl.static_range(M):
        out = out + (tl.where(free[k], values[k], 0.0),)
    return out


@triton.jit
def finite(values, M: tl.constexpr):
    """Where all are finite: neither NaN nor infinite."""
    out = values[0] - values[0] == 0
    for k in tl.static_range(1, M):
        out = out & (values[k] - values[k] == 0)
    return out


@triton.jit
def double(values, COUNT: tl.constexpr):
    """In double precision."""
    out = ()
    for k in tl.static_range(COUNT):
        out = out + (values[k].to(tl.float64),)
    return out
