"""What the solver asks of 16 pixels at a time beyond the arithmetic of `simd`: powers, logarithms and choices."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ctlib.backends.cpu.simd import LANES, _binary, _lanewise, _llvm, _unary, constant, unpack, vector

FAR = 125.0  # powers of two beyond it are taken as 2^125 and 2^-125, which are normal numbers
POWERS = (
    1.0000001192092896,
    0.6931469440460205,
    0.24022120237350464,
    0.05550713092088699,
    0.009675540961325169,
    0.0013276472454890609,
)
ROUNDER = 1.5 * 2**23  # added to a number of less than 2^22, it leaves the nearest whole number in the last bits
HALF_ROOT = 0x3F3504F3  # the bits of sqrt(1/2)


def _whole(value: int):
    return ir.Constant(vector(types.int32), [value] * LANES)


def _exp2(builder, dtype, x):
    """2^n 2^r with the nearest whole number n: a polynomial, and n added to the exponent."""
    x = builder.select(builder.fcmp_ordered("<", x, constant(dtype, FAR)), x, constant(dtype, FAR))
    x = builder.select(builder.fcmp_ordered(">", x, constant(dtype, -FAR)), x, constant(dtype, -FAR))
    shifted = builder.fadd(x, constant(dtype, ROUNDER))
    r, p = builder.fsub(x, builder.fsub(shifted, constant(dtype, ROUNDER))), constant(dtype, POWERS[-1])
    for power in POWERS[-2::-1]:
        p = _llvm("fma")(builder, dtype, p, r, constant(dtype, power))
    exponent = builder.shl(builder.bitcast(shifted, vector(types.int32)), _whole(23))
    return builder.bitcast(builder.add(builder.bitcast(p, vector(types.int32)), exponent), vector(dtype))


def _log(builder, dtype, x):
    """Exponent times log 2, and a series of t = (m - 1) / (m + 1) for the mantissa m in [sqrt(1/2), sqrt(2))."""
    fma, one = _llvm("fma"), constant(dtype, 1.0)
    bits = builder.bitcast(x, vector(types.int32))
    n = builder.ashr(builder.sub(bits, _whole(HALF_ROOT)), _whole(23))
    m = builder.bitcast(builder.sub(bits, builder.shl(n, _whole(23))), vector(dtype))
    t = builder.fdiv(builder.fsub(m, one), builder.fadd(m, one))
    s, series = builder.fmul(t, t), constant(dtype, 2 / 9)
    for term in (2 / 7, 2 / 5, 2 / 3, 2.0):
        series = fma(builder, dtype, series, s, constant(dtype, term))
    return fma(builder, dtype, builder.sitofp(n, vector(dtype)), constant(dtype, 0.69314718), builder.fmul(t, series))


exp2 = _unary(_exp2)  # float32, to 2e-7
log = _unary(_log)  # float32, to 3e-7 of 1 + |log x|; x positive and normal
divide = _binary(lambda builder, dtype, x, y: builder.fdiv(x, y))
size = _unary(_llvm("fabs"))


@intrinsic
def where_less(typingctx, x, y, a, b):
    """a where x < y, else b; not a number is less than nothing."""
    return _lanewise(lambda builder, dtype, *v: builder.select(builder.fcmp_ordered("<", *v[:2]), *v[2:]), x, y, a, b)


@intrinsic
def any_less(typingctx, x, y):
    """Whether x < y in one of the lanes of blocks of one image."""

    def codegen(context, builder, signature, args):
        (left,), (right,) = (unpack(builder, block, v) for block, v in zip((x, y), args, strict=True))
        mask = builder.bitcast(builder.fcmp_ordered("<", left, right), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", mask, ir.IntType(LANES)(0))

    return types.boolean(x, y), codegen
