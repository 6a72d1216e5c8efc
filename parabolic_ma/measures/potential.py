"""Measures given by a function: minus the log of a density, often known up to a constant only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures.grid_density import sample_cells
from parabolic_ma.measures.protocol import check_tail_mass
from parabolic_ma.measures.support import Landscape, find_support, survey
from parabolic_ma.measures.uniform import inside
from parabolic_ma.points import as_count, as_floats, as_points, generator, restore
from parabolic_ma.status import InputError, MissingExtraError, ParabolicMAError
from parabolic_ma.typing import Array, Rng

__all__ = ["Potential"]

_FRAMEWORKS = ("numpy", "torch")
_BATCH = 1 << 14
_QUADRATURE_CELLS = {1: 4096, 2: 256, 3: 48}
_QUADRATURE_TAIL = 1e-10


@dataclass(frozen=True, eq=False, init=False)
class Potential:
    r"""The measure with density proportional to :math:`e^{-f}`, for a function ``f`` of yours.

    Parameters
    ----------
    function : callable
        ``f``: takes points ``(n, d)`` (float64; a ``torch.Tensor`` for ``framework="torch"``) and
        returns ``(n,)`` values in nats.
    dim : int
        Dimension of the space.
    gradient : callable, optional
        Gradient of ``f``, ``(n, d) -> (n, d)``. By default automatic differentiation with torch,
        central differences of ``f`` otherwise.
    normalized : bool
        Whether ``e^{-f}`` integrates to one (over ``box``, if there is one).
    box : Box or sequence of (lower, upper), optional
        Where the measure lives; without it, on all of space.
    framework : {"numpy", "torch"}
        What ``function`` is written in.
    log_concave : bool, optional
        What you know about the density: it decides on which side a solver puts its grid.

    Raises
    ------
    InputError
        If the function returns the wrong shape, if a value is not finite where one is needed (the
        text says at which point), or a setting is not allowed.
    MissingExtraError
        If ``framework="torch"`` and torch is not installed.

    Notes
    -----
    Up to three dimensions `support`, `moments` and `sample` come from quadrature: the function is
    called on a few hundred thousand points, in batches of at most 16384. Above, `support` is taken
    from the Gaussians at the modes, and the other two are not available.
    """

    function: Callable[[Any], Any]
    dim: int
    normalized: bool
    box: Box | None
    framework: str
    log_concave: bool | None
    _given_gradient: Callable[[Any], Any] | None = field(repr=False)
    _supports: dict[float, Box] = field(repr=False)

    _TORCH_EXTRA: ClassVar[str] = "neural"

    def __init__(
        self,
        function: Callable[[Any], Any],
        dim: int,
        gradient: Callable[[Any], Any] | None = None,
        normalized: bool = False,
        box: Box | Sequence[Sequence[float]] | None = None,
        framework: str = "numpy",
        log_concave: bool | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"function must be callable on (n, d) points, got {function!r}")
        if gradient is not None and not callable(gradient):
            raise InputError(f"gradient must be callable on (n, d) points, got {gradient!r}")
        if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or dim < 1:
            raise InputError(f"dim must be a positive integer, got {dim!r}")
        if not isinstance(normalized, (bool, np.bool_)):
            raise InputError(f"normalized must be True or False, got {normalized!r}")
        if log_concave is not None and not isinstance(log_concave, (bool, np.bool_)):
            raise InputError(
                f"log_concave must be True, False or None for not known, got {log_concave!r}"
            )
        if framework not in _FRAMEWORKS:
            raise InputError(
                f"framework must be one of {', '.join(_FRAMEWORKS)}; got {framework!r}"
            )
        region = None if box is None else Box.of(box)
        if region is not None and region.dim != dim:
            raise InputError(f"box has {region.dim} axes, but dim is {dim}; give one pair per axis")
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "dim", int(dim))
        object.__setattr__(self, "normalized", bool(normalized))
        object.__setattr__(self, "box", region)
        object.__setattr__(self, "framework", framework)
        object.__setattr__(self, "log_concave", log_concave)
        object.__setattr__(self, "_given_gradient", gradient)
        object.__setattr__(self, "_supports", {})
        self._probe()

    @property
    def bounded(self) -> bool:
        """Whether the measure lives on a box."""
        return self.box is not None

    def potential(self, x: Array) -> Array:
        """``f`` at ``x``, shape ``(n,)``, in nats; ``inf`` outside the box, if there is one.

        Raises
        ------
        InputError
            If ``f`` is infinite or not a number at one of the points.
        """
        points, _ = as_points(x, self.dim, "x")
        if self.box is None:
            return self._finite(points)
        within = inside(self.box, points)
        values = np.full(len(points), np.inf)
        # A point within rounding of a face is put on it: f need not be defined beyond.
        values[within] = self._finite(np.clip(points[within], self.box.lower, self.box.upper))
        return values

    def gradient(self, x: Array) -> Array:
        """Gradient of ``f``, of the shape of ``x``; that of the nearest point outside a box."""
        points, form = as_points(x, self.dim, "x")
        if self.box is not None:
            points = np.clip(points, self.box.lower, self.box.upper)
        values = self._slope(points)
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"the gradient of the potential is {values[row].tolist()} at x = "
                f"{points[row].tolist()}; it must be finite where it is evaluated"
            )
        return restore(values, form)

    def support(self, tail_mass: float) -> Box:
        """Return the box given, or one outside of which there is about ``tail_mass``.

        Without a box, the modes are found from several starts; then the marginals are integrated
        on slices, and faces moved out and in until each cuts off about ``tail_mass / (2 d)``.
        """
        check_tail_mass(tail_mass)
        if self.box is not None:
            return self.box
        if tail_mass not in self._supports:
            self._supports[tail_mass] = self._search(tail_mass)
        return self._supports[tail_mass]

    def moments(self) -> tuple[Array, Array]:
        """Mean, shape ``(d,)``, and covariance, shape ``(d, d)``, by quadrature on the support."""
        mean, cov = self._moments
        return mean.copy(), cov.copy()

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` points, shape ``(n, d)``: a cell of the quadrature grid, then evenly in it.

        The points follow the density averaged over the cells: 4096 of them in 1D, 256^2 in 2D,
        48^3 in 3D, over the box that holds all but 1e-10 of the mass.
        """
        grid, masses = self._quadrature
        return sample_cells(grid, masses, as_count(n), generator(rng))

    @cached_property
    def _landscape(self) -> Landscape:
        return survey(self._anywhere, self._quiet_slope, self.dim)

    @cached_property
    def _quadrature(self) -> tuple[Grid, Array]:
        """Midpoint grid over the support, and the share of the mass of every cell, ``(size,)``."""
        if self.dim > 3:
            raise InputError(
                f"moments and samples of a Potential are computed by quadrature up to 3 axes; "
                f"this one has {self.dim}: give the reference explicitly, or use Samples"
            )
        box = self.support(_QUADRATURE_TAIL)
        grid = Grid(box, (_QUADRATURE_CELLS[self.dim],) * self.dim)
        values = self._anywhere(grid.points())
        masses = np.exp(values.min() - values)
        return grid, masses / masses.sum()

    @cached_property
    def _moments(self) -> tuple[Array, Array]:
        grid, masses = self._quadrature
        points = grid.points()
        mean = masses @ points
        shifted = points - mean
        return mean, (shifted * masses[:, None]).T @ shifted

    def _search(self, tail_mass: float) -> Box:
        if self.dim <= 3:
            return find_support(self._anywhere, self._landscape, tail_mass)
        from scipy.special import ndtri

        reach = -float(ndtri(tail_mass / (2 * self.dim)))
        half = reach * np.sqrt(np.diagonal(self._landscape.covs, axis1=1, axis2=2))
        lower = (self._landscape.modes - half).min(axis=0)
        upper = (self._landscape.modes + half).max(axis=0)
        return Box(tuple(lower), tuple(upper))

    def _probe(self) -> None:
        """Call the functions once, to refuse wrong shapes now rather than later in a run."""
        # Seven points, so that their number is no likely dimension.
        box = self.box or Box((-1.0,) * self.dim, (1.0,) * self.dim)
        fractions = np.linspace(0.2, 0.8, 7)[:, None]
        points = np.array(box.lower) + fractions * np.array(box.widths)
        with np.errstate(all="ignore"):
            self._values(points)
            self._slope(points[:2])

    def _values(self, points: Array) -> Array:
        """``f`` at the points, in batches, checked for shape only."""
        values = np.empty(len(points))
        for start in range(0, len(points), _BATCH):
            part = points[start : start + _BATCH]
            returned = self._call(part)
            if returned.shape != (len(part),):
                raise InputError(
                    f"the potential must map points of shape (n, {self.dim}) to values of shape "
                    f"(n,); given {part.shape} it returned {returned.shape}"
                )
            values[start : start + _BATCH] = returned
        return values

    def _call(self, points: Array) -> Array:
        # A copy: the caller's points are safe from a function that works in place.
        if self.framework == "numpy":
            return _returned(self.function, points.copy(), "the potential")
        torch = _import_torch(self._TORCH_EXTRA)
        with torch.no_grad():
            return _returned(self.function, torch.tensor(points), "the potential")

    def _finite(self, points: Array) -> Array:
        values = self._values(points)
        bad = ~np.isfinite(values)
        if bad.any():
            self._refuse(points, values, bad)
        return values

    def _anywhere(self, points: Array) -> Array:
        """``f`` for the search: ``inf`` means no mass, ``nan`` and ``-inf`` are refused."""
        with np.errstate(all="ignore"):
            values = self._values(points)
        bad = np.isnan(values) | (values == -np.inf)
        if bad.any():
            self._refuse(points, values, bad)
        return values

    def _refuse(self, points: Array, values: Array, bad: Array) -> None:
        row = int(np.argmax(bad))
        raise InputError(
            f"the potential is {values[row]} at x = {points[row].tolist()}, and unusable at "
            f"{int(bad.sum())} of {len(points)} points; it must be a finite number wherever the "
            "measure has mass: restrict the measure with box=, or mend the function there"
        )

    def _quiet_slope(self, points: Array) -> Array:
        with np.errstate(all="ignore"):
            return self._slope(points)

    def _slope(self, points: Array) -> Array:
        """Gradient ``(n, d)``: given, automatic, or by central differences."""
        if self._given_gradient is not None:
            if self.framework == "torch":
                torch = _import_torch(self._TORCH_EXTRA)
                values = _returned(self._given_gradient, torch.tensor(points), "the gradient")
            else:
                values = _returned(self._given_gradient, points.copy(), "the gradient")
            if values.shape != points.shape:
                raise InputError(
                    f"the gradient must map points of shape (n, {self.dim}) to the same shape; "
                    f"given {points.shape} it returned {values.shape}"
                )
            return values
        if self.framework == "torch":
            torch = _import_torch(self._TORCH_EXTRA)
            leaf = torch.tensor(points, requires_grad=True)
            return _returned(self._automatic, leaf, "the automatic gradient of the potential")
        return self._differences(points)

    def _automatic(self, leaf: Any) -> Any:
        """Gradient at a torch tensor that records what is done with it."""
        torch = _import_torch(self._TORCH_EXTRA)
        with torch.enable_grad():
            return torch.autograd.grad(self.function(leaf).sum(), leaf)[0]

    def _differences(self, points: Array) -> Array:
        """Central differences of ``f``; one-sided ones at the faces of the box."""
        count = len(points)
        # Error h^2 f''' / 6 + eps f / h is least at h of the order of eps^(1/3) times the scale.
        if self.box is not None:
            scale = np.broadcast_to(0.1 * np.array(self.box.widths), points.shape)
        else:
            scale = np.maximum(np.abs(points), 1.0)
        steps = np.finfo(float).eps ** (1 / 3) * scale
        above = np.repeat(points[None], self.dim, axis=0)
        below = above.copy()
        for k in range(self.dim):
            above[k, :, k] += steps[:, k]
            below[k, :, k] -= steps[:, k]
        if self.box is not None:
            above = np.minimum(above, self.box.upper)
            below = np.maximum(below, self.box.lower)
        values = self._values(np.concatenate([above, below]).reshape(-1, self.dim))
        upper, lower = values.reshape(2, self.dim, count)
        axes = range(self.dim)
        gaps = np.array([above[k, :, k] - below[k, :, k] for k in axes])
        return np.asarray(((upper - lower) / gaps).T)


def _returned(function: Callable[[Any], Any], points: Any, name: str) -> Array:
    """What a user's function returns, as a float64 array; its accidents as an `InputError`."""
    try:
        values = function(points)
    except ParabolicMAError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{name} raised {type(error).__name__}: {error}; it is called with points of shape "
            f"(n, d), here {tuple(points.shape)}, and must work for every n"
        ) from error
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return as_floats(values, f"what {name} returns")


def _import_torch(extra: str) -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtraError('A potential with framework="torch"', extra) from None
    return torch
