"""Transport maps that are gradients of networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.maps import to_torch
from parabolic_ma.neural.determinant import log_determinant
from parabolic_ma.neural.frame import Frame
from parabolic_ma.neural.potentials import Jet, NeuralPotential
from parabolic_ma.points import as_points, restore
from parabolic_ma.typing import Array

__all__ = ["NeuralMap", "invert_gradient"]

_CHUNK = 4096  # points at a time
_STARTS = 1024  # candidates for the start of an inversion
_MOST_NEWTON = 60
_MOST_HALVINGS = 30
_MET = 1e-6  # relative, beyond which an inverse was not found and is nan


@dataclass(frozen=True, eq=False)
class NeuralMap:
    """The gradient of a network's potential, and its inverse by Newton's method.

    Evaluated in float64, whatever the network was trained in.

    Attributes
    ----------
    network : NeuralPotential
        ``h`` of the frame, in float64.
    frame : Frame
        Coordinates of the network's own side.
    side : {"reference", "target"}
        The side whose potential the network is: psi on the reference, phi on the target.
    """

    network: NeuralPotential
    frame: Frame
    side: str = "reference"
    _starts: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, repr=False)

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.frame.dim

    def __call__(self, y: Array) -> Array:
        """Image ``T(y)``, of the shape of ``y``."""
        points, form = as_points(y, self.dim, "y")
        move = self._along if self.side == "reference" else self._back
        return restore(_in_parts(move, points), form)

    def inverse(self, x: Array) -> Array:
        """Preimage ``S(x)``, of the shape of ``x``; nan where none was found."""
        points, form = as_points(x, self.dim, "x")
        move = self._back if self.side == "reference" else self._along
        return restore(_in_parts(move, points), form)

    def log_abs_det_jacobian(self, y: Array) -> Array:
        """``log det Hess psi`` at ``y``, shape ``(n,)``; nan where the potential is not convex."""
        points, _ = as_points(y, self.dim, "y")
        if self.side == "reference":
            return _in_parts(self._own_log_det, points)
        return -_in_parts(self._own_log_det, _in_parts(self._back, points))

    def potential(self, y: Array) -> Array:
        """``psi(y)``, shape ``(n,)``."""
        points, _ = as_points(y, self.dim, "y")
        return _in_parts(self._own if self.side == "reference" else self._other, points)

    def conjugate(self, x: Array) -> Array:
        """``phi(x)``, shape ``(n,)``."""
        points, _ = as_points(x, self.dim, "x")
        return _in_parts(self._other if self.side == "reference" else self._own, points)

    def hessian(self, y: Array) -> Array:
        """Jacobian of the map, ``Hess psi`` at ``y``, shape ``(n, d, d)``."""
        points, _ = as_points(y, self.dim, "y")
        if self.side == "reference":
            return _in_parts(self._own_hessian, points)
        return np.linalg.inv(_in_parts(self._own_hessian, _in_parts(self._back, points)))

    def to_torch(self) -> Any:
        """Return the map as a ``torch.distributions.Transform``."""
        return to_torch(self)

    def _jet(self, points: Array) -> Jet:
        with torch.no_grad():
            return self.network.jet(self.frame.encode(points))

    def _along(self, points: Array) -> Array:
        """Gradient of the network's potential."""
        return self.frame.decode(self._jet(points).gradient)

    def _back(self, points: Array) -> Array:
        """Inverse of `_along`."""
        if not self._starts:  # a sample of the network's side, drawn once
            rng = torch.Generator().manual_seed(0)
            wide = 1.5 * torch.randn(_STARTS, self.dim, generator=rng, dtype=torch.float64)
            with torch.no_grad():
                self._starts.append((wide, self.network.jet(wide).value))
        wanted = self.frame.encode_image(points)
        found = invert_gradient(self.network, torch.nan_to_num(wanted), *self._starts[0])
        with torch.no_grad():
            off = (self.network.jet(found).gradient - wanted).abs().amax(-1)
        met = off <= _MET * (1.0 + wanted.abs().amax(-1))  # False where a point is no number
        return self.frame.decode_source(torch.where(met[:, None], found, math.nan))

    def _own(self, points: Array) -> Array:
        values = self.frame.scale**2 * self._jet(points).value.numpy()
        return values + points @ self.frame.image

    def _other(self, points: Array) -> Array:
        source = self._back(points)
        return np.sum(points * source, axis=-1) - self._own(source)

    def _own_hessian(self, points: Array) -> Array:
        P = torch.from_numpy(self.frame.axes)
        return np.asarray((P @ self._jet(points).hessian @ P.mT).numpy())

    def _own_log_det(self, points: Array) -> Array:
        hessian = self._jet(points).hessian
        found = log_determinant(hessian)
        value = found.value.numpy() + self.frame.log_det
        if not found.convex:
            smallest = torch.linalg.eigvalsh(torch.nan_to_num(hessian))[:, 0].numpy()
            value = np.where(smallest > 0.0, value, np.nan)
        return np.asarray(value)


