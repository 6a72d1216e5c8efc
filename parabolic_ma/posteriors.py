"""Bayesian posteriors with known evidence, in unconstrained coordinates.

Every density has its full constants, and half-priors are not renormalised. A scale enters by its
logarithm, with the Jacobian in the density. The data are from posteriordb (``data/README.md``).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
from scipy.special import expit

from parabolic_ma import datasets
from parabolic_ma.measures import Gaussian, Potential, Standardised
from parabolic_ma.problem import TransportProblem
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["Posterior", "names", "posterior"]

_LOG_TWO_PI = math.log(2 * math.pi)
_SCALE_PRIORS = {"flat": math.inf, "normal": 10.0, "cauchy": 2.5}


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Posterior of ``y ~ N(X beta, sigma)`` in ``(beta, log sigma)``, from sufficient statistics.

    Parameters
    ----------
    design : ndarray, shape (n, k)
    response : ndarray, shape (n,)
    scale_prior : {"flat", "normal", "cauchy"}
        Prior of sigma: constant 1, N(0, 10) or Cauchy(0, 2.5), on the positive half without
        renormalisation.
    prior_mean, prior_sd : ndarray, shape (k,), optional
        Independent normal priors of the coefficients; without them the prior is constant 1.
    """

    design: Array
    response: Array
    scale_prior: Literal["flat", "normal", "cauchy"] = "flat"
    prior_mean: Array | None = None
    prior_sd: Array | None = None
    _factor: Array = field(init=False, repr=False)
    _fit: Array = field(init=False, repr=False)
    _residue: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # By QR: the normal equations would lose the digits of nearly collinear columns.
        orthogonal, factor = np.linalg.qr(self.design)
        fit = np.linalg.solve(factor, orthogonal.T @ self.response)
        object.__setattr__(self, "_factor", factor)
        object.__setattr__(self, "_fit", fit)
        residue = self.response - self.design @ fit
        object.__setattr__(self, "_residue", float(residue @ residue))

    def potential(self, x: Array) -> Array:
        """Minus log posterior density at ``(beta, log sigma)``, ``(n, k + 1)`` to ``(n,)``."""
        beta, log_scale = x[:, :-1], x[:, -1]
        count = len(self.response)
        off = (beta - self._fit) @ self._factor.T
        squares = self._residue + np.einsum("ni,ni->n", off, off)
        result = 0.5 * count * _LOG_TWO_PI + (count - 1) * log_scale
        result += 0.5 * squares * np.exp(-2 * log_scale)
        if self.prior_mean is not None and self.prior_sd is not None:
            white = (beta - self.prior_mean) / self.prior_sd
            result += 0.5 * np.einsum("ni,ni->n", white, white)
            result += float(np.log(self.prior_sd).sum()) + 0.5 * beta.shape[1] * _LOG_TWO_PI
        return np.asarray(result + self._scale_potential(log_scale))

    def gradient(self, x: Array) -> Array:
        """Gradient of the potential, ``(n, k + 1)``."""
        beta, log_scale = x[:, :-1], x[:, -1]
        off = (beta - self._fit) @ self._factor.T
        precision = np.exp(-2 * log_scale)
        squares = self._residue + np.einsum("ni,ni->n", off, off)
        result = np.empty_like(x, dtype=np.float64)
        result[:, :-1] = (off @ self._factor) * precision[:, None]
        if self.prior_mean is not None and self.prior_sd is not None:
            result[:, :-1] += (beta - self.prior_mean) / self.prior_sd**2
        result[:, -1] = len(self.response) - 1 - squares * precision
        result[:, -1] += self._scale_slope(log_scale)
        return result

    def constrain(self, x: Array) -> Array:
        """Return ``(beta, sigma)`` for ``(beta, log sigma)``, ``(n, k + 1)``."""
        return np.concatenate([x[:, :-1], np.exp(x[:, -1:])], axis=1)

    def _scale_potential(self, log_scale: Array) -> Array | float:
        width = _SCALE_PRIORS[self.scale_prior]
        if self.scale_prior == "flat":
            return 0.0
        log_ratio = 2 * (log_scale - math.log(width))
        if self.scale_prior == "normal":
            return 0.5 * np.exp(log_ratio) + math.log(width) + 0.5 * _LOG_TWO_PI
        return np.logaddexp(0.0, log_ratio) + math.log(math.pi * width)

    def _scale_slope(self, log_scale: Array) -> Array | float:
        if self.scale_prior == "flat":
            return 0.0
        log_ratio = 2 * (log_scale - math.log(_SCALE_PRIORS[self.scale_prior]))
        return np.exp(log_ratio) if self.scale_prior == "normal" else 2 * expit(log_ratio)


