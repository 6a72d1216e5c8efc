"""A file of every schema, written once and committed, must go on being readable.

`write.py` beside this made them; a file is never rewritten, a new schema gets a new one.
"""

from __future__ import annotations

import dataclasses
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


@pytest.fixture(scope="module")
def flow():
    return pma.load(HERE / "schema2.h5")


def test_a_flow(flow):
    assert flow.status is pma.Status.CONVERGED
    assert flow.side == "reference"
    assert flow.message.startswith("t = 0.2 after 6 steps")
    assert flow.log_evidence == -0.022862311577065583
    assert flow.w2_squared == 3.0063461030536383
    assert flow.kl == 0.39190878085526343
    assert flow.kl_reverse == 0.6588759386550375
    assert flow.history.rows == 7
    assert flow.history["t"][-1] == 0.2
    assert flow.history["comparator_evi_slack"].shape == (7,)
    assert flow.average.grid.shape == (14, 12)
    assert flow.average.values[3, 4] == 0.000252109944290635


def test_its_settings(flow):
    solver = flow.solver
    assert dataclasses.replace(solver, comparator=None) == pma.GridFlow(
        (14, 12),
        stepper=pma.RKL2(rtol=1e-3),
        t_final=0.2,
        save_at=[0.1, 0.2],
        side="reference",
        average=True,
    )
    expected = np.array([[1, 2, 1], [2, 4, 2]]) / 160  # 12 in all, on cells of area 80 / 6
    np.testing.assert_allclose(solver.comparator.values, expected, rtol=1e-15)


def test_its_saved_maps(flow):
    y = np.array([[0.5, -0.25], [1.5, 0.5]])
    x = {
        0.1: [[-0.7922851034744224, 1.011644398647089], [0.22811132961017289, 1.8370321902345832]],
        0.2: [[-0.8852225207308175, 1.0192977966570895], [0.20823741053386347, 1.715907827275836]],
    }
    assert [t for t, _ in flow.saved] == list(x)
    for t, transport in flow.saved:
        np.testing.assert_allclose(transport(y), x[t], rtol=0, atol=1e-12)


def test_it_goes_on(flow, tmp_path):
    flow.save(tmp_path / "again.h5")
    again = pma.load(tmp_path / "again.h5")
    longer = dataclasses.replace(flow.solver, t_final=0.3)
    one, two = (pma.solve(s.problem, longer, initial=s, progress=False) for s in (flow, again))
    assert one.history["t"][-1] == 0.3
    assert np.array_equal(one.fields.potential.correction, two.fields.potential.correction)


def test_a_network():
    pytest.importorskip("torch", reason="the map is a network: install the extra neural")
    neural = pma.load(HERE / "schema3.h5")
    assert neural.status is pma.Status.CONVERGED
    assert neural.side == "none"
    assert neural.w2_squared == 1.1770163124458182
    assert neural.kl == 0.0010521663762481505
    assert neural.history.rows == 2
    assert neural.solver == pma.NeuralFlow(steps=2, width=4, seed=3, threads=1)
    y, x = np.array([0.5, 1.5]), np.array([-0.631344032843774, 1.688987500924093])
    np.testing.assert_allclose(neural.map(y), x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(neural.map.inverse(x), y, rtol=0, atol=1e-9)
