"""The figure of a solution, on closed-form maps."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.grid import Box, Grid
from parabolic_ma.plotting import figures, palette
from parabolic_ma.solution import (
    Certificate,
    GridFields,
    GridPotential,
    History,
    Provenance,
    Solution,
)

pytest.importorskip("matplotlib", reason="pictures need the extra plot")

STEPS = History(
    {
        "step": [1, 2, 3, 4],
        "level": ["32x32", "32x32", "64x64", "64x64"],
        "residual": [1.0, 1e-3, 1e-2, 1e-9],
        "residual_max": [3.0, math.nan, 1e-1, 1e-7],
        "kl": [math.nan] * 4,
    }
)


def solution_of(problem: Any, transport: Any, **changes: Any) -> Solution:
    """A solution as a solver would return it, made by hand."""
    d = problem.dim
    grid = Grid(Box((-1.0,) * d, (1.0,) * d), (64,) * d)
    potential = GridPotential(
        grid, np.zeros(grid.shape), np.eye(d), np.zeros(d), np.zeros(d), "free"
    )
    empty = np.zeros(grid.shape)
    made = Solution(
        problem=problem,
        map=transport,
        side="reference",
        status=pma.Status.CONVERGED,
        message="",
        log_evidence=0.25,
        w2_squared=1.5,
        kl=0.0,
        kl_reverse=0.0,
        certificate=Certificate(log_evidence_error=2e-4, w2_error=math.nan),
        history=STEPS,
        provenance=Provenance(),
        fields=GridFields(potential, empty, empty, empty, empty),
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def plane() -> Solution:
    cov = np.array([[2.0, 0.6], [0.6, 1.0]])
    values, vectors = np.linalg.eigh(cov)
    root = (vectors * np.sqrt(values)) @ vectors.T
    problem = pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.Gaussian([1, -1], cov))
    return solution_of(problem, pma.Affine(root, np.array([1.0, -1.0])))


@pytest.fixture
def line() -> Solution:
    problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), pma.Gaussian([2.0], 0.25))
    return solution_of(problem, pma.Affine(np.array([[0.5]]), np.array([2.0])))


def curves(ax: Any) -> list[np.ndarray]:
    return [segment for collection in ax.collections for segment in collection.get_segments()]


def test_mesh_on_the_target_is_the_image_of_the_mesh_on_the_reference(plane: Solution) -> None:
    left, right, _ = plane.plot().axes
    before, after = curves(left), curves(right)
    assert len(before) == len(after) > 40
    for y, x in zip(before, after, strict=True):
        np.testing.assert_allclose(x, plane.map(y), atol=1e-12)


def test_rings_hold_their_mass(plane: Solution) -> None:
    left = plane.plot().axes[0]
    rings = left.collections[-1].get_segments()
    assert len(rings) == 3
    for ring, mass in zip(rings, (0.5, 0.9, 0.99), strict=True):
        # N(0, I) holds `mass` inside this radius; the picture's cells are about 0.03 wide.
        radius = math.sqrt(-2.0 * math.log1p(-mass))
        np.testing.assert_allclose(np.hypot(*ring.T), radius, atol=0.03)


def test_mesh_of_a_bounded_reference_covers_its_box() -> None:
    problem = pma.TransportProblem(pma.Uniform([(0, 2), (1, 2)]), pma.Uniform([(0, 1), (0, 1)]))
    solution = solution_of(problem, pma.Affine(np.diag([0.5, 1.0]), np.array([0.0, -1.0])))
    left = solution.plot().axes[0]
    points = np.concatenate(curves(left))
    np.testing.assert_allclose(points.min(axis=0), [0, 1], atol=1e-12)
    np.testing.assert_allclose(points.max(axis=0), [2, 2], atol=1e-12)


def test_data_are_laid_over_their_density(rng: np.random.Generator) -> None:
    target = pma.Samples(rng.normal(size=(2000, 2)))
    problem = pma.TransportProblem(pma.Gaussian.fitted(target), target)
    right = solution_of(problem, pma.Identity(2)).plot().axes[1]
    dots = right.collections[-1].get_offsets()
    assert 300 <= len(dots) <= 600


def test_one_dimension_shows_bands_map_and_slope(line: Solution) -> None:
    figure = line.plot()
    assert len(figure.axes) == 4
    upper = next(ax for ax in figure.axes if ax.get_ylabel() == "$x = T(y)$")
    y, x = upper.lines[0].get_data()
    np.testing.assert_allclose(x, 0.5 * y + 2.0, atol=1e-12)
    lower = next(ax for ax in figure.axes if ax.get_ylabel() == "$T'(y)$")
    np.testing.assert_allclose(lower.lines[0].get_ydata(), 0.5)


def test_caption_says_how_it_ended_and_how_sure_it_is(plane: Solution) -> None:
    texts = " ".join(text.get_text() for text in plane.plot().texts)
    assert "CONVERGED" in texts
    assert "log evidence 0.25000 ± 0.0002" in texts
    assert "$W_2^2$ 1.5 " in texts
    assert "mass error" not in texts
    failed = dataclasses.replace(plane, status=pma.Status.STALLED).plot()
    assert "▲ STALLED" in [text.get_text() for text in failed.texts]


def test_levels_are_marked_with_their_grids(plane: Solution) -> None:
    last = plane.plot().axes[2]
    assert {text.get_text() for text in last.texts} == {"$32^2$", "$64^2$"}


def test_a_run_without_steps_says_so(plane: Solution) -> None:
    last = dataclasses.replace(plane, history=History({})).plot().axes[2]
    assert [text.get_text() for text in last.texts] == ["no steps were recorded"]


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_formats(plane: Solution, tmp_path: Path, ending: str) -> None:
    plane.plot(tmp_path / f"out.{ending}")
    signature = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert (tmp_path / f"out.{ending}").read_bytes().startswith(signature)
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unknown_format_writes_nothing(plane: Solution, tmp_path: Path) -> None:
    with pytest.raises(pma.InputError, match=r"ending must be one of \.png, \.pdf"):
        plane.plot(tmp_path / "out.docx")
    assert not list(tmp_path.iterdir())


def test_a_failing_write_leaves_the_old_picture(
    plane: Solution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def full_disk(_: Figure, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    picture = tmp_path / "out.png"
    picture.write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space left"):
        plane.plot(picture)
    assert picture.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_three_dimensions_are_refused() -> None:
    problem = pma.TransportProblem(pma.Gaussian([0] * 3, 1.0), pma.Gaussian([1] * 3, 1.0))
    with pytest.raises(pma.InputError, match="one or two dimensions, this one has 3"):
        solution_of(problem, pma.Identity(3)).plot()


def test_a_missing_extra_is_named(plane: Solution, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(pma.MissingExtraError, match=r"pip install 'parabolic-ma\[plot\]'"):
        plane.plot()


def test_drawing_leaves_pyplot_alone() -> None:
    code = (
        "import sys, matplotlib.figure, matplotlib.collections, parabolic_ma.plotting.figures\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("side", ["reference", "target"])
def test_ramps_darken_in_equal_steps(side: str) -> None:
    rgb = palette.ramp(side)(np.linspace(0, 1, 33))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(luminance) - 16
    steps = -np.diff(lightness)
    # OKLab's lightness and CIE L* differ by their treatment of hue: within 40 % of even steps.
    assert steps.min() > 0.6 * steps.mean()
    assert steps.max() < 1.4 * steps.mean()


def test_numbers_have_no_more_digits_than_their_error() -> None:
    assert figures._with_error("x", 1.23456789, 3e-3) == r"x 1.2346 ± 0.003"
    assert figures._with_error("x", -1.0, math.nan) == "x −1"
    assert figures._with_error("x", math.nan, 0.1) == ""
    assert figures._estimate("e", -1.23e-7) == r"e −1.2$\times 10^{-7}$"
