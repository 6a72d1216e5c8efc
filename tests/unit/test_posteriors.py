"""The posteriors with known evidence, against importance sampling and differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import gammaln

from parabolic_ma import catalog, datasets, posteriors
from parabolic_ma.measures import Standardised
from parabolic_ma.status import InputError

DRAWS = 40_000
FREEDOM = 6.0  # of Student's t: heavier tails than the posteriors'


def student(dim, width, rng):
    """Points of Student's t and their log densities."""
    normal = rng.standard_normal((DRAWS, dim))
    z = width * normal / np.sqrt(rng.chisquare(FREEDOM, DRAWS) / FREEDOM)[:, None]
    constant = gammaln((FREEDOM + dim) / 2) - gammaln(FREEDOM / 2)
    constant -= 0.5 * dim * math.log(FREEDOM * math.pi) + dim * math.log(width)
    squares = np.sum(z**2, axis=1) / width**2
    return z, constant - 0.5 * (FREEDOM + dim) * np.log1p(squares / FREEDOM)


def schools(rng):
    """Points of the eight schools: mu and log tau spread out, theta_trans exactly given them."""
    model = posteriors.posterior("eight_schools").make()
    plane, log_q = student(2, 1.0, rng)
    mu, log_tau = 4.4 + 4.0 * plane[:, 0], 0.8 + 1.6 * plane[:, 1]
    log_q -= math.log(4.0 * 1.6)
    tau = np.exp(log_tau)[:, None]
    precision = 1 + (tau / model.errors) ** 2
    center = tau * (model.effects - mu[:, None]) / model.errors**2 / precision
    noise = rng.standard_normal((DRAWS, 8))
    theta = center + noise / np.sqrt(precision)
    log_q += np.sum(0.5 * np.log(precision / (2 * math.pi)) - 0.5 * noise**2, axis=1)
    return np.column_stack([theta, mu, log_tau]), log_q


@pytest.mark.parametrize("name", posteriors.names())
def test_evidence_means_and_sds_by_importance_sampling(name):
    item = posteriors.posterior(name)
    rng = np.random.default_rng(1)
    target = item.problem().target
    if name == "eight_schools":
        x, log_q = schools(rng)
        log_weight = -item.measure().potential(x) - log_q
    else:
        z, log_q = student(item.dim, 1.05, rng)
        log_weight = -target.potential(z) - log_q
        x = target.to_original(z)
    top = log_weight.max()
    weight = np.exp(log_weight - top)
    relative = weight.std() / weight.mean() / math.sqrt(DRAWS)
    assert relative < 0.01
    found = top + math.log(weight.mean())
    assert found == pytest.approx(item.log_evidence, abs=4 * relative)
    weight /= weight.sum()
    parameters = item.constrain(x)
    mean = weight @ parameters
    sd = np.sqrt(weight @ (parameters - mean) ** 2)
    effective = 1 / np.sum(weight**2)
    assert np.all(np.abs(mean - item.means) < 5 * item.sds / math.sqrt(effective))
    np.testing.assert_allclose(sd, item.sds, rtol=10 / math.sqrt(effective))


@pytest.mark.parametrize("name", posteriors.names())
def test_gradients_are_those_of_the_potentials(name):
    target = posteriors.posterior(name).problem().target
    z = np.random.default_rng(0).standard_normal((10, target.dim))
    steps = 1e-5 * np.eye(target.dim)
    slopes = [(target.potential(z + h) - target.potential(z - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(target.gradient(z), np.stack(slopes, axis=-1), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", posteriors.names())
def test_the_catalog_has_them_standardised(name):
    item, entry = posteriors.posterior(name), catalog.get(name)
    problem = catalog.load(name)
    assert not entry.solver
    assert entry.log_evidence == item.log_evidence
    assert isinstance(problem.target, Standardised)
    assert problem.dim == item.dim == len(item.means) == len(item.sds)
    np.testing.assert_allclose(problem.target.gradient(np.zeros(item.dim)), 0, atol=1e-3)


def test_unknown_names():
    with pytest.raises(InputError, match="did you mean 'kidiq'"):
        posteriors.posterior("kidiqs")
    with pytest.raises(InputError, match="posteriors are kilpisjarvi_mod"):
        datasets.posterior_data("moon")
