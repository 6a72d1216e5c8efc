"""Movies of runs: what is a frame, what is drawn, and how the file is written."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.plotting import movie, views
from parabolic_ma.trackers import Run
from parabolic_ma.triggers import Moment

pytest.importorskip("matplotlib", reason="pictures need the extra plot")
Image = pytest.importorskip("PIL.Image", reason="pictures need the extra plot")

LINE = pma.TransportProblem(
    pma.Gaussian([0.0], 1.0), pma.GaussianMixture([[-1.5], [1.5]], covs=0.5)
)
PLANE = pma.TransportProblem(
    pma.Gaussian([0, 0], 1.0), pma.GaussianMixture([[1.0, 0], [-1.0, 0]], covs=0.5)
)


def constant_flow(problem: pma.TransportProblem, steps: int, **settings: Any) -> pma.GridFlow:
    """A flow of a known number of steps."""
    shape = (64,) if problem.dim == 1 else (24, 24)
    schedule = pma.Constant(0.05)
    return pma.GridFlow(shape, pma.SemiImplicit(), schedule=schedule, steps=steps, **settings)


def frames(path: Path) -> list[np.ndarray]:
    """Every frame of an animation as RGB."""
    found = []
    with Image.open(path) as animation:
        for k in range(animation.n_frames):
            animation.seek(k)
            found.append(np.asarray(animation.convert("RGB")).astype(int))
    return found


def durations(path: Path) -> list[int]:
    """Milliseconds of every frame."""
    found = []
    with Image.open(path) as animation:
        for k in range(animation.n_frames):
            animation.seek(k)
            found.append(animation.info["duration"])
    return found


@pytest.mark.parametrize(("problem", "side"), [(LINE, "reference"), (PLANE, "target")])
def test_a_frame_for_every_step_from_the_first_state_to_the_last(
    problem: pma.TransportProblem, side: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.gif"
    pma.solve(problem, constant_flow(problem, 5, side=side), trackers=[pma.Movie(path, fps=10)])
    assert path.read_bytes().startswith(b"GIF89a")
    assert durations(path) == [100] * 5 + [1000]
    assert {frame.shape for frame in frames(path)} == {(384, 960, 3)}
    assert [p.name for p in tmp_path.iterdir()] == ["run.gif"]


def test_first_and_last_are_frames_whatever_the_trigger(tmp_path: Path) -> None:
    path = tmp_path / "run.gif"
    pma.solve(LINE, constant_flow(LINE, 7), trackers=[pma.Movie(path, pma.every(steps=3))])
    assert len(frames(path)) == 4
    pma.solve(LINE, constant_flow(LINE, 7), trackers=[pma.Movie(path, pma.at_times([0.2]))])
    assert len(frames(path)) == 3


def test_the_model_reaches_the_target_in_one_scale_of_colours(tmp_path: Path) -> None:
    path = tmp_path / "run.gif"
    flow = pma.GridFlow((48, 48), t_final=3.0)
    pma.solve(PLANE, flow, trackers=[pma.Movie(path, pma.every(time=1.0))])
    shown = frames(path)
    model, target = (slice(36, 342), slice(38, 340)), (slice(36, 342), slice(380, 682))
    for frame in shown:  # the target stays as it is
        assert np.array_equal(frame[target], shown[0][target])
    apart = [np.abs(frame[model] - frame[target]).mean() for frame in shown]
    assert apart[-1] < 1.0
    assert apart[0] > 5.0
    assert shown[0][0, 0].tolist() == [255, 255, 255]


def test_a_steady_solver_makes_frames_by_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "run.gif"
    solver = pma.GridSolver((32, 32), max_steps=4)
    solution = pma.solve(PLANE, solver, raise_on_failure=False, trackers=[pma.Movie(path)])
    # the history ends with a row of the result itself
    assert 2 <= len(frames(path)) <= solution.history.rows
    assert durations(path)[-1] == 1000


def test_density_of_the_model_is_that_of_the_solution() -> None:
    solution = pma.solve(PLANE, pma.GridSolver((64, 64), side="target"))
    view, target = views.view_of(PLANE.target, 60)
    density = views.model_density(PLANE, solution.map, view)
    expected = np.exp(solution.log_prob(view.points())).reshape(view.shape)
    np.testing.assert_allclose(density, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(density, target, atol=0.02 * target.max())


def test_density_of_an_unnormalised_or_bounded_reference_has_mass_one() -> None:
    shift = pma.Affine(np.eye(1), np.array([0.5]))
    grid = pma.Grid(pma.Box.of([(-7.0, 8.0)]), (400,))
    free = pma.Potential(lambda x: 0.5 * x[:, 0] ** 2 - 3.0, 1, box=[(-7.0, 7.0)])
    for reference in (free, pma.Uniform([(0.0, 1.0)])):
        problem = pma.TransportProblem(reference, pma.Gaussian([0.0], 1.0))
        density = views.model_density(problem, shift, grid)
        assert density.sum() * grid.cell_volume == pytest.approx(1.0, abs=0.04)


def test_too_many_frames_are_thinned_evenly_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(movie, "_MOST", 6)
    path = tmp_path / "run.gif"
    tracker = pma.Movie(path)
    kept = []
    write = movie.Recording.write

    def spy(recording: Any, *arguments: Any) -> None:
        write(recording, *arguments)
        kept.extend(frame.step for frame in recording.frames)

    monkeypatch.setattr(movie.Recording, "write", spy)
    pma.solve(LINE, constant_flow(LINE, 17), trackers=[tracker])
    steps = [k - kept[0] for k in kept]
    assert steps == [0, 4, 8, 12, 16, 17]
    assert len(frames(path)) == 6
    said = capsys.readouterr().err
    assert "run.gif: more than 6 frames were due, so one in 4 of them was kept" in said


def test_a_run_that_raises_leaves_the_old_movie(tmp_path: Path) -> None:
    path = tmp_path / "run.gif"
    path.write_bytes(b"old")

    class Fails:
        def start(self, run: Run) -> None:
            pass

        def handle(self, run: Run) -> None:
            raise RuntimeError("stop")

        def finish(self, solution: Any) -> None:
            pass

    with pytest.raises(RuntimeError, match="stop"):
        pma.solve(LINE, constant_flow(LINE, 3), trackers=[pma.Movie(path), Fails()])
    assert path.read_bytes() == b"old"


def test_a_failing_write_leaves_the_old_movie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(movie, "_write_gif", full_disk)
    path = tmp_path / "run.gif"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="no space left"):
        pma.solve(LINE, constant_flow(LINE, 2), trackers=[pma.Movie(path)])
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_used_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(pma.InputError, match=r"ending must be one of \.gif, \.mp4"):
        pma.Movie(tmp_path / "run.avi")
    with pytest.raises(pma.InputError, match="does not exist; create it first"):
        pma.Movie(tmp_path / "no" / "run.gif")
    with pytest.raises(pma.InputError, match=r"trigger of a movie is made by pma.every\(...\)"):
        pma.Movie(tmp_path / "run.gif", 10)
    for fps in (0, 100, "fast", True, math.nan):
        with pytest.raises(pma.InputError, match="frames a second, from 1 to 50"):
            pma.Movie(tmp_path / "run.gif", fps=fps)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(pma.InputError, match=r"'ffmpeg' was not found; install it, or .*\.gif"):
        pma.Movie(tmp_path / "run.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_mp4(tmp_path: Path) -> None:
    path = tmp_path / "run.mp4"
    pma.solve(LINE, constant_flow(LINE, 2), trackers=[pma.Movie(path)])
    assert path.read_bytes()[4:8] == b"ftyp"


def test_three_dimensions_are_refused_before_the_first_step(tmp_path: Path) -> None:
    problem = pma.TransportProblem(pma.Gaussian([0] * 3, 1.0), pma.Gaussian([1] * 3, 1.0))
    run = Run(problem, None, SimpleNamespace(progress={}), Moment(), lambda: None)
    tracker = pma.Movie(tmp_path / "run.gif")
    with pytest.raises(pma.InputError, match="one or two dimensions, this one has 3"):
        tracker.start(run)
    tracker.finish(None)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(pma.MissingExtraError, match=r"pip install 'parabolic-ma\[plot\]'"):
        pma.Movie(tmp_path / "run.gif")
