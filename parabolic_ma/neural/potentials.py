r"""Potentials with parameters, whose value, gradient and Hessian come from one forward sweep.

Transport needs ``log det Hess psi`` inside the loss. Nested automatic differentiation would build
the graph of a graph; here every network carries its second-order *jet*, the triple of value,
gradient and Hessian with respect to the point, through its layers, and one ordinary backward sweep
then differentiates the loss with respect to the parameters.

=====================  ===========================================================================
class                  is
=====================  ===========================================================================
`LogSumExp`            sum of soft maxima of convex quadratics: convex, closed form
`InputConvexNetwork`   input-convex neural network: convex by the signs of its weights
`MultilayerNetwork`    multilayer perceptron plus a quadratic: convex where it is found to be
`LogitNetwork`         log ratio of two densities
`SumPotential`         a flow's steps in the dual chart, added up
`ComposedPotential`    a flow's steps in the primal chart, composed
=====================  ===========================================================================
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from parabolic_ma.typing import Array

__all__ = [
    "ComposedPotential",
    "InputConvexNetwork",
    "Jet",
    "LogSumExp",
    "LogitNetwork",
    "MultilayerNetwork",
    "NeuralPotential",
    "SumPotential",
    "inverse_softplus",
    "make_potential",
    "rebuild_potential",
]


class Jet(NamedTuple):
    """A function with its first two derivatives at ``n`` points."""

    value: Tensor
    """Shape ``(n,)``."""
    gradient: Tensor
    """Shape ``(n, d)``."""
    hessian: Tensor
    """Shape ``(n, d, d)``."""

    def __add__(self, other: Any) -> Jet:
        return Jet(*(a + b for a, b in zip(self, other, strict=True)))

    def scaled(self, factor: float) -> Jet:
        """Return the jet of ``factor`` times the function."""
        return Jet(*(factor * part for part in self))


class NeuralPotential(nn.Module):
    """A function on ``R^dim`` with parameters; `jet` is all that a subclass must define."""

    kind: ClassVar[str]
    """What it is called in settings and files."""
    convex: ClassVar[bool]
    """Whether it is convex whatever its parameters."""
    dim: int

    def jet(self, y: Tensor) -> Jet:
        """Value, gradient and Hessian at the points ``y``, shape ``(n, dim)``."""
        raise NotImplementedError

    def forward(self, y: Tensor) -> Tensor:
        """Value at the points ``y``, shape ``(n,)``."""
        return self.jet(y).value

    def architecture(self) -> dict[str, Any]:
        """Return what `make_potential` needs to build the network again, without its weights."""
        raise NotImplementedError


def inverse_softplus(value: float) -> float:
    """Return the number whose softplus is ``value``."""
    return value + math.log(-math.expm1(-value))


class LogSumExp(NeuralPotential):
    r"""Sum of soft maxima of convex quadratics.

    .. math::
        \psi(y) = \tfrac a2 |y|^2 + \sum_{r=1}^{R} \tau_r \log \sum_{j=1}^{M}
            \exp\frac{\tfrac12 s_{rj} |y|^2 + \langle A_{rj}, y\rangle + c_{rj}}{\tau_r}

    with ``a, s, tau > 0``. With ``p`` the weights of the pieces (a softmax) and ``v_j = A_j + s_j
    y`` their slopes, the gradient is ``E_p v + a y`` and the Hessian ``Cov_p(v) / tau + (a + E_p s)
    I``, summed over the groups r: positive definite in closed form. The ``A`` are places in the
    target, ``c`` moves mass between them and ``tau`` is the sharpness of the borders.

    Parameters
    ----------
    dim : int
        Dimension of the space.
    pieces : int
        ``M``, pieces in a group.
    groups : int
        ``R``.
    """

    kind = "lse"
    convex = True

    def __init__(self, dim: int, pieces: int = 24, groups: int = 2) -> None:
        super().__init__()
        self.dim, self.pieces, self.groups = dim, pieces, groups
        self.slopes = nn.Parameter(torch.randn(groups, pieces, dim) / groups)
        self.offsets = nn.Parameter(torch.zeros(groups, pieces))
        self.raw_curvatures = nn.Parameter(
            torch.full((groups, pieces), inverse_softplus(0.5 / groups))
        )
        self.raw_sharpness = nn.Parameter(torch.full((groups,), inverse_softplus(1.0)))
        self.raw_quadratic = nn.Parameter(torch.tensor(inverse_softplus(0.1)))

    def architecture(self) -> dict[str, Any]:
        """Return the numbers of dimensions, pieces and groups."""
        return {"kind": self.kind, "dim": self.dim, "pieces": self.pieces, "groups": self.groups}

    def _exponent(self, y: Tensor) -> Tensor:
        """What the soft maxima are taken of, over tau, shape ``(R, n, M)``."""
        half = 0.5 * (y * y).sum(-1)[:, None]
        s = functional.softplus(self.raw_curvatures)[:, None]
        tau = functional.softplus(self.raw_sharpness)[:, None, None]
        return (y @ self.slopes.mT + self.offsets[:, None] + half * s) / tau

    def forward(self, y: Tensor) -> Tensor:
        """Value at the points ``y``, shape ``(n,)``."""
        tau = functional.softplus(self.raw_sharpness)[:, None]
        a = functional.softplus(self.raw_quadratic)
        half = 0.5 * (y * y).sum(-1)
        return (tau * torch.logsumexp(self._exponent(y), -1)).sum(0) + a * half

    def shares(self, y: Tensor) -> Tensor:
        """Weights of the pieces at ``y``: shape ``(R, n, M)``, of sum one over the pieces."""
        return torch.softmax(self._exponent(y), -1)

    def jet(self, y: Tensor) -> Jet:
        """Value, gradient and Hessian at ``y``, shape ``(n, dim)``."""
        n, d = y.shape
        A, s = self.slopes, functional.softplus(self.raw_curvatures)
        tau = functional.softplus(self.raw_sharpness)[:, None]
        half = 0.5 * (y * y).sum(-1)
        exponent = self._exponent(y)
        value = (tau * torch.logsumexp(exponent, -1)).sum(0)
        p = torch.softmax(exponent, -1)
        # every moment of the slopes is one product of the weights with a table of the pieces
        outer = (A[..., :, None] * A[..., None, :]).flatten(-2)
        table = torch.cat([A, s[..., None], s[..., None] * A, (s * s)[..., None], outer], -1)
        moment = p @ table
        mean_a, mean_s, mean_sa, mean_ss, mean_aa = moment.split([d, 1, d, 1, d * d], -1)
        mean = mean_a + mean_s * y
        cross = mean_sa[..., :, None] * y[:, None, :]
        square = y[:, :, None] * y[:, None, :]
        second = mean_aa.view(self.groups, n, d, d) + cross + cross.mT + mean_ss[..., None] * square
        covariance = (second - mean[..., :, None] * mean[..., None, :]) / tau[:, :, None, None]
        a = functional.softplus(self.raw_quadratic)
        diagonal = a + mean_s.sum(0)
        return Jet(
            value + a * half,
            mean.sum(0) + a * y,
            covariance.sum(0) + torch.diag_embed(diagonal.expand(n, d)),
        )

    def parameter_jacobian(self, y: Tensor, c: Tensor, C: Tensor | None = None) -> Tensor:
        r"""Derivatives of ``<c, grad h> + <C, Hess h>`` by the parameters, one row a point.

        With ``m = E_p v`` the covariance is ``E_p (v - m)(v - m)^T``, whose derivative by m is
        zero. The form is therefore ``E_p w``, of which the softmax moves with the centred w,

        .. math:: w_j = \langle c, v_j\rangle + s_j \operatorname{tr} C + q_j / \tau, \qquad
                  q_j = \langle v_j - m, C (v_j - m)\rangle .

        Parameters
        ----------
        y, c : Tensor, shape (n, d)
        C : Tensor, shape (n, d, d), optional

        Returns
        -------
        Tensor, shape (n, P)
            In the order of ``parameters()``.
        """
        with torch.no_grad():
            n = len(y)
            C = torch.zeros(n, self.dim, self.dim, dtype=y.dtype) if C is None else C
            C = 0.5 * (C + C.mT)  # a Hessian sees no more of it
            s = functional.softplus(self.raw_curvatures)[:, None, :, None]
            tau = functional.softplus(self.raw_sharpness)[:, None, None]
            exponent = self._exponent(y)
            p = torch.softmax(exponent, -1)
            # pieces' slopes, shape (R, n, M, d)
            v = self.slopes[:, None] + s * y[:, None]
            off = v - p[..., None, :] @ v
            pulled = off @ C
            q = (off * pulled).sum(-1)
            trace = C.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None]
            w = (v @ c[..., None])[..., 0] + s[..., 0] * trace + q / tau
            tilt = p * (w - (p * w).sum(-1, keepdim=True)) / tau
            half = 0.5 * (y * y).sum(-1)[:, None]
            along = (c * y).sum(-1)[:, None] + trace
            by_slope = tilt[..., None] * y[:, None] + p[..., None] * (
                c[:, None] + (2.0 / tau)[..., None] * pulled
            )
            by_curvature = tilt * half + p * (along + 2.0 / tau * (pulled @ y[..., None])[..., 0])
            by_sharpness = -(tilt * exponent + p * q / tau**2).sum(-1)
            # chain rule through softplus
            by_curvature = by_curvature * torch.sigmoid(self.raw_curvatures)[:, None]
            by_sharpness = by_sharpness * torch.sigmoid(self.raw_sharpness)[:, None]
            by_quadratic = along * torch.sigmoid(self.raw_quadratic)
            by_group = (by_slope, tilt, by_curvature, by_sharpness)
            return torch.cat(
                [g.transpose(0, 1).reshape(n, -1) for g in by_group] + [by_quadratic], 1
            )


class _Activation(NamedTuple):
    """A smooth function with its first two derivatives."""

    value: Tensor
    first: Tensor
    second: Tensor


def _tanh(x: Tensor) -> _Activation:
    t = torch.tanh(x)
    first = 1.0 - t * t
    return _Activation(t, first, -2.0 * t * first)


def _softplus(x: Tensor) -> _Activation:
    first = torch.sigmoid(x)
    return _Activation(functional.softplus(x), first, first * (1.0 - first))


class _Layer(NamedTuple):
    """Jet of a layer: value ``(n, h)``, gradient ``(n, d, h)``, Hessian ``(n, d (d + 1) / 2, h)``.

    Of a symmetric Hessian the upper triangle is carried, row by row.
    """

    value: Tensor
    gradient: Tensor
    hessian: Tensor

    def activated(self, rule: Any, rows: Tensor, columns: Tensor) -> _Layer:
        """Return the jet of an activation of this layer, by the chain rule."""
        value, first, second = rule(self.value)
        first, second = first[:, None], second[:, None]
        product = self.gradient[:, rows] * self.gradient[:, columns]
        return _Layer(value, first * self.gradient, second * product + first * self.hessian)

    def linear(self, weight: Tensor) -> _Layer:
        """Return the jet of a linear image of this layer."""
        n, d, width = self.gradient.shape
        stacked = torch.cat([self.value[:, None], self.gradient, self.hessian], 1)
        image = (stacked.reshape(-1, width) @ weight.mT).view(n, -1, weight.shape[0])
        return _Layer(image[:, 0], image[:, 1 : 1 + d], image[:, 1 + d :])


def _triangle(dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and columns of the upper triangle, and where each entry of a matrix lies in it."""
    rows, columns = torch.triu_indices(dim, dim)
    place = torch.empty(dim, dim, dtype=torch.long)
    place[rows, columns] = place[columns, rows] = torch.arange(len(rows))
    return rows, columns, place.flatten()