@dataclass(frozen=True, eq=False)
class EightSchools:
    """The hierarchical model of eight schools, non-centred: ``(theta_trans, mu, log tau)``.

    Parameters
    ----------
    effects, errors : ndarray, shape (8,)
        Estimated effects and their standard errors.
    """

    effects: Array
    errors: Array

    def potential(self, x: Array) -> Array:
        """Minus log posterior density, ``(n, 10)`` to ``(n,)``."""
        raw, mu, log_tau = x[:, :-2], x[:, -2], x[:, -1]
        white = (self.effects - self._effects(x)) / self.errors
        constant = (len(self.effects) + 0.5) * _LOG_TWO_PI + float(np.log(self.errors).sum())
        constant += math.log(5.0) + math.log(5.0 * math.pi)
        result = 0.5 * np.einsum("ni,ni->n", raw, raw) + 0.5 * np.einsum("ni,ni->n", white, white)
        result += 0.5 * (mu / 5.0) ** 2
        result += np.logaddexp(0.0, 2 * (log_tau - math.log(5.0))) - log_tau
        return np.asarray(result + constant)

    def gradient(self, x: Array) -> Array:
        """Gradient of the potential, ``(n, 10)``."""
        raw, mu, log_tau = x[:, :-2], x[:, -2], x[:, -1]
        tau = np.exp(log_tau)
        pull = (self._effects(x) - self.effects) / self.errors**2
        prior = 2 * expit(2 * (log_tau - math.log(5.0)))
        result = np.empty_like(x, dtype=np.float64)
        result[:, :-2] = raw + tau[:, None] * pull
        result[:, -2] = mu / 25.0 + pull.sum(axis=1)
        result[:, -1] = tau * np.einsum("ni,ni->n", pull, raw) + prior - 1
        return result

    def constrain(self, x: Array) -> Array:
        """Return ``(theta, mu, tau)``, ``theta = mu + tau theta_trans``, ``(n, 10)``."""
        return np.concatenate([self._effects(x), x[:, -2:-1], np.exp(x[:, -1:])], axis=1)

    @staticmethod
    def _effects(x: Array) -> Array:
        return np.asarray(x[:, -2:-1] + np.exp(x[:, -1:]) * x[:, :-2])


