"""Numba kernel of the soft conjugate: sums of exponentials against a kernel given by its logarithm.

Taking an exponential for every term would cost most of the time. Lines of the log kernel that are
near to each other differ by little beside a constant, so the exponentials of their differences are
taken once for all rows, and those of a row once for a block of lines: what is left for every term
is one product.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.maths import exp, log

_LINES = 32  # most lines of the kernel in a block; a multiple of 8
_NEGLIGIBLE = 46.0  # e^-46 = 1e-20: below rounding even if a whole line of such terms is left out
# Half the range in nats that the factors of a block may have. Twice that and _NEGLIGIBLE are the
# range of the terms that are kept, for which `exp` must not reach its bound at -700.
_HALF_RANGE = 300.0

# `nnan`, without which LLVM does not vectorise a maximum: no numbers but numbers may get there.
_REDUCTION = {"contract", "reassoc", "nnan", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy")
def _are_numbers(values):
    """Tell whether no entry is a NaN."""
    lost = 0
    for v in values:
        lost += v != v  # noqa: PLR0124
    return lost == 0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_REDUCTION)
def _add(a, b, total):
    """Write ``a + b`` to ``total``; return the largest entry."""
    top = -np.inf
    for j in range(len(a)):
        t = a[j] + b[j]
        total[j] = t
        top = max(top, t)
    return top


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_REDUCTION)
def _range_of_difference(a, b):
    """Return the smallest and the largest ``a - b``."""
    low = np.inf
    high = -np.inf
    for j in range(len(a)):
        d = a[j] - b[j]
        low = min(low, d)
        high = max(high, d)
    return low, high


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_REDUCTION)
def _sum(terms):
    """Return the sum of all terms."""
    total = 0.0
    for j in range(len(terms)):
        total += terms[j]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_REDUCTION)
def _eight_sums(factors, terms, sums):
    """Write ``sum_j factors[k, j] terms[j]`` to ``sums``, k < 8."""
    f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
    f4, f5, f6, f7 = factors[4], factors[5], factors[6], factors[7]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for j in range(len(terms)):
        t = terms[j]
        s0 += f0[j] * t
        s1 += f1[j] * t
        s2 += f2[j] * t
        s3 += f3[j] * t
        s4 += f4[j] * t
        s5 += f5[j] * t
        s6 += f6[j] * t
        s7 += f7[j] * t
    sums[0], sums[1], sums[2], sums[3] = s0, s1, s2, s3
    sums[4], sums[5], sums[6], sums[7] = s4, s5, s6, s7


@njit(cache=True, nogil=True, error_model="numpy")
def _exponentials(exponents, shift):
    """Replace ``exponents`` by ``exp(exponents - shift)``."""
    for j in range(len(exponents)):
        exponents[j] = exp(exponents[j] - shift)


@njit(cache=True, nogil=True, error_model="numpy")
def _factors(line, middle, shift, out):
    """Write ``exp(line - middle - shift)`` to ``out``."""
    for j in range(len(line)):
        out[j] = exp(line[j] - middle[j] - shift)


@njit(cache=True, nogil=True, error_model="numpy")
def _logarithms(sums, shifts, top, out):
    """Write ``log(sums) + shifts + top`` to ``out``."""
    for k in range(len(out)):
        out[k] = log(sums[k]) + (shifts[k] + top)


@njit(cache=True, nogil=True, error_model="numpy")
def _terms(middle, row, reach, terms):
    """Write ``exp(middle + row - top)`` to ``terms[low:high]`` and return top, low, high.

    ``top`` is the largest exponent; terms beyond the two bounds are less than e^-reach. There are
    none if it is minus infinity.
    """
    top = _add(middle, row, terms)
    if top == -np.inf:
        return top, 0, 0
    cut = top - reach
    low = 0
    while terms[low] < cut:
        low += 1
    high = len(terms)
    while terms[high - 1] < cut:
        high -= 1
    _exponentials(terms[low:high], top)
    return top, low, high


@njit(cache=True, nogil=True, error_model="numpy")
def _block(log_kernel, first, shifts):
    """Return how many lines from ``first`` fit a block, and half the range of their differences.

    The differences are those to the middle line; ``shifts`` receives the middle of their range.
    """
    size = min(_LINES, log_kernel.shape[0] - first)
    while size > 1:
        middle = log_kernel[first + size // 2]
        half = 0.0
        for k in range(size):
            low, high = _range_of_difference(log_kernel[first + k], middle)
            shifts[k] = 0.5 * (low + high)
            # infinite entries make it infinite or no number, neither of which fits
            reach = 0.5 * (high - low)
            if not reach <= half:
                half = reach
        if half <= _HALF_RANGE:
            return size, half
        size = size // 2
    shifts[0] = 0.0
    return 1, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def soft_conjugate_rows(log_kernel, rows, out):
    """Write ``log sum_j exp(log_kernel[i, j] + rows[r, j])`` to ``out[r, i]``.

    The sum is that of e^D e^t with t the exponents on the middle line of a block, less their
    maximum, and D the difference of line i to that line, less the middle of its range. The term
    of t = 0 is at least e^-h where ``|D| <= h``, so those with t < -2 h - 46 are left out.
    """
    m, n = log_kernel.shape
    count = rows.shape[0]
    factors = np.zeros((_LINES, n))
    shifts = np.zeros(_LINES)
    sums = np.empty(_LINES)
    terms = np.empty(n)
    numbers = np.empty(count, np.bool_)
    for r in range(count):
        numbers[r] = _are_numbers(rows[r])
        if not numbers[r]:
            out[r] = np.nan
    first = 0
    while first < m:
        size, half = _block(log_kernel, first, shifts)
        middle = log_kernel[first + size // 2]
        if size > 1:
            for k in range(size):
                _factors(log_kernel[first + k], middle, shifts[k], factors[k])
        for r in range(count):
            if not numbers[r]:
                continue
            top, low, high = _terms(middle, rows[r], 2.0 * half + _NEGLIGIBLE, terms)
            line = out[r, first : first + size]
            if high == 0:
                line[:] = top
                continue
            if size == 1:
                sums[0] = _sum(terms[low:high])
            else:
                for k in range(0, size, 8):
                    _eight_sums(factors[k : k + 8, low:high], terms[low:high], sums[k:])
            _logarithms(sums, shifts, top, line)
        first += size