class _JetNetwork(NeuralPotential):
    """What the two layered networks share: the first layer, the last sum, the quadratic."""

    def __init__(self, dim: int, width: int, depth: int) -> None:
        super().__init__()
        self.dim, self.width, self.depth = dim, width, depth
        rows, columns, place = _triangle(dim)
        self.register_buffer("_rows", rows, persistent=False)
        self.register_buffer("_columns", columns, persistent=False)
        self.register_buffer("_place", place, persistent=False)
        self.linear = nn.Parameter(torch.zeros(dim))
        self.raw_quadratic = nn.Parameter(torch.full((dim,), inverse_softplus(1.0)))

    def architecture(self) -> dict[str, Any]:
        """Return the numbers of dimensions, units in a layer, and layers."""
        return {"kind": self.kind, "dim": self.dim, "width": self.width, "depth": self.depth}

    def _first(self, y: Tensor, weight: Tensor, bias: Tensor) -> _Layer:
        n, pairs = len(y), len(self._rows)
        slope = weight.mT.expand(n, -1, -1)
        return _Layer(y @ weight.mT + bias, slope, y.new_zeros(n, pairs, len(weight)))

    def _closed(self, y: Tensor, hidden: _Layer, output: Tensor) -> Jet:
        """Sum the last layer and add the quadratic."""
        n, d = y.shape
        Q = self._quadratic()
        value = hidden.value @ output + self._parabola(y)
        gradient = hidden.gradient @ output + self.linear + y @ Q
        hessian = (hidden.hessian @ output)[:, self._place].view(n, d, d) + Q
        return Jet(value, gradient, hessian)

    def _quadratic(self) -> Tensor:
        """Hessian of the quadratic part, shape ``(d, d)``."""
        return torch.diag(functional.softplus(self.raw_quadratic))

    def _parabola(self, y: Tensor) -> Tensor:
        """Value of the quadratic part."""
        return y @ self.linear + 0.5 * ((y @ self._quadratic()) * y).sum(-1)


