r"""Soft conjugates between two grids: the half sweeps of Sinkhorn's iteration.

The soft conjugate of :math:`\psi` at the temperature :math:`\varepsilon` is :math:`\phi(x) =
\varepsilon \log \sum_j w_j e^{(\langle x, y_j\rangle - \psi_j) / \varepsilon}`.

Squares are completed, :math:`\langle x, y\rangle = \tfrac12 |x|^2 + \tfrac12 |y|^2 - \tfrac12 |x -
y|^2`, so what is summed is a Gaussian kernel times :math:`w_j e^{(|y_j|^2 / 2 - \psi_j) /
\varepsilon}`. The Gaussian is a product over the axes and the sum is taken along one axis after
the other, by logarithms throughout. On a torus the kernel is the sum of the Gaussian's periodic
images, and :math:`\psi - \tfrac12 |y|^2` is a function on the torus.

The measures at the two ends are sums over cell centres, which stand for integrals by the midpoint
rule; how well is for `resolution` to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parabolic_ma.backends.protocol import Kernels
from parabolic_ma.grid import Grid
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["SoftConjugate", "resolution"]

_NEGLIGIBLE = 46.0  # nats: an image of the kernel that is smaller than the nearest by 1e-20


def resolution(epsilon: float, curvature: float, spacing: float) -> float:
    r"""Estimate the relative error of a soft conjugate's sum as an integral.

    Around their maximum the terms are a Gaussian of variance :math:`\varepsilon / q`, with q the
    second derivative of the potential, and the sum over points of spacing h has the relative error
    :math:`2 e^{-2 \pi^2 \varepsilon / (q h^2)}` of the midpoint rule. The conjugate's error is
    :math:`\varepsilon` times that. At :math:`h = 0.8 \sqrt{\varepsilon / q}` it is 8e-14. A
    density :math:`e^{-g}` in the weights adds :math:`\varepsilon g''` to q.

    Parameters
    ----------
    epsilon : float
        Temperature, in units of <x, y>.
    curvature : float
        Largest second derivative q of the potential that is summed; if it is not positive there is
        no Gaussian to resolve and the estimate is zero.
    spacing : float
        Distance h of the points of the sum.

    Returns
    -------
    float
        At most 2; for errors that are not small it says no more than that.
    """
    if curvature <= 0.0:
        return 0.0
    return 2.0 * math.exp(-2.0 * math.pi**2 * epsilon / (curvature * spacing**2))


@dataclass(frozen=True)
class SoftConjugate:
    r"""Soft conjugation from a grid of points y to a grid of points x, and back.

    Made by `between`. The methods take the kernels of a backend, see `parabolic_ma.backends.get`.

    Parameters
    ----------
    grid_y, grid_x : Grid
        The two grids, of one dimension d.
    epsilon : float
        Temperature, in units of <x, y>.
    periodic : bool
        Whether both are one torus, whose periods are the widths of the boxes.
    base_y, base_x : ndarray of the grids' shapes
        With the log kernels, :math:`\langle x, y\rangle = b(x) + b(y) + \varepsilon K(x, y)`.
    log_weights_y, log_weights_x : ndarray of the grids' shapes
        Logarithm of density times cell volume.
    log_kernels : tuple of d arrays
        :math:`K = -(x_i - y_j)^2 / (2 \varepsilon)` on each axis, shape ``(m_k, n_k)``; on a torus
        the logarithm of the sum over periods.
    """

    grid_y: Grid
    grid_x: Grid
    epsilon: float
    periodic: bool
    base_y: Array
    base_x: Array
    log_weights_y: Array
    log_weights_x: Array
    log_kernels: tuple[Array, ...]

    @classmethod
    def between(
        cls,
        grid_y: Grid,
        log_weights_y: Array,
        grid_x: Grid,
        log_weights_x: Array,
        epsilon: float,
        periodic: bool,
    ) -> SoftConjugate:
        r"""Prepare the kernels between two grids.

        Parameters
        ----------
        grid_y, grid_x : Grid
            The two grids, of one dimension; with as wide boxes if ``periodic``.
        log_weights_y, log_weights_x : array_like of the grids' shapes
            Logarithm of density times cell volume; minus infinity leaves a point out.
        epsilon : float
            Temperature, positive, in units of <x, y>.
        periodic : bool
            Whether both grids lie on one torus.

        Raises
        ------
        InputError
            If ``epsilon`` is not positive, or grids and weights do not fit together.
        """
        if not 0.0 < epsilon < math.inf:
            raise InputError(f"epsilon must be positive and finite, got {epsilon}")
        if grid_y.dim != grid_x.dim:
            raise InputError(
                f"both grids must have the same dimension, got {grid_y.dim} and {grid_x.dim}"
            )
        widths = grid_y.box.widths, grid_x.box.widths
        if periodic and not np.allclose(*widths, rtol=1e-12, atol=0.0):
            raise InputError(
                f"on a torus both boxes must have the same widths, got {widths[0]} and {widths[1]}"
            )
        # On the plane distances are those from the middles of the boxes: they are then small
        # numbers, wherever the two boxes lie. On a torus both must be from one point.
        centre_y, centre_x = (
            np.zeros(grid_y.dim) if periodic else np.array(grid.box.center)
            for grid in (grid_y, grid_x)
        )
        kernels = []
        for k, width in enumerate(widths[0]):
            distance = (grid_x.axis(k) - centre_x[k])[:, None] - (grid_y.axis(k) - centre_y[k])
            if periodic:
                kernels.append(_wrapped(distance, width, epsilon))
            else:
                kernels.append(-(distance**2) / (2.0 * epsilon))
        return cls(
            grid_y,
            grid_x,
            float(epsilon),
            periodic,
            _base(grid_y, centre_y, centre_x) - float(centre_x @ centre_y),
            _base(grid_x, centre_x, centre_y),
            _weights("log_weights_y", log_weights_y, grid_y),
            _weights("log_weights_x", log_weights_x, grid_x),
            tuple(kernels),
        )

    def to_second(self, kernels: Kernels, psi: Array) -> Array:
        r"""Return :math:`\phi` on ``grid_x``.

        :math:`\phi(x) = \varepsilon \log \sum_y w_y e^{(\langle x, y\rangle - \psi(y)) /
        \varepsilon}`.

        Parameters
        ----------
        kernels : Kernels
            Kernels of a backend.
        psi : array_like, shape of ``grid_y``
            Values at the centres y.

        Returns
        -------
        ndarray, shape of ``grid_x``
            Values at the centres x.
        """
        rows = self._exponents("psi", psi, self.grid_y, self.base_y, self.log_weights_y)
        return self.base_x + self.epsilon * _along_axes(kernels, self.log_kernels, rows)

    def to_first(self, kernels: Kernels, phi: Array) -> Array:
        r"""Return :math:`\psi` on ``grid_y``.

        :math:`\psi(y) = \varepsilon \log \sum_x w_x e^{(\langle x, y\rangle - \phi(x)) /
        \varepsilon}`.

        Parameters
        ----------
        kernels : Kernels
            Kernels of a backend.
        phi : array_like, shape of ``grid_x``
            Values at the centres x.

        Returns
        -------
        ndarray, shape of ``grid_y``
            Values at the centres y.
        """
        rows = self._exponents("phi", phi, self.grid_x, self.base_x, self.log_weights_x)
        return self.base_y + self.epsilon * _along_axes(kernels, self._backward, rows)

    def barycentre(self, kernels: Kernels, phi: Array) -> Array:
        r"""Return the gradient of `to_first`: :math:`T(y) = \mathrm{E}[X | y]`.

        X has the weights :math:`w_x e^{(\langle x, y\rangle - \phi(x)) / \varepsilon}`. On a torus
        the expectation is over all periodic images of x, so that :math:`T(y) - y` is periodic.

        Parameters
        ----------
        kernels : Kernels
            Kernels of a backend.
        phi : array_like, shape of ``grid_x``
            Values at the centres x.

        Returns
        -------
        ndarray, shape (*shape of ``grid_y``, d)
            The entropic map at the centres y.
        """
        rows = self._exponents("phi", phi, self.grid_x, self.base_x, self.log_weights_x)
        total = _along_axes(kernels, self._backward, rows)
        image = np.empty((*self.grid_y.shape, self.grid_y.dim))
        for k, (origin, moment) in enumerate(self._moments):
            mixed = (*self._backward[:k], moment, *self._backward[k + 1 :])
            mean = np.exp(_along_axes(kernels, mixed, rows) - total)
            along = [1] * self.grid_y.dim
            along[k] = -1
            image[..., k] = mean + np.reshape(origin, along)
        return image

    def log_marginal_ratio(self, kernels: Kernels, phi: Array, psi: Array) -> Array:
        r"""Return :math:`\log(\rho / \mu)`, the plan's second marginal over the measure on x.

        The plan has the weights :math:`w_x w_y e^{(\langle x, y\rangle - \phi(x) - \psi(y)) /
        \varepsilon}`; its second marginal is :math:`\rho = \mu\, e^{(\phi' - \phi) / \varepsilon}`
        with :math:`\phi'` the soft conjugate of :math:`\psi`. If :math:`\psi` is that of
        :math:`\phi` the first marginal is exact and this is all that Sinkhorn has not fitted.

        Parameters
        ----------
        kernels : Kernels
            Kernels of a backend.
        phi, psi : array_like, shapes of ``grid_x`` and ``grid_y``
            The two potentials.

        Returns
        -------
        ndarray, shape of ``grid_x``
            The logarithm at the centres x.
        """
        return (self.to_second(kernels, psi) - np.asarray(phi)) / self.epsilon

    def require_resolution(
        self, curvature_psi: float, curvature_phi: float, largest: float = 1e-13
    ) -> None:
        r"""Refuse grids whose sums are poor integrals.

        Parameters
        ----------
        curvature_psi, curvature_phi : float
            Largest second derivatives of the two potentials; :math:`\psi` is summed over
            ``grid_y`` and :math:`\phi` over ``grid_x``.
        largest : float
            Largest relative error allowed, by `resolution`; the default allows spacings of 0.8
            :math:`\sqrt{\varepsilon / q}`.

        Raises
        ------
        InputError
            If a spacing is too large; the text says by how much.
        """
        sums = (
            ("psi", "y", self.grid_y, curvature_psi),
            ("phi", "x", self.grid_x, curvature_phi),
        )
        for potential, points, grid, curvature in sums:
            for k, h in enumerate(grid.spacing):
                error = resolution(self.epsilon, curvature, h)
                if error <= largest:
                    continue
                # Errors below rounding need no finer grid, though an allowance of zero asks for it.
                nats = math.log(2.0 / max(largest, 1e-16))
                finest = math.pi * math.sqrt(2.0 * self.epsilon / (curvature * nats))
                raise InputError(
                    f"the grid of {points} is too coarse for epsilon={self.epsilon:g}: on axis {k} "
                    f"its spacing is {h:.3g}, and with second derivatives of {potential} up to "
                    f"{curvature:.3g} sums have the relative error {error:.1e}, above "
                    f"{largest:.1e}; take at least {math.ceil(grid.box.widths[k] / finest)} cells "
                    f"or epsilon={self.epsilon * (h / finest) ** 2:.3g}"
                )

    @cached_property
    def _backward(self) -> tuple[Array, ...]:
        """Log kernels with y as rows."""
        return tuple(np.ascontiguousarray(kernel.T) for kernel in self.log_kernels)

    @cached_property
    def _moments(self) -> tuple[tuple[Array, Array], ...]:
        """Origin and log kernel of the first moment about it, per axis, with y as rows.

        The origin lies to the left of all points x, so that moments are positive.
        """
        moments = []
        for k, kernel in enumerate(self._backward):
            x, y = self.grid_x.axis(k), self.grid_y.axis(k)
            if self.periodic:
                width = self.grid_y.box.widths[k]
                reach = (_images(width, self.epsilon) + 1) * width
                moment = _wrapped(x - y[:, None], width, self.epsilon, reach)
                moments.append((y - reach, moment))
            else:
                origin = x[0] - self.grid_x.spacing[k]
                moments.append((np.full(len(y), origin), kernel + np.log(x - origin)))
        return tuple(moments)

    def _exponents(
        self, name: str, potential: Array, grid: Grid, base: Array, log_weights: Array
    ) -> Array:
        """Return what is added to the log kernels under the sum over ``grid``."""
        values = np.asarray(potential, dtype=np.float64)
        if values.shape != grid.shape:
            raise InputError(f"{name} has shape {values.shape}, its grid has {grid.shape}")
        return (base - values) / self.epsilon + log_weights


def _along_axes(kernels: Kernels, log_kernels: tuple[Array, ...], values: Array) -> Array:
    """Return ``log sum_j exp(sum_k log_kernels[k][i_k, j_k] + values[j])``, axis by axis."""
    for axis in reversed(range(values.ndim)):
        lines = np.ascontiguousarray(np.moveaxis(values, axis, -1))
        m, n = log_kernels[axis].shape
        rows = kernels.asarray(lines.reshape(-1, n))
        sums = kernels.empty((len(rows), m))
        kernels.soft_conjugate_rows(kernels.asarray(log_kernels[axis]), rows, sums)
        values = np.moveaxis(kernels.to_numpy(sums).reshape(*lines.shape[:-1], m), -1, axis)
    return np.ascontiguousarray(values)


def _images(width: float, epsilon: float) -> int:
    """Return how many periods to either side of the nearest image count.

    The nearest image is at most half a width away, the one k periods on at least k - 1/2 widths.
    """
    return math.ceil(0.5 + math.sqrt(0.25 + 2.0 * _NEGLIGIBLE * epsilon / width**2))


def _wrapped(distance: Array, width: float, epsilon: float, reach: float | None = None) -> Array:
    r"""Return :math:`\log \sum_k e^{-d_k^2 / (2 \varepsilon)}` over :math:`d_k = d + k L`.

    With ``reach`` every image has the weight ``reach`` + d_k, which must be positive.
    """
    nearest = distance - width * np.round(distance / width)
    count = _images(width, epsilon)
    total = np.full(distance.shape, -np.inf)
    for k in range(-count, count + 1):
        image = nearest + k * width
        exponent = -(image**2) / (2.0 * epsilon)
        if reach is not None:
            exponent += np.log(image + reach)
        total = np.logaddexp(total, exponent)
    return total


def _base(grid: Grid, own: Array, other: Array) -> Array:
    """Return ``|z - own|^2 / 2 + <z, other>`` at the centres z of a grid."""
    parts = [
        0.5 * (axis - a) ** 2 + axis * b for axis, a, b in zip(grid.axes(), own, other, strict=True)
    ]
    return np.asarray(sum(np.meshgrid(*parts, indexing="ij")))


def _weights(name: str, values: Array, grid: Grid) -> Array:
    """Check log weights and return them as float64."""
    array = np.array(values, dtype=np.float64)
    if array.shape != grid.shape:
        raise InputError(f"{name} has shape {array.shape}, its grid has {grid.shape}")
    if not (np.all(array < np.inf) and np.any(array > -np.inf)):
        raise InputError(
            f"{name} must be numbers or minus infinity, and not all minus infinity; no nan"
        )
    return array
