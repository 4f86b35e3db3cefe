"""Explicit SIMD for compiled CPU loops: blocks of `images x 16 lanes` that live in registers.

Arithmetic between a block of one image (positions, weights) and a block of several applies the one to each.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, register_model

from ctlib.backends.cpu.simd_features import has_avx512

LANES = 16

SCALAR = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.int32: ir.IntType(32)}
SUFFIX = {types.float32: f"v{LANES}f32", types.float64: f"v{LANES}f64"}
I32, I64 = ir.IntType(32), ir.IntType(64)


class Block(types.Type):
    """numba type of images x LANES numbers."""

    def __init__(self, dtype, images):
        self.dtype, self.images = dtype, images
        super().__init__(f"Block({dtype}, {images})")


@register_model(Block)
class _BlockModel(PrimitiveModel):
    def __init__(self, manager, block):
        super().__init__(manager, block, ir.ArrayType(vector(block.dtype), block.images))


def vector(dtype):
    return ir.VectorType(SCALAR[dtype], LANES)


def constant(dtype, value):
    return ir.Constant(vector(dtype), [value] * LANES)


def unpack(builder, block, value):
    return [builder.extract_value(value, k) for k in range(block.images)]


def pack(builder, vectors):
    out = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
    for k, v in enumerate(vectors):
        out = builder.insert_value(out, v, k)
    return out


def broadcast(builder, scalar):
    lane0 = builder.insert_element(ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined), scalar, I32(0))
    return builder.shuffle_vector(lane0, lane0, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def _llvm(name):
    """Emit the vector intrinsic of LLVM of this name, such as fma or floor."""

    def emit(builder, dtype, *args):
        kind = ir.FunctionType(vector(dtype), [vector(dtype)] * len(args))
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{SUFFIX[dtype]}"), args)

    return emit


def _larger(builder, dtype, x, y):
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)  # one instruction; maxnum would be three


def _hat(builder, dtype, x):
    if dtype == types.float32 and has_avx512("dq"):
        return builder.fsub(constant(dtype, 1.0), _nearer_zero(builder, x, constant(dtype, 1.0)))
    inside = builder.fsub(constant(dtype, 1.0), _llvm("fabs")(builder, dtype, x))
    return _larger(builder, dtype, inside, constant(dtype, 0.0))


def _nearer_zero(builder, x, y):
    """min(|x|, |y|) in one instruction; y where x is not a number."""
    every, smaller_size, rounding = ir.Constant(ir.IntType(16), -1), I32(0b1010), I32(4)
    args = [x, y, smaller_size, x, every, rounding]
    function = ir.FunctionType(x.type, [a.type for a in args])
    name = "llvm.x86.avx512.mask.range.ps.512"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)


def _ratio(builder, dtype, x, y):
    return builder.fdiv(x, y, flags=("arcp", "nnan", "ninf", "afn", "contract"))


def _lanewise(emit, *blocks):
    """Signature and code of an operation on corresponding lanes; a block of one image is used for every image."""
    images, dtype = max(b.images for b in blocks), blocks[0].dtype

    def codegen(context, builder, signature, args):
        parts = [unpack(builder, b, v) for b, v in zip(blocks, args, strict=True)]
        parts = [p * images if len(p) == 1 else p for p in parts]
        return pack(builder, [emit(builder, dtype, *vectors) for vectors in zip(*parts, strict=True)])

    return Block(dtype, images)(*blocks), codegen


def _unary(emit):
    @intrinsic
    def operation(typingctx, x):
        return _lanewise(emit, x)

    return operation


def _binary(emit):
    @intrinsic
    def operation(typingctx, x, y):
        return _lanewise(emit, x, y)

    return operation


add = _binary(lambda builder, dtype, x, y: builder.fadd(x, y))
sub = _binary(lambda builder, dtype, x, y: builder.fsub(x, y))
mul = _binary(lambda builder, dtype, x, y: builder.fmul(x, y))
low = _binary(lambda builder, dtype, x, y: builder.select(builder.fcmp_ordered("<", x, y), x, y))
high = _binary(_larger)
floor, ceil = _unary(_llvm("floor")), _unary(_llvm("ceil"))
hat = _unary(_hat)  # max(0, 1 - |x|): the weight of linear interpolation at distance x
ratio = _binary(_ratio)  # x / y to about seven digits: a reciprocal estimate and one Newton step where there is one


@intrinsic
def fma(typingctx, x, y, z):
    """x y + z with one rounding."""
    return _lanewise(_llvm("fma"), x, y, z)


@intrinsic(prefer_literal=True)
def zeros(typingctx, array, images):
    """A block of zeros for a literal number of images, typed as the array."""
    block = Block(array.dtype, images.literal_value)

    def codegen(context, builder, signature, args):
        return pack(builder, [ir.Constant(vector(block.dtype), None)] * block.images)

    return block(array, images), codegen


@intrinsic
def splat(typingctx, like, value):
    """One number in all lanes of one image, typed as `like`."""

    def codegen(context, builder, signature, args):
        return pack(builder, [broadcast(builder, context.cast(builder, args[1], value, like.dtype))])

    return Block(like.dtype, 1)(like, value), codegen


@intrinsic
def ramp(typingctx, like, value):
    """value, value + 1, ... value + 15 in the lanes of one image, typed as `like`."""

    def codegen(context, builder, signature, args):
        steps = ir.Constant(vector(like.dtype), [float(i) for i in range(LANES)])
        start = broadcast(builder, context.cast(builder, args[1], value, like.dtype))
        return pack(builder, [builder.fadd(start, steps)])

    return Block(like.dtype, 1)(like, value), codegen


@intrinsic
def whole(typingctx, block):
    """Lanes of one image, toward zero, as 32-bit integers."""

    def codegen(context, builder, signature, args):
        return pack(builder, [builder.fptosi(builder.extract_value(args[0], 0), vector(types.int32))])

    return Block(types.int32, 1)(block), codegen


@intrinsic
def lane(typingctx, block):
    """Lane 0 of integers."""

    def codegen(context, builder, signature, args):
        return builder.sext(builder.extract_element(builder.extract_value(args[0], 0), I32(0)), I64)

    return types.int64(block), codegen


@intrinsic
def offsets(typingctx, block):
    """Integers minus that in lane 0."""

    def codegen(context, builder, signature, args):
        lanes = builder.extract_value(args[0], 0)
        lane0 = builder.shuffle_vector(lanes, lanes, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))
        return pack(builder, [builder.sub(lanes, lane0)])

    return block(block), codegen


@intrinsic
def shift(typingctx, block, by):
    """Integer lanes plus an integer."""

    def codegen(context, builder, signature, args):
        step = broadcast(builder, builder.trunc(args[1], I32))
        return pack(builder, [builder.add(builder.extract_value(args[0], 0), step)])

    return block(block, by), codegen
