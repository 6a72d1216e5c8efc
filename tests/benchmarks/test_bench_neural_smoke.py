"""What the table of networks rests on: exact densities, samplers and maps; and that it is made."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.stats import norm

pytest.importorskip("torch", reason="install the extra neural")

from benchmarks import bench_neural
from benchmarks.neural_baselines import manufactured, sections
from benchmarks.neural_baselines.methods import Method
from benchmarks.neural_baselines.scoring import Fitted, from_map, score, uvp
from benchmarks.neural_baselines.targets import NAMES, Target, load

import parabolic_ma as pma
from parabolic_ma.typing import Array


def mesh(target: Target, cells: int) -> tuple[Array, float]:
    """Centres of cells that hold all but 1e-9 of the mass, and their volume."""
    points = target.draw(20_000, 0)
    middle, half = points.mean(axis=0), 1.6 * np.ptp(points, axis=0)
    axes = [
        m + h * (2.0 * (np.arange(cells) + 0.5) / cells - 1.0)
        for m, h in zip(middle, half, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, target.dim)
    return grid, float(np.prod(2.0 * half / cells))


@pytest.mark.parametrize("name", NAMES)
def test_densities_are_normalised_and_belong_to_the_samplers(name: str) -> None:
    target = load(name)
    points, volume = mesh(target, 20_000 if target.dim == 1 else 500)
    density = np.exp(target.log_prob(points))
    # the midpoint rule on smooth densities that vanish at the faces
    assert density.sum() * volume == pytest.approx(1.0, abs=1e-7)
    n = 40_000
    drawn = target.draw(n, 1)
    for power in (1, 2):
        exact = density @ points**power * volume
        deviation = drawn.std(axis=0) if power == 1 else (drawn**2).std(axis=0)
        assert (abs((drawn**power).mean(axis=0) - exact) < 4.5 * deviation / np.sqrt(n)).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_potentials(name: str) -> None:
    target, h = load(name), 1e-5
    x = target.draw(50, 2)
    slope = np.stack(
        [
            (target.measure.potential(x + e) - target.measure.potential(x - e)) / (2.0 * h)
            for e in h * np.eye(target.dim)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(target.measure.gradient(x), slope, rtol=1e-6, atol=1e-6)


def test_the_exact_map_of_mix1_carries_the_distribution_function() -> None:
    target = load("mix1")
    assert target.exact_map is not None
    y = np.linspace(-4.0, 4.0, 81)[:, None]
    x, mixture = target.exact_map(y), target.measure
    assert isinstance(mixture, pma.GaussianMixture)
    sds = np.sqrt(mixture.covs[:, 0, 0])
    below = norm.cdf((x - mixture.means[:, 0]) / sds) @ mixture.weights
    np.testing.assert_allclose(below, norm.cdf(y[:, 0]), rtol=1e-9)


@pytest.mark.parametrize("dim", [2, 4, 8])
def test_manufactured_maps_solve_their_problems(dim: int) -> None:
    least = 0.1
    problem, transport = manufactured.problem(dim, least=least)
    potential = manufactured.log_cosh(dim, least=least)
    assert potential.min_eigenvalue == pytest.approx(least, abs=5e-3 if dim == 2 else 1e-12)
    y = problem.reference.sample(200, 3)
    x = transport(y)
    np.testing.assert_allclose(potential.inverse(x), y, atol=1e-11)
    # the equation, with Hess psi the inverse of Hess phi at the image
    log_det = -np.linalg.slogdet(potential.hessian(x))[1]
    residual = -problem.target.potential(x) + problem.reference.potential(y) + log_det
    np.testing.assert_allclose(residual, 0.0, atol=1e-9)


def test_unexplained_variance_is_nothing_of_the_map_and_everything_of_the_mean() -> None:
    exact = np.random.default_rng(0).standard_normal((1000, 3))
    assert uvp(exact, exact) == 0.0
    assert uvp(exact.mean(axis=0) + 0.0 * exact, exact) == pytest.approx(100.0)


def test_every_section_makes_its_rows_and_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "settings", lambda *_: {"steps": 1, "width": 4})
    monkeypatch.setattr(sections, "train_points", lambda: 500)
    monkeypatch.setattr(sections.w2b, "DIMENSIONS", (2,))
    monkeypatch.setattr(sections.posteriors, "names", lambda: ("kilpisjarvi_mod",))
    monkeypatch.setattr(sections, "_DIGITS", 760)
    monkeypatch.setattr(sections, "_JUDGED", 60)
    monkeypatch.setattr(sections, "_COST_STEPS", dict.fromkeys(("refit", "dual", "composed"), 2))
    monkeypatch.setattr(sections, "score", partial(score, n=400))

    def affine(target: Target, points: Array, _: int) -> Fitted:
        return from_map(lambda y: points.mean(axis=0) + points.std(axis=0) * y, target.dim)

    request = sections.Request([Method("affine", "ours", affine)], ["mix1"], 1, None)
    for name, section in sections.SECTIONS.items():
        rows = list(section.rows(request))
        assert rows, name
        for row in rows:
            figures = set(row) & set(section.columns)
            assert figures - {"cpu_seconds"}, (name, row)
            assert all(np.isfinite(row[f]) for f in figures)
        text = bench_neural.table(rows, section.columns)
        assert text.splitlines()[0].startswith("target")
        assert len({(r["target"], r["method"]) for r in rows}) == len(text.splitlines()) - 1


def test_the_table_shows_the_median_and_the_range_of_the_seeds() -> None:
    rows = [{"target": "a", "method": "b", "kl": kl, "d": 3} for kl in (0.5, 0.1, 0.2)]
    text = bench_neural.table(rows, {"kl": "KL", "d": "d"})
    assert text.splitlines()[1].split() == ["a", "b", "0.2", "[0.1,", "0.5]", "3"]
