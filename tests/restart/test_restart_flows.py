"""Flows go on bit for bit: from a result, from its file, and from a time in the middle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import parabolic_ma as pma

# Weights that a second division by their sum would change.
PROBLEMS = {
    "line": pma.TransportProblem(
        pma.Gaussian(0.0, 1.0),
        pma.GaussianMixture([-2.0, 2.0, 0.3], [0.5, 0.8, 0.4], [0.31, 0.77, 0.13]),
    ),
    "plane": pma.TransportProblem(
        pma.Gaussian([0, 0], [[1.0, 0.2], [0.2, 0.7]]),
        pma.GaussianMixture([[1.5, 0.0], [-1.5, 0.5], [0.2, -0.3]], 0.5, [0.31, 0.77, 0.13]),
    ),
}
SHAPES = {"line": 64, "plane": (24, 20)}
STEPPERS = [pma.SemiImplicit(), pma.RKL2(), pma.ExplicitEuler()]


def run(problem, solver, initial=None):
    return pma.solve(problem, solver, initial=initial, progress=False)


def there_and_back(solution, path):
    solution.save(path)
    return pma.load(path)


def assert_same(one, two):
    """Everything but the clock."""
    for name in ("status", "message", "side", "log_evidence", "w2_squared", "kl", "kl_reverse"):
        assert getattr(one, name) == getattr(two, name), name
    assert np.array_equal(one.fields.potential.correction, two.fields.potential.correction)
    assert list(one.history) == list(two.history)
    for name in set(one.history) - {"seconds"}:
        first, second = one.history[name], two.history[name]
        assert first.dtype == second.dtype, name
        assert np.array_equal(first, second, equal_nan=first.dtype.kind == "f"), name
    assert [t for t, _ in one.saved] == [t for t, _ in two.saved]
    for (_, mine), (_, other) in zip(one.saved, two.saved, strict=True):
        a, b = mine.grid_potential, other.grid_potential
        assert (mine.side, a.grid, a.boundary) == (other.side, b.grid, b.boundary)
        for name in ("correction", "matrix", "center", "image"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert (one.average is None) == (two.average is None)
    if one.average is not None:
        assert np.array_equal(one.average.values, two.average.values)
        assert one.average.box == two.average.box
        assert one.average.floor == two.average.floor
        assert one.average.floored_mass == two.average.floored_mass


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("stepper", STEPPERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("side", ["reference", "target"])
def test_a_file_is_as_good_as_the_result(tmp_path, name, stepper, side):
    flow = pma.GridFlow(SHAPES[name], stepper=stepper, t_final=0.1, save_at=[0.05, 0.1], side=side)
    solution = run(PROBLEMS[name], flow)
    loaded = there_and_back(solution, tmp_path / "a.h5")
    assert loaded.solver == flow
    assert_same(solution, loaded)
    assert_same(solution.at(0.05), loaded.at(0.05))
    longer, again = (dataclasses.replace(s.solver, t_final=0.15) for s in (solution, loaded))
    assert longer == again
    assert_same(
        run(PROBLEMS[name], longer, initial=solution), run(loaded.problem, again, initial=loaded)
    )
    assert_same(
        run(PROBLEMS[name], longer, initial=solution.at(0.05)),
        run(loaded.problem, again, initial=loaded.at(0.05)),
    )


def test_sinkhorn_goes_on_from_its_file(tmp_path):
    flow = pma.SinkhornFlow(64, epsilon=0.2, steps=4, save_at=[0.4])
    solution = run(PROBLEMS["line"], flow)
    loaded = there_and_back(solution, tmp_path / "a.h5")
    assert loaded.solver == flow
    assert_same(solution, loaded)
    longer = dataclasses.replace(flow, steps=6)
    assert_same(
        run(PROBLEMS["line"], longer, initial=solution),
        run(loaded.problem, longer, initial=loaded),
    )


def test_maps_of_a_coarser_grid_that_it_went_on_from_are_kept(tmp_path):
    coarse = run(PROBLEMS["line"], pma.GridFlow(32, t_final=0.1, save_at=[0.05, 0.1]))
    fine = run(PROBLEMS["line"], pma.GridFlow(64, t_final=0.2, save_at=[0.15, 0.2]), coarse)
    loaded = there_and_back(fine, tmp_path / "a.h5")
    assert [t for t, _ in loaded.saved] == [0.05, 0.1, 0.15, 0.2]
    assert [m.grid_potential.grid.shape for _, m in loaded.saved] == [(32,)] * 2 + [(64,)] * 2
    assert_same(fine, loaded)


def test_a_comparator_goes_along(tmp_path):
    comparator = pma.GridDensity(np.arange(1.0, 9.0), [(-8.0, 8.0)])
    flow = pma.GridFlow(64, t_final=0.1, comparator=comparator)
    solution = run(PROBLEMS["line"], flow)
    loaded = there_and_back(solution, tmp_path / "a.h5")
    assert_same(solution, loaded)
    first, second = (
        run(s.problem, dataclasses.replace(s.solver, t_final=0.15), initial=s)
        for s in (solution, loaded)
    )
    assert "comparator_regret" in second.history
    assert_same(first, second)


def test_a_checkpoint_goes_on(tmp_path):
    class Interrupt:
        def start(self, run):
            pass

        def handle(self, run):
            if run.progress["step"] == 3:
                raise KeyboardInterrupt

        def finish(self, solution):
            pass

    flow = pma.GridFlow(64, t_final=0.1, save_at=pma.every(steps=2))
    path = tmp_path / "c.h5"
    left = pma.solve(
        PROBLEMS["line"], flow, trackers=[Interrupt()], checkpoint=path, progress=False
    )
    assert left.status is pma.Status.INTERRUPTED
    loaded = pma.load(path)
    done, whole = run(loaded.problem, loaded.solver, loaded), run(PROBLEMS["line"], flow)
    assert done.converged
    assert np.array_equal(done.history["t"], whole.history["t"])
    assert np.array_equal(done.fields.potential.correction, whole.fields.potential.correction)
    assert [t for t, _ in done.saved] == [t for t, _ in whole.saved]
