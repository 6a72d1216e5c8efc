"""Mirror steps on the circle of length 2 pi by Fourier series, without finite differences.

The unknown is ``chi = u - z^2 / 2`` at N equidistant points; derivatives are those of its
trigonometric interpolant, densities are evaluated in closed form. The squares of the iterates are
as exact as N allows: the error falls exponentially with N while the potential stays convex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from parabolic_ma.analysis import theory
from parabolic_ma.grid import Box, Grid

PERIOD = 2.0 * math.pi
_FINE = 1024  # cells of the quadrature that normalises a density: spectrally exact


@dataclass(frozen=True)
class CircleDensity:
    """``exp(-(sum_j a_j cos(j x) + b_j sin(j x)))``, normalised on the circle; a Measure in part.

    ``terms`` holds ``(j, a_j, b_j)``.
    """

    terms: tuple[tuple[int, float, float], ...]
    dim: int = field(default=1, init=False)
    bounded: bool = field(default=True, init=False)
    normalized: bool = field(default=True, init=False)
    log_concave: bool | None = field(default=False, init=False)

    def _sum(self, x):
        return sum(a * np.cos(j * x) + b * np.sin(j * x) for j, a, b in self.terms)

    @cached_property
    def log_normalizer(self):
        x = np.arange(_FINE) * PERIOD / _FINE
        return math.log(np.exp(-self._sum(x)).mean() * PERIOD)

    def potential(self, x):
        return self._sum(np.asarray(x, float).reshape(-1)) + self.log_normalizer


# Target with two modes, and a reference: every figure of the tests is for this pair.
TARGET = CircleDensity(((2, 1.2, 0.0), (1, 0.0, -0.5)))
REFERENCE = CircleDensity(((1, -0.6, 0.0), (2, 0.0, 0.2)))


def grid_of(n):
    """Grid whose cell centres are ``2 pi j / n``."""
    h = PERIOD / n
    return Grid(Box((-0.5 * h,), (PERIOD - 0.5 * h,)), (n,))


def derivative(values, order=1):
    """Derivative of the trigonometric interpolant; the sine of the last frequency is no function
    on the grid, so that odd orders have no such part."""
    n = len(values)
    k = np.fft.rfftfreq(n, 1.0 / n)
    factor = (1j * k) ** order
    if order % 2 and n % 2 == 0:
        factor[-1] = 0.0
    return np.fft.irfft(factor * np.fft.rfft(values), n)


def iterate(chi, side="reference", reference=REFERENCE, target=TARGET):
    """All that the theory needs of the potential ``z^2 / 2 + chi``."""
    grid = grid_of(len(chi))
    z = grid.axis(0)
    source, inner = (reference, target) if side == "reference" else (target, reference)
    gradient, hessian = z + derivative(chi), 1.0 + derivative(chi, 2)
    log_source, log_inner = -source.potential(z), -inner.potential(gradient)
    rate = log_inner + np.log(hessian) - log_source
    return theory.Iterate(
        side=side,
        grid=grid,
        periodic=True,
        log_source=log_source,
        potential=0.5 * z**2 + chi,
        gradient=gradient[:, None],
        log_det=np.log(hessian),
        log_inner=log_inner,
        rate_gradient=derivative(rate)[:, None],
        min_eigenvalue=float(hessian.min()),
        max_eigenvalue=float(hessian.max()),
    )


def run(n, step, steps, side="reference", chi=None, **measures):
    """Iterates ``0 .. steps`` of mirror descent from ``z^2 / 2 + chi``."""
    chi = np.zeros(n) if chi is None else chi
    iterates = [iterate(chi, side, **measures)]
    for _ in range(steps):
        chi = chi + step * iterates[-1].rate
        iterates.append(iterate(chi, side, **measures))
    return iterates


def series(chi, at):
    """The trigonometric interpolant of grid values and its first two derivatives at points."""
    n = len(chi)
    k = np.fft.rfftfreq(n, 1.0 / n)
    coefficients = np.fft.rfft(chi) / n
    coefficients[1:] *= 2.0
    if n % 2 == 0:
        coefficients[-1] *= 0.5
    waves = coefficients * np.exp(1j * np.multiply.outer(at, k))
    return waves.sum(-1).real, (1j * k * waves).sum(-1).real, -(k**2 * waves).sum(-1).real


def conjugate(chi, x, start):
    """``sup_y x y - y^2 / 2 - chi(y)`` less ``x^2 / 2``, and where, by Newton's method."""
    y = np.array(start, float)
    for _ in range(60):
        _, slope, curvature = series(chi, y)
        move = (x - y - slope) / (1.0 + curvature)
        y += np.clip(move, -0.3, 0.3)
        if np.abs(move).max() < 1e-14:
            break
    else:
        raise ArithmeticError("Newton's method did not settle")
    return -0.5 * (y - x) ** 2 - series(chi, y)[0], y


def periodic_part(state):
    """``chi`` of an iterate."""
    return state.potential - 0.5 * state.grid.axis(0) ** 2


def cumulative(measure):
    """Cumulative function of a density, continued over the line, and its mean on ``[0, 2 pi)``."""
    x = np.arange(_FINE) * PERIOD / _FINE
    modes = np.fft.rfft(np.exp(-measure.potential(x)) * PERIOD)[1:] / _FINE
    k = np.arange(1, len(modes) + 1)
    keep = np.abs(modes) > 1e-17
    factors = 2.0 * modes[keep] / (1j * k[keep])

    def at(x):
        waves = factors * (np.exp(1j * np.multiply.outer(x, k[keep])) - 1.0)
        return (x + waves.sum(-1).real) / PERIOD

    # int x dF = 2 pi - int F over a period, by parts
    return at, 0.5 * PERIOD + factors.sum().real


def brenier_map(reference, target, y):
    """Optimal map of the circle at points ``y`` of ``[0, 2 pi)``, lifted to the line.

    ``T(y) = Q(C(y) + alpha)`` with both cumulative functions continued over the line. The squared
    cost is convex in the cut ``alpha``, with the derivative ``E[T - y]``; that mean grows by ``2 pi
    alpha``, the mass carried once around, so the best cut is known.
    """
    source, source_mean = cumulative(reference)
    image, image_mean = cumulative(target)
    level = source(y) + (source_mean - image_mean) / PERIOD
    low, high = PERIOD * (level - 1.0), PERIOD * (level + 1.0)
    for _ in range(60):  # bisection to rounding: the density may be small
        middle = 0.5 * (low + high)
        below = image(middle) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)
