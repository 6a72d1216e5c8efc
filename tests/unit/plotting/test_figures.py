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
from parabolic_ma.plotting import figures, palette, views
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


def bars(ax: Any) -> list[Any]:
    """Colour bars beside a panel."""
    return [child for child in ax.child_axes if child.get_title("left").startswith("density")]


def test_colour_bars_show_densities(plane: Solution) -> None:
    left, right, _ = plane.plot().axes
    for ax, measure in ((left, plane.problem.reference), (right, plane.problem.target)):
        (bar,) = bars(ax)
        # The largest density of a normal distribution, on cells of about 0.03.
        highest = 1.0 / (2.0 * math.pi * math.sqrt(np.linalg.det(measure.cov)))
        assert bar.get_ylim()[1] == pytest.approx(highest, rel=3e-3)


def test_small_densities_are_shown_by_a_power_of_ten() -> None:
    problem = pma.TransportProblem(pma.Gaussian([0, 0], 100.0), pma.Gaussian([0, 0], 1.0))
    left, right, _ = solution_of(problem, pma.Affine(0.1 * np.eye(2), np.zeros(2))).plot().axes
    assert bars(left)[0].get_title("left") == "density / $10^{-3}$"
    assert bars(right)[0].get_title("left") == "density"
    labels = [text.get_text() for text in bars(left)[0].get_yticklabels()]
    assert labels[:4] == ["0", "0.4", "0.8", "1.2"]  # up to 1 / (2 pi 100) = 1.6e-3


@pytest.mark.parametrize("side", ["reference", "target"])
def test_mesh_on_a_torus_is_repeated(side: str) -> None:
    box = [(0.0, 1.0), (0.0, 2.0)]
    problem = pma.TransportProblem(pma.Uniform(box), pma.Uniform(box))
    solution = solution_of(problem, pma.Affine(np.eye(2), np.array([0.25, 0.5])), side=side)
    potential = dataclasses.replace(
        solution.fields.potential, boundary="periodic", grid=Grid(Box.of(box), (16, 32))
    )
    fields = dataclasses.replace(solution.fields, potential=potential)
    left, right, _ = dataclasses.replace(solution, fields=fields).plot().axes
    points = np.concatenate(curves(right))
    assert len(curves(right)) == 9 * len(curves(left))
    np.testing.assert_allclose(points.min(axis=0), [0.25 - 1.0, 0.5 - 2.0], atol=1e-12)
    np.testing.assert_allclose(points.max(axis=0), [1.25 + 1.0, 2.5 + 2.0], atol=1e-12)


def test_titles_name_the_measures(rng: np.random.Generator) -> None:
    box = [(0.0, 1.0), (0.0, 1.0)]
    named = {
        "Gaussian": pma.Gaussian([0, 0], 1.0),
        "mixture of 3 Gaussians": pma.GaussianMixture([[0, 0], [1, 0], [0, 1]], 1.0),
        "uniform": pma.Uniform(box),
        "density on a grid": pma.GridDensity(np.ones((4, 4)), box),
        "50 samples": pma.Samples(rng.normal(size=(50, 2))),
        "density up to a constant": pma.Potential(lambda x: 0.5 * np.sum(x**2, axis=1), 2),
    }
    for name, measure in named.items():
        assert views.short_name(measure) == name


def test_caption_leaves_compiling_out(plane: Solution) -> None:
    made = Provenance(wall_time=20.5, compile_time=20.0)
    texts = [t.get_text() for t in dataclasses.replace(plane, provenance=made).plot().texts]
    assert texts[-1].endswith("   0.5 s")


