"""The parabolic Monge-Ampère equation on a one-dimensional torus, by Fourier series and RK4."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def log_mass(potential: Function, period: float, points: int = 1024) -> float:
    """Logarithm of the integral of exp(-potential) over a period, by the trapezoid rule."""
    x = np.arange(points) * (period / points)
    return float(np.log(np.exp(-potential(x)).mean() * period))


def torus_flow(
    f: Function, g: Function, period: float, time: float, modes: int, steps: int
) -> Function:
    r"""Solve u_t = -f(y + u') + g(y) + log(1 + u'') from u = 0; return u at the given time.

    :math:`\psi = y^2 / 2 + u`. The explicit method is stable for steps below 2.78 min psi'' over
    the square of the highest frequency.

    Parameters
    ----------
    f, g : callables
        Minus the log densities of target and reference, normalised, of the given period.
    period, time : float
        Length of the torus and final time.
    modes, steps : int
        Number of grid points, and of time steps.

    Returns
    -------
    callable
        u at any points, by its Fourier series.
    """
    y = np.arange(modes) * (period / modes)
    frequency = 2.0 * np.pi / period * np.arange(modes // 2 + 1)
    slope = 1j * frequency
    slope[-1] = 0.0  # the highest mode has no odd derivative on the grid
    source = g(y)

    def rate(u: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(u)
        first = np.fft.irfft(slope * spectrum, modes)
        second = np.fft.irfft(-(frequency**2) * spectrum, modes)
        return source - f(y + first) + np.log1p(second)

    u = np.zeros(modes)
    dt = time / steps
    for _ in range(steps):
        k1 = rate(u)
        k2 = rate(u + 0.5 * dt * k1)
        k3 = rate(u + 0.5 * dt * k2)
        k4 = rate(u + dt * k3)
        u = u + dt / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
    weights = np.fft.rfft(u) / modes
    weights[1:-1] *= 2.0

    def series(points: np.ndarray) -> np.ndarray:
        return np.real(np.exp(1j * points[:, None] * frequency) @ weights)

    return series