def _in_parts(function: Any, points: Array) -> Array:
    """Apply a function to a few thousand points at a time."""
    if len(points) <= _CHUNK:
        return np.asarray(function(points))
    parts = [function(points[k : k + _CHUNK]) for k in range(0, len(points), _CHUNK)]
    return np.concatenate(parts)


def invert_gradient(
    network: NeuralPotential,
    wanted: Tensor,
    starts: Tensor,
    heights: Tensor | None = None,
    steps: int = _MOST_NEWTON,
) -> Tensor:
    r"""Solve ``grad h(z) = v`` by damped Newton: z maximises the concave ``<v, z> - h(z)``.

    Parameters
    ----------
    network : NeuralPotential
        ``h``.
    wanted : Tensor, shape (n, d)
        ``v``.
    starts : Tensor
        One start a point, shape ``(n, d)``, if ``heights`` is None; otherwise candidates ``(k, d)``
        for all points, of which each takes the one with the largest value.
    heights : Tensor, shape (k,), optional
        ``h`` at the candidates.
    steps : int
        Most Newton steps.

    Returns
    -------
    Tensor, shape (n, d)
        Where the gradient is not met to rounding after ``steps``, the best point found.
    """
    rounding = torch.finfo(wanted.dtype).eps
    tolerance, slack = rounding**0.7, 500.0 * rounding
    with torch.no_grad():
        if heights is None:
            z = starts.clone()
        else:
            z = starts[(wanted @ starts.mT - heights).argmax(1)].clone()
        active = torch.arange(len(z))
        jet = network.jet(z)
        for _ in range(steps):
            slope = wanted[active] - jet.gradient
            size = 1.0 + wanted[active].abs().amax(-1)
            rising = slope.abs().amax(-1) > tolerance * size
            if not bool(rising.any()):
                break
            active, slope, size = active[rising], slope[rising], size[rising]
            jet = Jet(*(part[rising] for part in jet))
            v, here = wanted[active], z[active]
            direction = (log_determinant(jet.hessian).slope @ slope[..., None])[..., 0]
            height = (v * here).sum(-1) - jet.value
            promised = 1e-4 * (direction * slope).sum(-1)
            allowed = slack * (size + height.abs())
            length = torch.ones_like(height)
            place = here + direction
            jet = network.jet(place)
            short = torch.arange(len(v))
            for _ in range(_MOST_HALVINGS):
                gained = (v[short] * place[short]).sum(-1) - jet.value[short] - height[short]
                enough = gained >= length[short] * promised[short] - allowed[short]
                short = short[~enough]
                if not len(short):
                    break
                length[short] *= 0.5
                place[short] = here[short] + length[short, None] * direction[short]
                for part, new in zip(jet, network.jet(place[short]), strict=True):
                    part[short] = new
            z[active] = place
        return z