@dataclass(frozen=True, eq=False)
class Posterior:
    """A posterior and what is known about it.

    Attributes
    ----------
    name, summary, source : str
    log_evidence : float
        Log of the integral of ``exp(-potential)``.
    parameters : tuple of str
        The constrained parameters.
    means, sds : ndarray, shape (d,)
        Of the constrained parameters.
    make : callable
        Builds the model, with ``potential``, ``gradient`` and ``constrain``.
    """

    name: str
    summary: str
    log_evidence: float
    parameters: tuple[str, ...]
    means: Array
    sds: Array
    make: Callable[[], LinearModel | EightSchools] = field(repr=False)
    source: str = ""

    @property
    def dim(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    def measure(self) -> Potential:
        """Return the posterior in its unconstrained coordinates."""
        model = self.make()
        return Potential(model.potential, self.dim, gradient=model.gradient)

    def constrain(self, x: Array) -> Array:
        """Return the constrained parameters at unconstrained points, ``(n, d)`` to ``(n, d)``."""
        return self.make().constrain(np.asarray(x, dtype=np.float64))

    def problem(self) -> TransportProblem:
        """Carry the standard normal to the posterior, standardised by its Laplace approximation.

        ``constrain(problem.target.to_original(z))`` are the parameters of the points ``z``.
        """
        return TransportProblem(Gaussian(np.zeros(self.dim), 1.0), Standardised(self.measure()))


@cache
def _kilpisjarvi() -> LinearModel:
    year, temperature = datasets.posterior_data("kilpisjarvi_mod").T
    return LinearModel(
        np.stack([np.ones_like(year), year], axis=-1),
        temperature,
        prior_mean=np.array([9.31290322580645, 0.0]),
        prior_sd=np.array([100.0, 0.0333333333333333]),
    )


@cache
def _kidiq() -> LinearModel:
    score, school, iq = datasets.posterior_data("kidiq").T
    design = np.stack([np.ones_like(iq), school, iq, school * iq], axis=-1)
    return LinearModel(design, score, "cauchy")


@cache
def _sblrc() -> LinearModel:
    data = datasets.posterior_data("sblrc")
    return LinearModel(data[:, 1:], data[:, 0], "normal", np.zeros(5), np.full(5, 10.0))


@cache
def _ark() -> LinearModel:
    series = datasets.posterior_data("arK")
    lags = [series[5 - k : len(series) - k] for k in range(1, 6)]
    design = np.stack([np.ones(len(series) - 5), *lags], axis=-1)
    return LinearModel(design, series[5:], "cauchy", np.zeros(6), np.full(6, 10.0))


@cache
def _mesquite() -> LinearModel:
    data = datasets.posterior_data("mesquite")
    return LinearModel(np.concatenate([np.ones((len(data), 1)), data[:, 1:]], axis=1), data[:, 0])


@cache
def _eight_schools() -> EightSchools:
    return EightSchools(*datasets.posterior_data("eight_schools").T)


def _beta(count: int) -> tuple[str, ...]:
    return tuple(f"beta{k}" for k in range(1, count + 1))


_LIST = (
    Posterior(
        "kilpisjarvi_mod",
        "The standard normal to a trend of summer temperatures, correlation -0.9999, d = 3.",
        -103.2261681735,
        ("alpha", "beta", "sigma"),
        np.array([-61.0199, 0.0176605, 1.13168]),
        np.array([29.7976, 0.00748207, 0.106176]),
        _kilpisjarvi,
    ),
    Posterior(
        "kidiq",
        "The standard normal to a regression of children's test scores, d = 5.",
        -1873.509015109,
        (*_beta(4), "sigma"),
        np.array([-11.482, 51.2682, 0.968889, -0.484275, 17.9827]),
        np.array([13.7746, 15.3561, 0.148523, 0.162413, 0.614099]),
        _kidiq,
    ),
    Posterior(
        "sblrc",
        "The standard normal to a linear regression with normal priors, d = 6.",
        -195.6607357740,
        (*_beta(5), "sigma"),
        np.array([0.999651, 0.998722, 0.998184, 0.998837, 0.99859, 1.04285]),
        np.array([0.000986679, 0.00100919, 0.00108082, 0.00101636, 0.000974591, 0.0769743]),
        _sblrc,
    ),
    Posterior(
        "arK",
        "The standard normal to an autoregression of order five, d = 7.",
        57.894446741705,
        ("alpha", *_beta(5), "sigma"),
        np.array([-0.00080542, 0.691531, 0.44016, 0.105095, -0.0356685, -0.301217, 0.150448]),
        np.array([0.0107944, 0.0706531, 0.0869244, 0.0921301, 0.0866383, 0.0700466, 0.00780527]),
        _ark,
    ),
    Posterior(
        "mesquite",
        "The standard normal to a regression of the weights of mesquite bushes, d = 8.",
        -277.8163948137,
        (*_beta(7), "sigma"),
        np.array([-728.593, 189.669, 371.462, 355.665, -101.733, 131.254, -363.295, 278.006]),
        np.array([153.168, 117.364, 129.457, 218.411, 193.151, 35.7581, 104.275, 32.8753]),
        _mesquite,
    ),
    Posterior(
        "eight_schools",
        "The standard normal to the non-centred model of eight schools, d = 10.",
        -32.00449453285,
        (*(f"theta{k}" for k in range(1, 9)), "mu", "tau"),
        np.array(
            [6.21188, 4.94018, 3.927, 4.7571, 3.61548, 4.04261, 6.29672, 4.85425, 4.39682, 3.59771]
        ),
        np.array(
            [5.59313, 4.67427, 5.26262, 4.7803, 4.65745, 4.82687, 5.07785, 5.2908, 3.3177, 3.21996]
        ),
        _eight_schools,
        "D. B. Rubin, Journal of Educational Statistics 6, 1981; data from posteriordb",
    ),
)
_POSTERIORS = {item.name: item for item in _LIST}


def names() -> tuple[str, ...]:
    """Names of the posteriors, in order of dimension."""
    return tuple(_POSTERIORS)


def posterior(name: str) -> Posterior:
    """Return the posterior of a name.

    Raises
    ------
    InputError
        If there is no such posterior; the text lists those that there are.
    """
    if name not in _POSTERIORS:
        near = difflib.get_close_matches(str(name), _POSTERIORS, 1)
        hint = f"did you mean {near[0]!r}? There are" if near else "there are"
        raise InputError(f"there is no posterior {name!r}; {hint} {', '.join(_POSTERIORS)}")
    return _POSTERIORS[name]
