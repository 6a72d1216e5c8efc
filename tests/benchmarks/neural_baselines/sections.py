"""What the table holds; every section yields its rows one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks.neural_baselines import manufactured, w2b
from benchmarks.neural_baselines.methods import Method, settings, train_points
from benchmarks.neural_baselines.scoring import (
    FIGURES,
    c2st,
    c2st_neighbours,
    from_solution,
    score,
    uvp,
    w2,
)
from benchmarks.neural_baselines.targets import load

import parabolic_ma as pma
from parabolic_ma import posteriors

__all__ = ["SECTIONS", "Request", "Row", "Section"]

Row = dict[str, Any]

_MAP_SEED = 70_000
_LEAST_EIGENVALUE = 0.1  # of the potential behind a manufactured map
_POSTERIOR_SAMPLES = 200_000
_BY_POTENTIAL = ("mix1", "ring", "banana")
_DIGITS, _JUDGED, _JITTER = 1347, 450, 0.05
_COST_STEPS = {"refit": 60, "dual": 16, "composed": 4}


@dataclass(frozen=True)
class Request:
    """What is to be measured."""

    methods: list[Method]
    targets: list[str]
    seeds: int
    w2b: str | None


@dataclass(frozen=True)
class Section:
    """A part of the table: how its rows are made, and its columns with their heads."""

    rows: Callable[[Request], Iterator[Row]]
    columns: Mapping[str, str]


def _timed(run: Callable[[], pma.Solution]) -> tuple[pma.Solution, float]:
    begin = time.process_time()
    solution = run()
    return solution, time.process_time() - begin


def generative(request: Request) -> Iterator[Row]:
    """Every method from the same points of a target."""
    for name in request.targets:
        target = load(name)
        for method in request.methods:
            for seed in range(request.seeds):
                points = target.draw(train_points(), seed)
                begin = time.process_time()
                model = method.fit(target, points, seed)
                seconds = time.process_time() - begin
                row = {"target": name, "method": method.name, "seed": seed, "cpu_seconds": seconds}
                yield row | score(target, model)


def by_potential(request: Request) -> Iterator[Row]:
    """Fit targets that are known by their potential."""
    for name in (t for t in _BY_POTENTIAL if t in request.targets):
        target = load(name)
        problem = pma.TransportProblem(target.reference, target.measure)
        for method, table in (("variational", "variational"), ("score", "score_by_potential")):
            for seed in range(request.seeds):
                solver = pma.NeuralFlow(
                    method=method, seed=seed, threads=1, **settings(table, name)
                )
                solution, seconds = _timed(
                    lambda solver=solver, problem=problem: pma.solve(
                        problem, solver, raise_on_failure=False
                    )
                )
                row = {"target": name, "method": method, "seed": seed, "cpu_seconds": seconds}
                yield row | score(target, from_solution(solution))


def known_maps(request: Request) -> Iterator[Row]:
    """Fit where the Brenier map is known, beside the best map between normal distributions."""
    for dim in w2b.DIMENSIONS:
        problem, exact = manufactured.problem(dim, least=_LEAST_EIGENVALUE)
        y = problem.reference.sample(train_points(), _MAP_SEED)
        images = exact(y)
        linear = w2b.linear_map(y, images)
        name = f"log cosh {dim}D"
        yield {"target": name, "method": "linear map", "seed": 0, "l2_uvp": uvp(linear(y), images)}
        yield from _fitted(
            name,
            "variational",
            problem,
            request.seeds,
            lambda found, y=y, x=images: uvp(found(y), x),
        )
        if request.w2b is None:
            continue
        pairs = w2b.load(request.w2b, dim)
        linear = w2b.linear_map(pairs.source, pairs.target)
        name = f"w2b {dim}D"
        yield {"target": name, "method": "linear map", "seed": 0, "l2_uvp": pairs.l2_uvp(linear)}
        yield from _fitted(name, "semidual", pairs.problem, request.seeds, pairs.l2_uvp)


def _fitted(
    name: str,
    method: str,
    problem: pma.TransportProblem,
    seeds: int,
    judge: Callable[[Any], float],
) -> Iterator[Row]:
    for seed in range(seeds):
        solver = pma.NeuralFlow(method=method, seed=seed, threads=1, **settings("known_map", name))
        solution, seconds = _timed(
            lambda solver=solver: pma.solve(problem, solver, raise_on_failure=False)
        )
        row = {"target": name, "method": method, "seed": seed, "cpu_seconds": seconds}
        yield row | {"l2_uvp": judge(solution.map)}


def bayesian(request: Request) -> Iterator[Row]:
    """Posteriors of which the evidence, the means and the deviations are known by quadrature."""
    for name in posteriors.names():
        item = posteriors.posterior(name)
        problem = item.problem()
        for seed in range(request.seeds):
            solver = pma.NeuralFlow(seed=seed, threads=1, **settings("posterior", name))
            solution, seconds = _timed(
                lambda solver=solver, problem=problem: pma.solve(
                    problem, solver, raise_on_failure=False
                )
            )
            z = solution.sample(_POSTERIOR_SAMPLES, seed + 1)
            draws = item.constrain(problem.target.to_original(z))
            off = np.abs(draws.mean(axis=0) - item.means) / item.sds
            yield {
                "target": name,
                "method": "variational",
                "seed": seed,
                "cpu_seconds": seconds,
                "dim": problem.dim,
                "evidence_error": abs(solution.log_evidence - item.log_evidence),
                "mean_error": float(off.max()),
                "sd_error": 100.0 * float(np.abs(draws.std(axis=0) / item.sds - 1.0).max()),
            }


def digits(request: Request) -> Iterator[Row]:
    """Pictures of 8 by 8 handwritten digits, with a little noise: 1347 to learn, 450 to judge."""
    from sklearn.datasets import load_digits

    for seed in range(request.seeds):
        rng = np.random.default_rng(seed)
        points = load_digits().data / 16.0
        points = rng.permutation(points) + _JITTER * rng.standard_normal(points.shape)
        train, test = points[:_DIGITS], points[-_JUDGED:]
        normal = pma.Gaussian(train.mean(axis=0), np.cov(train.T))
        problem = pma.TransportProblem(pma.Gaussian(np.zeros(64), 1.0), pma.Samples(train))
        solver = pma.NeuralFlow(
            method="semidual", seed=seed, threads=1, **settings("digits", "digits")
        )
        solution, seconds = _timed(
            lambda problem=problem, solver=solver: pma.solve(
                problem, solver, raise_on_failure=False
            )
        )
        models = {
            "semidual": (solution.sample(len(test), seed + 1), {"cpu_seconds": seconds}),
            "normal fit": (normal.sample(len(test), seed + 1), {}),
            "training points": (train[: len(test)], {}),
        }
        for name, (drawn, row) in models.items():
            yield {
                "target": "digits",
                "method": name,
                "seed": seed,
                **row,
                "c2st": c2st(drawn, test),
                "c2st_neighbours": c2st_neighbours(drawn, test),
                "w2": w2(drawn, test),
                "variance": float(drawn.var(axis=0).sum() / test.var(axis=0).sum()),
            }


def cost(_: Request) -> Iterator[Row]:
    """What a step costs late in a flow against early, in time and memory."""
    target = load("ring")
    problem = pma.TransportProblem(target.reference, pma.Samples(target.draw(train_points(), 0)))
    for method in ("logistic", "score"):
        solver = pma.NeuralFlow(method=method, steps=_COST_STEPS["refit"], threads=1)
        yield {"target": "ring", "method": f"{method}, refitted", "seed": 0} | _growth(
            problem, solver
        )
    for form in ("dual", "composed"):
        solver = pma.NeuralFlow(method="logistic", form=form, steps=_COST_STEPS[form], threads=1)
        yield {"target": "ring", "method": f"logistic, {form}", "seed": 0} | _growth(
            problem, solver
        )


def _growth(problem: pma.TransportProblem, solver: pma.NeuralFlow) -> Row:
    """Times and memory of the first and the last quarter of the steps."""
    state = solver.init(problem)
    seconds, memory = [], []
    assert solver.steps is not None
    for _ in range(solver.steps):
        begin = time.process_time()
        state = solver.step(problem, state)
        seconds.append(time.process_time() - begin)
        memory.append(_resident())
    quarter = max(solver.steps // 4, 1)
    # the first step compiles nothing, but touches memory for the first time
    early = seconds[1 : 1 + quarter]
    return {
        "steps": solver.steps,
        "early_seconds": median(early),
        "late_seconds": median(seconds[-quarter:]),
        "memory_growth": memory[-1] - memory[quarter - 1],
    }


def _resident() -> float:
    """Memory of this process now, in MB; nan where the system does not say."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return float("nan")


SECTIONS: dict[str, Section] = {
    "data": Section(generative, {"cpu_seconds": "CPU s", **FIGURES}),
    "potential": Section(by_potential, {"cpu_seconds": "CPU s", **FIGURES}),
    "maps": Section(known_maps, {"cpu_seconds": "CPU s", "l2_uvp": "UVP %"}),
    "posteriors": Section(
        bayesian,
        {
            "cpu_seconds": "CPU s",
            "dim": "d",
            "evidence_error": "log Z error",
            "mean_error": "mean error / sd",
            "sd_error": "sd error %",
        },
    ),
    "digits": Section(
        digits,
        {
            "cpu_seconds": "CPU s",
            "c2st": "C2ST",
            "c2st_neighbours": "C2ST 5 neighbours",
            "w2": "W2",
            "variance": "variance ratio",
        },
    ),
    "cost": Section(
        cost,
        {
            "steps": "steps",
            "early_seconds": "s a step, early",
            "late_seconds": "late",
            "memory_growth": "MB more",
        },
    ),
}
