"""A cubic B-spline of two variables and its slopes at one point, in vectors of four.

The four coefficients of a row of the 4 x 4 that a point depends on are one load: with weights a, d
along axis 0 for value and slope, and b, g along axis 1,

    p = sum_k a_k c[k, :],  q = sum_k d_k c[k, :],  s = <b, p>,  s_1 = <b, q>,  s_2 = <g, p>.

Gathering the sixteen for several points at once takes three times as long.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["prefetch_cell", "spline_cell"]

# Weights of the four coefficients by powers of the position t in [0, 1) between the middle two.
_WEIGHTS = np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6.0
_SLOPES = _WEIGHTS[1:] * np.arange(1, 4)[:, None]

_FOUR = ir.VectorType(ir.DoubleType(), 4)


def _lanes(*indices):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(indices)), list(indices))


def _constant(row):
    return ir.Constant(_FOUR, [float(x) for x in row])


def _fused(builder, a, b, c):
    product = builder.fmul(a, b, flags=("contract",))
    return builder.fadd(product, c, flags=("contract",))


def _horner(builder, terms, t):
    value = _constant(terms[-1])
    for term in terms[-2::-1]:
        value = _fused(builder, value, t, _constant(term))
    return value


def _sum(builder, v):
    halves = [builder.shuffle_vector(v, v, _lanes(*lanes)) for lanes in ((0, 1), (2, 3))]
    pair = builder.fadd(*halves)
    ends = [builder.extract_element(pair, ir.Constant(ir.IntType(32), k)) for k in range(2)]
    return builder.fadd(*ends)


@intrinsic
def spline_cell(typingctx, table, i1, i2, t1, t2):
    """Value of a spline and its derivatives, in units of cells, in the cell ``i1, i2`` at t1, t2.

    ``table[i1 : i1 + 4, i2 : i2 + 4]`` are the coefficients.
    """

    def codegen(context, builder, sig, args):
        array, i1, i2, t1, t2 = args
        table = context.make_array(sig.args[0])(context, builder, array)
        width = builder.extract_value(table.shape, 1)
        index = builder.add(builder.mul(i1, width), i2)
        rows = []
        for _ in range(4):
            where = builder.bitcast(builder.gep(table.data, [index]), _FOUR.as_pointer())
            rows.append(builder.load(where, align=8))
            index = builder.add(index, width)
        t1, t2 = (
            builder.shuffle_vector(
                builder.insert_element(
                    ir.Constant(_FOUR, ir.Undefined), t, ir.Constant(ir.IntType(32), 0)
                ),
                ir.Constant(_FOUR, ir.Undefined),
                _lanes(0, 0, 0, 0),
            )
            for t in (t1, t2)
        )
        a, d = (_horner(builder, terms, t1) for terms in (_WEIGHTS, _SLOPES))
        b, g = (_horner(builder, terms, t2) for terms in (_WEIGHTS, _SLOPES))
        zero = _constant(np.zeros(4))
        p, q = zero, zero
        for k, row in enumerate(rows):
            p = _fused(builder, builder.shuffle_vector(a, a, _lanes(k, k, k, k)), row, p)
            q = _fused(builder, builder.shuffle_vector(d, d, _lanes(k, k, k, k)), row, q)
        products = (builder.fmul(b, p), builder.fmul(b, q), builder.fmul(g, p))
        return cgutils.pack_array(builder, [_sum(builder, v) for v in products])

    result = types.UniTuple(types.float64, 3)
    return result(table, types.intp, types.intp, types.float64, types.float64), codegen


@intrinsic
def prefetch_cell(typingctx, table, i1, i2):
    """Ask for the coefficients of a cell: where a map is curved the processor cannot foresee it."""

    def codegen(context, builder, sig, args):
        array, i1, i2 = args
        table = context.make_array(sig.args[0])(context, builder, array)
        width = builder.extract_value(table.shape, 1)
        index = builder.add(builder.mul(i1, width), i2)
        byte = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for _ in range(4):
            where = builder.bitcast(builder.gep(table.data, [index]), byte)
            builder.call(prefetch, [where, number(0), number(3), number(1)])
            index = builder.add(index, width)
        return context.get_dummy_value()

    return types.void(table, types.intp, types.intp), codegen


if config.DISABLE_JIT:

    def prefetch_cell(table, i1, i2):
        """Do nothing."""

    def spline_cell(table, i1, i2, t1, t2):
        """Value of a spline and its derivatives, in units of cells."""
        c = table[i1 : i1 + 4, i2 : i2 + 4]
        a, b = (t ** np.arange(4) @ _WEIGHTS for t in (t1, t2))
        d, g = (t ** np.arange(3) @ _SLOPES for t in (t1, t2))
        return a @ c @ b, d @ c @ b, a @ c @ g