def test_nothing_is_drawn_over_anything_else(plane: Solution, line: Solution) -> None:
    """Titles, labels, notes, bars, legend and caption keep apart and inside the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    columns = {"residual": [1.0, 0.1], "mass_error": [0.1, 0.1], "kl": [0.1, 1e-3]}
    flow = dataclasses.replace(plane, history=History(columns))
    for solution in (plane, line, flow):
        figure = solution.plot()
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        axes = [*figure.axes, *(child for ax in figure.axes for child in ax.child_axes)]
        texts = list(figure.texts)
        for ax in axes:
            texts += [ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
            ticks = [*ax.xaxis._update_ticks(), *ax.yaxis._update_ticks()]  # those in sight
            texts += [label for tick in ticks for label in (tick.label1, tick.label2)]
            texts += ax.get_legend().get_texts() if ax.get_legend() else []
        shown = [text for text in texts if text.get_text() and text.get_visible()]
        places = [text.get_window_extent(renderer) for text in shown]
        for k, (text, place) in enumerate(zip(shown, places, strict=True)):
            assert figure.bbox.x0 <= place.x0 < place.x1 <= figure.bbox.x1, text
            assert figure.bbox.y0 <= place.y0 < place.y1 <= figure.bbox.y1, text
            for other, over in zip(shown[:k], places[:k], strict=True):
                assert not place.overlaps(over), (text, other)


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


def test_a_single_step_has_a_whole_number(plane: Solution) -> None:
    once = History({"step": [1], "level": ["32x32"], "residual": [0.5], "mass_error": [0.0]})
    last = dataclasses.replace(plane, history=once, status=pma.Status.MAX_STEPS).plot().axes[2]
    assert all(float(tick).is_integer() for tick in last.get_xticks())


def test_a_figure_of_the_result_alone_makes_no_curve(plane: Solution) -> None:
    steps = {"residual": [1.0, 0.1], "kl": [math.nan, 1e-9]}
    last = dataclasses.replace(plane, history=History(steps)).plot().axes[2]
    assert [text.get_text() for text in last.get_legend().get_texts()] == ["residual"]


def test_rounding_does_not_flatten_the_curves(plane: Solution) -> None:
    steps = {"residual": 10.0 ** -np.arange(6), "mass_error": [1e-17, *[1e-6] * 5]}
    last = dataclasses.replace(plane, history=History(steps)).plot().axes[2]
    assert 1e-8 < last.get_ylim()[0] < 1e-6


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


def test_in_space_there_are_marginals_and_images_of_planes(tmp_path: Path) -> None:
    scale, shift = np.array([0.5, 1.0, 2.0]), np.array([1.0, -1.0, 0.5])
    problem = pma.TransportProblem(pma.Gaussian([0] * 3, 1.0), pma.Gaussian(shift, scale**2))
    figure = solution_of(problem, pma.Affine(np.diag(scale), shift)).plot(tmp_path / "space.png")
    panels = figure.axes[:6]
    for column, (k, m) in enumerate(((0, 1), (0, 2), (1, 2))):
        above, below = panels[column], panels[3 + column]
        assert above.get_xlabel() == f"$y_{k + 1}$"
        assert below.get_ylabel() == f"$x_{m + 1}$"
        lines = [ax.collections[-1].get_segments() for ax in (above, below)]
        before, after = (np.concatenate(part) for part in lines)
        np.testing.assert_allclose(after, before * scale[[k, m]] + shift[[k, m]], atol=1e-9)
        # the marginal is that of the Gaussian: it has mass one on its grid and the right peak
        peak = above.images[0].get_array().max()
        assert peak == pytest.approx(1.0 / (2.0 * math.pi), rel=0.02)
    assert (tmp_path / "space.png").stat().st_size > 10_000


def test_four_dimensions_are_refused() -> None:
    problem = pma.TransportProblem(pma.Gaussian([0] * 4, 1.0), pma.Gaussian([1] * 4, 1.0))
    with pytest.raises(pma.InputError, match="one to three dimensions, this one has 4"):
        solution_of(problem, pma.Identity(4), fields=None).plot()


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
    assert figures._with_error("x", -1e-7, 0.008) == "x 0 ± 0.008"
    assert figures._with_error("x", 0.0, 0.0) == "x 0"
    assert figures._estimate("e", -1.23e-7) == r"e −1.2$\times 10^{-7}$"
