"""A file of every schema, written once and committed, must go on being readable.

`write.py` beside this made them; a file is never rewritten, a new schema gets a new one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.io.schema import SCHEMA_VERSION

HERE = Path(__file__).parent


def test_there_is_a_file_of_every_schema():
    names = {f"schema{version}.h5" for version in range(1, SCHEMA_VERSION + 1)}
    assert names <= {path.name for path in HERE.glob("*.h5")}
    assert all(path.stat().st_size < 100_000 for path in HERE.glob("*.h5"))


@pytest.fixture(scope="module")
def old():
    return pma.load(HERE / "schema1.h5")


def test_figures(old):
    # What the file holds, printed when it was written: read back to the last bit.
    assert old.status is pma.Status.CONVERGED
    assert old.side == "target"
    assert old.message.startswith("52 Newton steps")
    assert old.log_evidence == 0.0
    assert old.w2_squared == 2.3409943235238426
    assert old.kl == 4.896447830526895e-13
    assert old.kl_reverse == 4.901573938398407e-13
    assert np.isnan(old.certificate.map_error)
    assert "two nested grids" in old.certificate.reasons["map_error"]
    assert old.history.rows == 59
    assert old.history["level"][-1] == "20x16"
    assert old.history["residual"][-1] < old.history["residual"][0]


def test_problem_and_solver(old):
    problem = old.problem
    assert isinstance(problem.reference, pma.Gaussian)
    np.testing.assert_array_equal(problem.reference.cov, [[1.0, 0.3], [0.3, 0.5]])
    assert isinstance(problem.target, pma.GaussianMixture)
    np.testing.assert_array_equal(problem.target.means, [[1.5, 0.0], [-1.5, 1.0]])
    np.testing.assert_array_equal(problem.target.weights, [0.4, 0.6])
    assert old.solver == pma.GridSolver((20, 16))


def test_the_map_works(old):
    y = np.array([[0.5, -0.25], [1.5, 0.5]])
    # A later release may evaluate the same spline in another order: roundings of numbers near 1.
    x = [[-0.663070637243275, 0.7909572813406135], [1.5355226572710932, 0.727187670859108]]
    np.testing.assert_allclose(old.map(y), x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(old.map.inverse(np.array(x)), y, rtol=0, atol=1e-12)
    assert np.all(np.isfinite(old.log_prob(old.sample(20, 0))))


def test_it_can_be_started_from_and_written_again(old, tmp_path):
    old.save(tmp_path / "again.h5")
    again = pma.load(tmp_path / "again.h5")
    np.testing.assert_array_equal(
        again.fields.potential.correction, old.fields.potential.correction
    )
    start = pma.solve(old.problem, pma.GridSolver((40, 32)), initial=old, progress=False)
    assert start.converged
