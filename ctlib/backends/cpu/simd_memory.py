"""Blocks to and from memory. The time of a projector goes into `take`: 16 values from places close together.

With AVX-512 they are two loads of 16 neighbors and one register permutation (in float64 twice as many registers, two
permutations for each), instead of 16 loads; elsewhere one gathering load.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ctlib.backends.cpu.simd import I32, I64, LANES, SCALAR, SUFFIX, broadcast, constant, pack, unpack, vector
from ctlib.backends.cpu.simd_features import has_avx512

REACH = 2 * LANES
"""Places that `take` can reach: its lanes lie in [0, REACH)."""

_BYTES = {types.float32: 4, types.float64: 8, types.int32: 4}


def _place(context, builder, array, value, index):
    return builder.gep(context.make_array(array)(context, builder, value).data, [index])


def _load(builder, place, dtype):
    loaded = builder.load(builder.bitcast(place, vector(dtype).as_pointer()))
    loaded.align = _BYTES[dtype]
    return loaded


def _permuted(builder, place, lanes, dtype):
    """Loads of the REACH values and permutations by AVX-512."""
    low, high = (_load(builder, builder.gep(place, [I64(k)]), dtype) for k in (0, LANES))
    if dtype == types.float32:
        return _permute(builder, "ps", low, lanes, high)
    halves = []
    for k in (0, LANES // 2):  # eight lanes at a time: a permutation of either half of the values, and the right one
        index = builder.zext(_part(builder, lanes, k), ir.VectorType(I64, LANES // 2))
        near, far = (_permute(builder, "pd", _part(builder, v, 0), index, _part(builder, v, 8)) for v in (low, high))
        beyond = builder.icmp_unsigned(">=", index, ir.Constant(index.type, [LANES] * (LANES // 2)))
        halves.append(builder.select(beyond, far, near))
    return _shuffled(builder, *halves, range(LANES))


def _permute(builder, kind, low, lanes, high):
    """Lanes of two registers taken as one: an instruction, which looks at the low bits of `lanes` alone."""
    function = ir.FunctionType(low.type, [low.type, lanes.type, high.type])
    name = f"llvm.x86.avx512.vpermi2var.{kind}.512"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [low, lanes, high])


def _part(builder, value, first):
    """Eight lanes of sixteen."""
    return _shuffled(builder, value, value, range(first, first + LANES // 2))


def _shuffled(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(order)), list(order)))


def _gathered(builder, place, lanes, dtype):
    """One load per lane."""
    wide = ir.VectorType(I64, LANES)
    steps = builder.mul(builder.sext(lanes, wide), ir.Constant(wide, [_BYTES[dtype]] * LANES))
    places = builder.add(broadcast(builder, builder.ptrtoint(place, I64)), steps)
    pointers = builder.inttoptr(places, ir.VectorType(ir.PointerType(SCALAR[dtype]), LANES))
    every = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [1] * LANES)
    kind = ir.FunctionType(vector(dtype), [pointers.type, I32, every.type, vector(dtype)])
    name = f"llvm.masked.gather.{SUFFIX[dtype]}.v{LANES}p0"
    gather = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(gather, [pointers, I32(_BYTES[dtype]), every, constant(dtype, 0.0)])


def permutes(dtype) -> bool:
    """Whether `take` is a permutation for this number type on the machine that numba compiles for."""
    return dtype in (types.float32, types.float64) and has_avx512()


def _images(like, array, signature_args, read):
    """Signature and code of reading 16 values for each image k from array[index + k stride ...]."""

    def codegen(context, builder, signature, args):
        at, step, lanes = args[2], args[3], [builder.extract_value(v, 0) for v in args[4:]]
        out = []
        for _ in range(like.images):
            out.append(read(builder, _place(context, builder, array, args[1], at), *lanes, like.dtype))
            at = builder.add(at, step)
        return pack(builder, out)

    return like(like, array, *signature_args), codegen


@intrinsic
def entry(typingctx, array, index):
    """array[index] for an index that is not negative, which numba would test."""

    def codegen(context, builder, signature, args):
        return builder.load(_place(context, builder, array, args[0], args[1]))

    return array.dtype(array, index), codegen


@intrinsic
def put(typingctx, array, index, value):
    """array[index] = value for an index that is not negative."""

    def codegen(context, builder, signature, args):
        number = context.cast(builder, args[2], value, array.dtype)
        builder.store(number, _place(context, builder, array, args[0], args[1]))
        return context.get_dummy_value()

    return types.none(array, index, value), codegen


@intrinsic
def load(typingctx, like, array, index, stride):
    """The 16 neighbors from array[index + k stride] on, for each image k of a block typed as `like`."""
    return _images(like, array, (index, stride), _load)


@intrinsic
def take(typingctx, like, array, index, stride, lanes):
    """array[index + k stride + lanes] for each image k; lanes in [0, REACH), and REACH entries must exist."""
    return _images(like, array, (index, stride, lanes), _permuted if permutes(like.dtype) else _gathered)


@intrinsic
def take_apart(typingctx, like, array, index, stride, lanes):
    """As `take`, for lanes of any size."""
    return _images(like, array, (index, stride, lanes), _gathered)


@intrinsic
def store(typingctx, block, array, index, stride):
    """The opposite of `load`."""

    def codegen(context, builder, signature, args):
        at = args[2]
        for lanes in unpack(builder, block, args[0]):
            place = builder.bitcast(_place(context, builder, array, args[1], at), lanes.type.as_pointer())
            builder.store(lanes, place).align = _BYTES[block.dtype]
            at = builder.add(at, args[3])
        return context.get_dummy_value()

    return types.none(block, array, index, stride), codegen