class MultilayerNetwork(_JetNetwork):
    r"""Multilayer perceptron plus a quadratic.

    .. math:: \psi(y) = \tfrac12\langle y, a y\rangle + \langle b, y\rangle + \mathrm{MLP}(y)

    with ``a > 0``. Its map is affine at infinity, the units (hyperbolic tangents) being constant
    there. Nothing keeps it convex: training must, and its result be checked.

    Parameters
    ----------
    dim : int
        Dimension of the space.
    width, depth : int
        Units in a hidden layer, and hidden layers.
    """

    kind = "mlp"
    convex = False

    def __init__(self, dim: int, width: int = 64, depth: int = 2) -> None:
        super().__init__(dim, width, depth)
        sizes = [dim, *[width] * depth]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(m, n) / math.sqrt(n)) for n, m in pairwise(sizes)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.randn(m)) for m in sizes[1:])
        self.output = nn.Parameter(0.1 * torch.randn(width) / math.sqrt(width))

    def _hidden(self, y: Tensor) -> Tensor:
        """Values of the last hidden layer, shape ``(n, width)``."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            y = torch.tanh(y @ weight.mT + bias)
        return y

    def forward(self, y: Tensor) -> Tensor:
        """Value at the points ``y``, shape ``(n,)``."""
        return self._hidden(y) @ self.output + self._parabola(y)

    def jet(self, y: Tensor) -> Jet:
        """Value, gradient and Hessian at ``y``, shape ``(n, dim)``."""
        layer = self._first(y, self.weights[0], self.biases[0])
        layer = layer.activated(_tanh, self._rows, self._columns)
        # lists: a slice of a ParameterList makes new parameters, cut off from the graph
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            layer = layer.linear(weight)
            layer = layer._replace(value=layer.value + bias)
            layer = layer.activated(_tanh, self._rows, self._columns)
        return self._closed(y, layer, self.output)


class InputConvexNetwork(_JetNetwork):
    r"""Input-convex network: softplus layers, non-negative weights between them, a quadratic.

    .. math::
        z_1 = \sigma(V_0 y + b_0), \qquad z_{l+1} = \sigma(W_l z_l + V_l y + b_l), \quad W_l \ge 0,

    and :math:`\psi = \langle w, z_L\rangle + \langle b, y\rangle + \tfrac12\langle y, a y\rangle`
    with ``w, a >= 0``: convex, since softplus is convex and increasing.

    Parameters
    ----------
    dim : int
        Dimension of the space.
    width, depth : int
        Units in a hidden layer, and hidden layers.

    References
    ----------
    B. Amos, L. Xu and J. Z. Kolter, Input convex neural networks, ICML 2017.
    """

    kind = "icnn"
    convex = True

    def __init__(self, dim: int, width: int = 64, depth: int = 2) -> None:
        super().__init__(dim, width, depth)
        self.skips = nn.ParameterList(nn.Parameter(torch.randn(width, dim)) for _ in range(depth))
        self.biases = nn.ParameterList(nn.Parameter(torch.randn(width)) for _ in range(depth))
        start = inverse_softplus(1.0 / width)
        self.raw_weights = nn.ParameterList(
            nn.Parameter(torch.full((width, width), start) + 0.1 * torch.randn(width, width))
            for _ in range(depth - 1)
        )
        self.raw_output = nn.Parameter(torch.full((width,), start))

    def forward(self, y: Tensor) -> Tensor:
        """Value at the points ``y``, shape ``(n,)``."""
        hidden = functional.softplus(y @ self.skips[0].mT + self.biases[0])
        for raw, skip, bias in zip(
            self.raw_weights, list(self.skips)[1:], list(self.biases)[1:], strict=True
        ):
            inner = hidden @ functional.softplus(raw).mT + y @ skip.mT + bias
            hidden = functional.softplus(inner)
        return hidden @ functional.softplus(self.raw_output) + self._parabola(y)

    def jet(self, y: Tensor) -> Jet:
        """Value, gradient and Hessian at ``y``, shape ``(n, dim)``."""
        layer = self._first(y, self.skips[0], self.biases[0])
        layer = layer.activated(_softplus, self._rows, self._columns)
        for raw, skip, bias in zip(
            self.raw_weights, list(self.skips)[1:], list(self.biases)[1:], strict=True
        ):
            layer = layer.linear(functional.softplus(raw))
            layer = layer._replace(
                value=layer.value + y @ skip.mT + bias, gradient=layer.gradient + skip.mT
            )
            layer = layer.activated(_softplus, self._rows, self._columns)
        return self._closed(y, layer, functional.softplus(self.raw_output))


class LogitNetwork(MultilayerNetwork):
    r"""Multilayer perceptron plus any quadratic: the logit between two densities.

    The log ratio of two Gaussians is a quadratic, so the perceptron has to learn the rest only.

    Parameters
    ----------
    dim : int
        Dimension of the space.
    width, depth : int
        Units in a hidden layer, and hidden layers.
    """

    kind = "logit"

    def __init__(self, dim: int, width: int = 64, depth: int = 2) -> None:
        super().__init__(dim, width, depth)
        del self.raw_quadratic
        self.symmetric = nn.Parameter(torch.zeros(dim, dim))
        self.constant = nn.Parameter(torch.zeros(()))

    def _quadratic(self) -> Tensor:
        return self.symmetric + self.symmetric.mT

    def _parabola(self, y: Tensor) -> Tensor:
        return super()._parabola(y) + self.constant

    def forward(self, y: Tensor) -> Tensor:
        """Value at ``y``, shape ``(n,)``, without its derivatives."""
        return self._hidden(y) @ self.output + self._parabola(y)


class _Terms(NeuralPotential):
    """What is built of logits with factors, one a step of a flow."""

    def __init__(self, dim: int, count: int = 0, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.dim, self.width, self.depth = dim, width, depth
        self.terms = nn.ModuleList(LogitNetwork(dim, width, depth) for _ in range(count))
        self.register_buffer("factors", torch.zeros(count))

    def architecture(self) -> dict[str, Any]:
        """Return the number of dimensions and terms, and the size of a term."""
        return {
            "kind": self.kind,
            "dim": self.dim,
            "count": len(self.terms),
            "width": self.width,
            "depth": self.depth,
        }

    def extended(self, term: LogitNetwork, factor: float) -> Any:
        """Return this with one more term; the others are shared."""
        new = type(self)(self.dim, 0, self.width, self.depth)
        new.terms.extend([*self.terms, term])
        new.factors = torch.cat([self.factors, self.factors.new_tensor([factor])])
        return new


class SumPotential(_Terms):
    r"""Half the square plus logits, :math:`	frac12 |v|^2 + \sum_k a_k h_k(v)`: the dual flow.

    In the dual chart the step is ``phi + eta h`` at the point itself: no composition, linear cost.
    """

    kind = "sum"
    convex = False

    def jet(self, y: Tensor) -> Jet:
        """Value, gradient and Hessian at ``y``, shape ``(n, dim)``."""
        unit = torch.eye(self.dim, dtype=y.dtype).expand(len(y), -1, -1)
        total = Jet(0.5 * (y * y).sum(-1), y, unit)
        for factor, term in zip(self.factors, self.terms, strict=True):
            total += term.jet(y).scaled(float(factor))
        return total


class ComposedPotential(_Terms):
    r"""The primal flow without approximation: each step is composed with the last one's map.

    .. math:: \psi_{k+1} = \psi_k - a_k h_k\circ\nabla\psi_k

    Each step takes a gradient of the last one, so that the cost multiplies by about four a step: an
    oracle for a handful of steps and nothing else.
    """

    kind = "composed"
    convex = False

    def jet(self, y: Tensor) -> Jet:
        """Value, gradient and Hessian at ``y``, shape ``(n, dim)``, by nested differentiation."""
        from torch.func import grad, grad_and_value, jacfwd, vmap

        def potential(count: int) -> Any:
            if count == 0:
                return lambda z: 0.5 * (z * z).sum()
            before, term, factor = potential(count - 1), self.terms[count - 1], count - 1

            def value(z: Tensor) -> Tensor:
                slope, height = grad_and_value(before)(z)
                return height - self.factors[factor] * term(slope[None])[0]

            return value

        psi = potential(len(self.terms))
        gradient, value = vmap(grad_and_value(psi))(y)
        return Jet(value, gradient, vmap(jacfwd(grad(psi)))(y))


_KINDS: dict[str, Any] = {
    cls.kind: cls
    for cls in (
        LogSumExp,
        MultilayerNetwork,
        InputConvexNetwork,
        LogitNetwork,
        SumPotential,
        ComposedPotential,
    )
}


def make_potential(architecture: dict[str, Any]) -> NeuralPotential:
    """Build an untrained network of what `NeuralPotential.architecture` tells."""
    settings = dict(architecture)
    network: NeuralPotential = _KINDS[settings.pop("kind")](**settings)
    return network


def rebuild_potential(architecture: dict[str, Any], weights: dict[str, Array]) -> NeuralPotential:
    """Build a network with given weights, in float64 and without gradients.

    Raises
    ------
    RuntimeError
        If the weights are not those of this architecture.
    """
    network = make_potential(architecture).double()
    network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return network.requires_grad_(requires_grad=False)
