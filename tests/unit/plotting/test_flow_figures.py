"""The figure of a flow, and the panel of convergence in the figure of its solution."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.plotting import convergence, flows

pytest.importorskip("matplotlib", reason="pictures need the extra plot")

SAVED = [0.1, 0.2, 0.3, 0.4, 0.5, 1.0]


@pytest.fixture(scope="module")
def line() -> pma.Solution:
    problem = pma.TransportProblem(
        pma.Gaussian([0.0], 1.0), pma.GaussianMixture([[-1.5], [1.5]], covs=0.5)
    )
    return pma.solve(problem, pma.GridFlow(96, schedule=pma.Constant(0.05), save_at=SAVED))


@pytest.fixture(scope="module")
def plane() -> pma.Solution:
    problem = pma.TransportProblem(
        pma.Gaussian([0, 0], 1.0), pma.GaussianMixture([[1.0, 0], [-1.0, 0]], covs=0.5)
    )
    return pma.solve(problem, pma.GridFlow((32, 32), schedule=pma.Constant(0.1), save_at=SAVED))


def labelled(ax: Any) -> dict[str, np.ndarray]:
    """Curves of a panel by their labels."""
    return {artist.get_label(): np.array(artist.get_data()) for artist in ax.lines}


def test_divergences_fall_at_the_rate_of_the_bregman_divergence(line: pma.Solution) -> None:
    curves = labelled(flows.plot_flow(line).axes[0])
    np.testing.assert_allclose(curves["KL(ρ | μ)"], [line.history["t"], line.history["kl"]])
    np.testing.assert_allclose(curves["KL(μ | ρ)"][1], line.history["kl_reverse"])
    t, fall = curves["decrease of B(μ | ρ) per time"]
    both = line.history["kl"] + line.history["kl_reverse"]
    np.testing.assert_allclose(fall, np.interp(t, line.history["t"], both), rtol=0.05)


def test_both_sides_of_the_inequality_and_its_slack(line: pma.Solution) -> None:
    curves = labelled(flows.plot_flow(line).axes[1])
    step, left = curves["left: KL(ρ | μ)"]
    np.testing.assert_allclose(step, np.arange(1, line.history.rows))
    np.testing.assert_allclose(left, line.history["evi_left"][1:])
    np.testing.assert_allclose(curves["right: bound"][1], line.history["evi_right"][1:])
    slack = np.concatenate([curves[k][1] for k in curves if k.startswith("slack")])
    expected = np.abs(line.history["evi_slack"][1:])
    np.testing.assert_allclose(np.sort(slack), np.sort(expected[expected > 0.0]), atol=1e-14)


def test_a_slack_below_zero_is_marked(line: pma.Solution) -> None:
    columns = dict(line.history)
    columns["evi_right"] = columns["evi_left"] - 0.25
    history = pma.History(columns)
    ax = flows.plot_flow(dataclasses.replace(line, history=history)).axes[1]
    curves = labelled(ax)
    assert "slack" not in curves
    np.testing.assert_allclose(curves["slack below zero, its size"][1], 0.25)


@pytest.mark.parametrize("side", ["reference", "target"])
@pytest.mark.parametrize("constant", [0.0, 2.5])
def test_bounds_of_the_evidence_hold_it_and_the_rates_hold_them(side: str, constant: float) -> None:
    target = pma.Potential(lambda x: 0.5 * (x[:, 0] - 1.0) ** 2 - constant, 1, box=[(-7.0, 9.0)])
    problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), target)
    flow = pma.GridFlow(96, schedule=pma.Constant(0.1), steps=4, side=side)
    solution = pma.solve(problem, flow)
    assert solution.log_evidence == pytest.approx(constant + 0.5 * math.log(2 * math.pi), abs=0.02)
    ax = flows.plot_flow(solution).axes[2]
    curves = labelled(ax)
    upper, lower = curves["upper bound"][1], curves["lower bound"][1]
    assert np.all(lower <= 0.02)
    assert np.all(upper >= -0.02)
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    assert vertices[:, 1].min() <= lower.min() + 1e-9
    assert vertices[:, 1].max() >= upper.max() - 1e-9
    assert any("log Z = " in text.get_text() for text in ax.texts)


def test_densities_at_up_to_four_saved_times_and_the_end(
    line: pma.Solution, plane: pma.Solution
) -> None:
    for solution in (line, plane):
        ax = flows.plot_flow(solution).axes[3]
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels == [f"$t$ = {t:g}" for t in (0.1, 0.2, 0.3, 0.5, 1.0)]
    ax = flows.plot_flow(line).axes[3]
    x, density = ax.lines[-1].get_data()
    np.testing.assert_allclose(density, np.exp(line.log_prob(x)), rtol=1e-5, atol=1e-6)


def test_without_saved_times_the_end_alone(line: pma.Solution) -> None:
    ax = flows.plot_flow(dataclasses.replace(line, saved=())).axes[3]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["$t$ = 1"]


def test_the_panel_of_convergence_is_against_time(plane: pma.Solution) -> None:
    figure = plane.plot()
    ax = figure.axes[2]
    assert ax.get_xlabel() == "$t$"
    assert ax.get_yscale() == "log"
    curves = labelled(ax)
    np.testing.assert_allclose(curves["KL(ρ | μ)"], [plane.history["t"], plane.history["kl"]])
    np.testing.assert_allclose(curves["KL(μ | ρ)"][1], plane.history["kl_reverse"])
    average = plane.history["kl_average"]
    np.testing.assert_allclose(
        curves["KL(mean of ρ | μ)"][1], average[np.isfinite(average)], rtol=1e-12
    )
    assert "mass error" in curves
    assert "residual" not in curves
    assert "$t$ 1" in figure.texts[-1].get_text()
    assert "map error" not in figure.texts[-1].get_text()


def test_no_average_no_curve(plane: pma.Solution) -> None:
    columns = dict(plane.history)
    columns["kl_average"] = np.full(plane.history.rows, math.nan)
    ax = dataclasses.replace(plane, history=pma.History(columns)).plot().axes[2]
    assert set(labelled(ax)) == {"KL(ρ | μ)", "KL(μ | ρ)", "mass error"}


def test_steps_have_no_times() -> None:
    assert convergence.flow_times(pma.History({"kl": [1.0, 0.5]})) is None
    assert convergence.flow_times(pma.History({"t": [math.nan, math.nan]})) is None
    assert convergence.flow_times(pma.History({"t": [0.0]})) is None
    assert convergence.flow_times(pma.History({"t": [0.0, 0.5]})).tolist() == [0.0, 0.5]


def test_nothing_is_drawn_over_anything_else(line: pma.Solution, plane: pma.Solution) -> None:
    """Titles, labels and the lines of legends keep apart and inside the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for figure in (flows.plot_flow(line), flows.plot_flow(plane), line.plot(), plane.plot()):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        texts = list(figure.texts)
        for ax in figure.axes:
            texts += [ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
            ticks = [*ax.xaxis._update_ticks(), *ax.yaxis._update_ticks()]
            texts += [label for tick in ticks for label in (tick.label1, tick.label2)]
            texts += ax.get_legend().get_texts() if ax.get_legend() else []
        places = [
            (text, text.get_window_extent(renderer))
            for text in texts
            if text.get_text() and text.get_visible()
        ]
        for text, place in places:
            assert figure.bbox.x0 <= place.x0 < place.x1 <= figure.bbox.x1, text
            assert figure.bbox.y0 <= place.y0 < place.y1 <= figure.bbox.y1, text
        for (text, place), (other, over) in itertools.combinations(places, 2):
            assert not place.overlaps(over), (text, other)


def test_formats_and_a_file_that_is_whole(line: pma.Solution, tmp_path: Path) -> None:
    flows.plot_flow(line, tmp_path / "flow.png")
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(pma.InputError, match=r"ending must be one of \.png, \.pdf"):
        flows.plot_flow(line, tmp_path / "flow.gif")
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_flow_is_refused(line: pma.Solution) -> None:
    steady = dataclasses.replace(line, history=pma.History({"residual": [1.0, 1e-9]}))
    with pytest.raises(pma.InputError, match=r"no times of at least one step; solve with GridFlow"):
        flows.plot_flow(steady)
    bare = dataclasses.replace(line, history=pma.History({"t": [0.0, 1.0], "kl": [1.0, 0.5]}))
    with pytest.raises(pma.InputError, match="no kl_reverse, mass_error"):
        flows.plot_flow(bare)
    problem = pma.TransportProblem(pma.Gaussian([0] * 3, 1.0), pma.Gaussian([1] * 3, 1.0))
    with pytest.raises(pma.InputError, match="one or two dimensions, this one has 3"):
        flows.plot_flow(dataclasses.replace(line, problem=problem))
