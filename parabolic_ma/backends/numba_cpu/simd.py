"""Vectors of lanes as values in compiled kernels: loads, stores and arithmetic on 8 or 16 numbers.

LLVM turns a loop into SIMD code only where it can show, with few run-time checks, that the arrays
in it do not overlap; stencils with five coefficients and two outputs are beyond that. Here a kernel
says it itself: ``a = load32(row, j)`` is a vector of 16 float32, ``a * b + c`` works on all lanes
at once (products and sums may be fused), ``store(out, j, a)`` writes them. On processors with
shorter registers LLVM splits the vectors.

* ``load32``, ``load64``: 16 lanes of float32, 8 of float64, from contiguous arrays;
* ``+ - * /``, unary minus, ``absolute``, ``root``; ``minimum(a, b)``, ``maximum(a, b)``, which are
  b where either is no number; a number beside a vector stands for the vector of that number;
* ``greater(a, b, x, y)``: x where a > b, else y (also where a or b is no number);
* ``narrow(a, b)``: two vectors of float64 as one of float32; ``low``, ``high``: back again;
* ``total``, ``least``, ``most``: over the lanes; ``exp``, ``log`` for float64.

With compilation turned off the same functions work on short NumPy arrays.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from parabolic_ma.backends.numba_cpu.maths import (
    EXP_TERMS,
    LN2_HIGH,
    LN2_LOW,
    LOG2E,
    LOG_TERMS,
    MAGIC,
)

__all__ = [
    "absolute",
    "exp",
    "greater",
    "high",
    "least",
    "load32",
    "load64",
    "log",
    "log32",
    "low",
    "maximum",
    "minimum",
    "most",
    "narrow",
    "ramp64",
    "root",
    "splat32",
    "splat64",
    "store",
    "total",
]

LANES32, LANES64 = 16, 8
_FLAGS = ("contract", "nsz")


class Vector(types.Type):
    """A vector of lanes in compiled code."""

    def __init__(self, dtype, lanes):
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"{dtype}x{lanes}")


FLOAT32 = Vector(types.float32, LANES32)
FLOAT64 = Vector(types.float64, LANES64)


def _ir(vector):
    element = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, _ir(vector))


def _splat(builder, vector, value):
    kind = _ir(vector)
    zero = ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, zero)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)


def _as_vector(context, builder, vector, given, value):
    if isinstance(given, Vector):
        return value
    return _splat(builder, vector, context.cast(builder, value, given, vector.dtype))


def _vector_of(*arguments):
    """The vector type among the arguments when the others are vectors alike or numbers."""
    vectors = {a for a in arguments if isinstance(a, Vector)}
    others = [a for a in arguments if not isinstance(a, (Vector, types.Number))]
    return vectors.pop() if len(vectors) == 1 and not others else None


def _register_operator(symbol, emit):
    @infer_global(symbol)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            vector = _vector_of(*args) if len(args) == 2 else None
            return None if vector is None else signature(vector, *args)

    def lower(context, builder, sig, args):
        vector = sig.return_type
        a, b = (
            _as_vector(context, builder, vector, t, v) for t, v in zip(sig.args, args, strict=True)
        )
        return emit(builder, a, b)

    for pair in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(symbol, *pair)(lower)


_register_operator(operator.add, lambda b, x, y: b.fadd(x, y, flags=_FLAGS))
_register_operator(operator.sub, lambda b, x, y: b.fsub(x, y, flags=_FLAGS))
_register_operator(operator.mul, lambda b, x, y: b.fmul(x, y, flags=_FLAGS))
_register_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y, flags=_FLAGS))


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args, kws):
        return signature(args[0], args[0]) if isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def _lower_negative(context, builder, sig, args):
    return builder.fneg(args[0])


def _pointer(context, builder, array_type, array, index, element):
    array = context.make_array(array_type)(context, builder, array)
    return builder.bitcast(builder.gep(array.data, [index]), element.as_pointer())


def _loader(vector, align):
    @intrinsic
    def load(typingctx, array, index):
        def codegen(context, builder, sig, args):
            where = _pointer(context, builder, sig.args[0], *args, _ir(vector))
            return builder.load(where, align=align)

        return vector(array, types.intp), codegen

    return load


load32 = _loader(FLOAT32, 4)
load64 = _loader(FLOAT64, 8)


@intrinsic
def store(typingctx, array, index, value):
    """Write the lanes to ``array[index:]``."""

    def codegen(context, builder, sig, args):
        target, index, value = args
        where = _pointer(context, builder, sig.args[0], target, index, _ir(sig.args[2]))
        builder.store(value, where, align=4 if sig.args[2].dtype == types.float32 else 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def _splatter(vector):
    @intrinsic
    def splat(typingctx, value):
        def codegen(context, builder, sig, args):
            return _splat(builder, vector, args[0])

        return vector(vector.dtype), codegen

    return splat


splat32 = _splatter(FLOAT32)
splat64 = _splatter(FLOAT64)


def _select(predicate):
    @intrinsic
    def choose(typingctx, a, b):
        vector = _vector_of(a, b)

        def codegen(context, builder, sig, args):
            x, y = (
                _as_vector(context, builder, vector, t, v)
                for t, v in zip(sig.args, args, strict=True)
            )
            return builder.select(builder.fcmp_ordered(predicate, x, y), x, y)

        return vector(a, b), codegen

    return choose


maximum = _select(">")
minimum = _select("<")


@intrinsic
def greater(typingctx, a, b, x, y):
    """Lanes of x where a > b, of y elsewhere."""
    compared, chosen = _vector_of(a, b), _vector_of(x, y)

    def codegen(context, builder, sig, args):
        kinds = (compared, compared, chosen, chosen)
        a, b, x, y = (
            _as_vector(context, builder, k, t, v)
            for k, t, v in zip(kinds, sig.args, args, strict=True)
        )
        return builder.select(builder.fcmp_ordered(">", a, b), x, y)

    return chosen(a, b, x, y), codegen


def _unary(name):
    @intrinsic
    def function(typingctx, a):
        def codegen(context, builder, sig, args):
            kind = _ir(a)
            full = f"llvm.{name}.v{a.lanes}f{a.dtype.bitwidth}"
            declared = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind]), full
            )
            return builder.call(declared, [args[0]])

        return a(a), codegen

    return function


absolute = _unary("fabs")
root = _unary("sqrt")


def _folded(builder, value, lanes, combine):
    """Combine the halves of a vector until two lanes are left; return their combination."""
    while lanes > 1:
        lanes //= 2
        masks = [
            ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(s, s + lanes)))
            for s in (0, lanes)
        ]
        a, b = (builder.shuffle_vector(value, value, m) for m in masks)
        value = combine(builder, a, b)
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def _reduction(combine):
    @intrinsic
    def reduce(typingctx, a):
        def codegen(context, builder, sig, args):
            return _folded(builder, args[0], a.lanes, combine)

        return a.dtype(a), codegen

    return reduce


total = _reduction(lambda b, x, y: b.fadd(x, y))
least = _reduction(lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))
most = _reduction(lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))


def _mask(lanes):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))


@intrinsic
def narrow(typingctx, a, b):
    """Two vectors of float64 as one of float32."""

    def codegen(context, builder, sig, args):
        half = ir.VectorType(ir.FloatType(), LANES64)
        x, y = (builder.fptrunc(v, half) for v in args)
        return builder.shuffle_vector(x, y, _mask(range(LANES32)))

    return FLOAT32(a, b), codegen


def _half(first):
    @intrinsic
    def half(typingctx, a):
        def codegen(context, builder, sig, args):
            lanes = _mask(range(first, first + LANES64))
            return builder.fpext(builder.shuffle_vector(args[0], args[0], lanes), _ir(FLOAT64))

        return FLOAT64(a), codegen

    return half


low, high = _half(0), _half(LANES64)

_BITS = ir.VectorType(ir.IntType(64), LANES64)


def _every(value):
    return ir.Constant(_BITS, [value] * LANES64)


@intrinsic
def _times_two_to(typingctx, p, t):
    """``p 2^k``, k being the integer in the low bits of t: added to the exponent."""

    def codegen(context, builder, sig, args):
        p, t = (builder.bitcast(v, _BITS) for v in args)
        return builder.bitcast(builder.add(p, builder.shl(t, _every(52))), _ir(FLOAT64))

    return FLOAT64(p, t), codegen


_ROOT_HALF_BITS = 0x3FE6A09E667F3BCD  # of sqrt 1/2


@intrinsic
def _split(typingctx, x):
    """Mantissa in [sqrt 1/2, sqrt 2) and exponent of positive normal numbers."""

    def codegen(context, builder, sig, args):
        bits = builder.sub(builder.bitcast(args[0], _BITS), _every(_ROOT_HALF_BITS))
        mantissa = builder.add(
            builder.and_(bits, _every(0x000FFFFFFFFFFFFF)), _every(_ROOT_HALF_BITS)
        )
        exponent = builder.add(builder.ashr(bits, _every(52)), _every(0x4338000000000000))
        parts = [builder.bitcast(v, _ir(FLOAT64)) for v in (mantissa, exponent)]
        return cgutils.pack_array(builder, parts)

    return types.UniTuple(FLOAT64, 2)(x), codegen


@intrinsic
def ramp64(typingctx):
    """The numbers of the lanes, 0 to 7."""

    def codegen(context, builder, sig, args):
        return ir.Constant(_ir(FLOAT64), [float(k) for k in range(LANES64)])

    return FLOAT64(), codegen


_HALF_BITS_32 = 0x3F3504F3  # of sqrt 1/2 in float32
_BITS_32 = ir.VectorType(ir.IntType(32), LANES32)


@intrinsic
def _split32(typingctx, x):
    """Mantissa in [sqrt 1/2, sqrt 2) and exponent of positive normal float32 numbers."""

    def codegen(context, builder, sig, args):
        def every(value):
            return ir.Constant(_BITS_32, [value] * LANES32)

        bits = builder.sub(builder.bitcast(args[0], _BITS_32), every(_HALF_BITS_32))
        mantissa = builder.add(builder.and_(bits, every(0x007FFFFF)), every(_HALF_BITS_32))
        exponent = builder.sitofp(builder.ashr(bits, every(23)), _ir(FLOAT32))
        return cgutils.pack_array(builder, [builder.bitcast(mantissa, _ir(FLOAT32)), exponent])

    return types.UniTuple(FLOAT32, 2)(x), codegen


if config.DISABLE_JIT:  # the same on short NumPy arrays

    def load32(array, index):
        """Sixteen numbers."""
        return array[index : index + LANES32].copy()

    def load64(array, index):
        """Eight numbers."""
        return array[index : index + LANES64].copy()

    def store(array, index, value):
        """Write the numbers to ``array[index:]``."""
        array[index : index + len(value)] = value

    def splat32(value):
        """Sixteen times a number."""
        return np.full(LANES32, value, np.float32)

    def splat64(value):
        """Eight times a number."""
        return np.full(LANES64, value)

    def maximum(a, b):
        """The larger ones; b where either is no number."""
        return np.where(a > b, a, b)

    def minimum(a, b):
        """The smaller ones; b where either is no number."""
        return np.where(a < b, a, b)

    def greater(a, b, x, y):
        """Return x where a > b, y elsewhere."""
        return np.where(a > b, x, y).astype(np.result_type(x, y))

    def narrow(a, b):
        """Two arrays of float64 as one of float32."""
        return np.concatenate([a, b]).astype(np.float32)

    def low(a):
        """First half as float64."""
        return a[:LANES64].astype(np.float64)

    def high(a):
        """Second half as float64."""
        return a[LANES64:].astype(np.float64)

    def _times_two_to(p, t):
        return (p.view(np.int64) + (t.view(np.int64) << 52)).view(np.float64)

    def _split(x):
        bits = x.view(np.int64) - _ROOT_HALF_BITS
        mantissa = (bits & 0x000FFFFFFFFFFFFF) + _ROOT_HALF_BITS
        return mantissa.view(np.float64), ((bits >> 52) + 0x4338000000000000).view(np.float64)

    def ramp64():
        """The numbers 0 to 7."""
        return np.arange(float(LANES64))

    def _split32(x):
        bits = x.view(np.int32) - np.int32(_HALF_BITS_32)
        mantissa = (bits & 0x007FFFFF) + np.int32(_HALF_BITS_32)
        return mantissa.view(np.float32), (bits >> 23).astype(np.float32)

    absolute, root = np.abs, np.sqrt
    total, least, most = np.sum, np.min, np.max


@njit(cache=True, error_model="numpy", inline="always")
def exp(x):
    """``e^x`` of float64 lanes; below -700 and above 700 the value at the bound."""
    x = minimum(700.0, maximum(-700.0, x))  # in this order what is no number stays none
    t = x * LOG2E + MAGIC
    k = t - MAGIC
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = splat64(EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p = p * r + term
    return _times_two_to(p, t)


@njit(cache=True, error_model="numpy", inline="always")
def log(x):
    """Natural logarithm of positive normal float64 lanes."""
    m, e = _split(x)
    k = e - MAGIC
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = splat64(LOG_TERMS[0])
    for term in LOG_TERMS[1:]:
        p = p * z + term
    return k * LN2_HIGH + (2.0 * s * p + k * LN2_LOW)


@njit(cache=True, error_model="numpy", inline="always")
def log32(x):
    """Natural logarithm of positive normal float32 lanes, to some units in the last place."""
    m, k = _split32(x)
    s = (m - np.float32(1.0)) / (m + np.float32(1.0))
    z = s * s
    # the next term is at most 2 (3 - 2 sqrt 2)^9 / 9 = 3e-8
    p = np.float32(1.0) + z * (
        np.float32(1.0 / 3.0) + z * (np.float32(0.2) + z * np.float32(1.0 / 7.0))
    )
    return k * np.float32(0.6931471805599453) + np.float32(2.0) * s * p
