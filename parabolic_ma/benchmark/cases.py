"""The benchmark cases: problems with known answers, their figures and goals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from parabolic_ma import catalog, datasets
from parabolic_ma.benchmark.measure import (
    best_rate,
    best_step,
    first_use_seconds,
    import_seconds,
    in_child,
    solver,
    tabulated,
    trace,
)
from parabolic_ma.benchmark.rows import Row, at_least, at_most, converged, figure
from parabolic_ma.maps import Affine
from parabolic_ma.measures import Gaussian, GridDensity
from parabolic_ma.problem import TransportProblem
from parabolic_ma.solution import Solution
from parabolic_ma.solvers.grid_flow import GridFlow
from parabolic_ma.solvers.grid_solver import GridSolver
from parabolic_ma.solvers.schedules import Constant
from parabolic_ma.solvers.steppers import SemiImplicit
from parabolic_ma.typing import Array

__all__ = ["CASES"]

_FOUR_SPOTS_W2 = 0.020506776
_RING_W2 = 3.2575
_PICTURES_W2 = 0.01776  # exact linear programming, a point mass on every pixel of 32 x 32
# Square root of the covariance ((1, 0.8), (0.8, 1)).
_CORRELATED_ROOT = 0.5 * np.array(
    [
        [math.sqrt(1.8) + math.sqrt(0.2), math.sqrt(1.8) - math.sqrt(0.2)],
        [math.sqrt(1.8) - math.sqrt(0.2), math.sqrt(1.8) + math.sqrt(0.2)],
    ]
)
# Least observed order that counts as second order: runs stop with an algebraic error of up to a
# tenth of the discretisation error, so that log2 of the ratio of two errors may be as low as
# 2 + log2(0.9 / 1.1) = 1.71.
_SECOND_ORDER = 1.7
_SECOND_ORDER_MASS = 1.8  # the same for the mass error, which the algebraic error hardly moves
_RICHARDSON = 0.25  # share of the plain error of a smooth map that counts as clearly better


def _square(n: int) -> tuple[int, int]:
    return n, n


def _grid(n: int) -> str:
    return f"{n}x{n}"


def _orders(errors: Mapping[int, float]) -> tuple[float, str]:
    """Smallest observed order over the doublings of the grid, and all errors as text."""
    values = list(errors.values())
    smallest = min(math.log2(a / b) for a, b in pairwise(values))
    return smallest, ", ".join(f"{n}: {error:.2e}" for n, error in errors.items())


def _scaled(bound: float, n: int, full: int) -> float:
    """A bound for the grid of ``full`` cells, at second order on one of ``n``."""
    return bound * (full / n) ** 2


# --------------------------------------------------------------------------- P1
def _map_errors(solution: Solution, exact: Callable[[Array], Array]) -> tuple[float, float]:
    """L2 errors of the map and of the centred differences at the centres of a reference grid."""
    fields = solution.fields
    if fields is None or solution.side != "reference":
        raise RuntimeError(f"the grid is on the side {solution.side!r}, expected the reference")
    grid = fields.potential.grid
    points = grid.points()
    images = exact(points)
    weight = np.exp(fields.log_source).ravel() * grid.cell_volume

    def error(found: Array) -> float:
        return float(np.sqrt(weight @ np.sum((found - images) ** 2, axis=1)))

    return error(solution.map(points)), error(fields.gradient.reshape(-1, 2))


def _cosine_square(quick: bool) -> Iterator[Row]:
    case = "cosine_square"
    problem = catalog.load(case)
    sizes = (32, 64, 128) if quick else (32, 64, 128, 256, 512, 1024)
    reported = (64, 128) if quick else (256, 1024)
    goals = {256: (3.5e-6, 2.1e-6), 1024: (2.2e-7, 1.3e-7)}
    errors: dict[int, float] = {}
    for n in sizes:
        run = trace(problem, solver(case, _square(n)))
        errors[n], nodal = _map_errors(run.solution, catalog.cosine_square_map)
        if n in reported:
            spline_goal, nodal_goal = goals.get(n) or (_scaled(g, n, 256) for g in goals[256])
            note = f"{run.solution.status.name}; Newton steps {run.steps_text}"
            yield at_most(case, f"map error {_grid(n)}", "", errors[n], spline_goal, note)
            yield at_most(case, f"centred differences {_grid(n)}", "", nodal, nodal_goal)
    order, text = _orders(errors)
    yield at_least(case, "least order at a doubling", "", order, _SECOND_ORDER, text)
    for n in reported:
        run = trace(problem, solver(case, _square(n), richardson=True))
        error, nodal = _map_errors(run.solution, catalog.cosine_square_map)
        note = f"{errors[n] / error:.1f} times better than without; centred differences {nodal:.1e}"
        bound = _RICHARDSON * errors[n]
        yield at_most(case, f"map error {_grid(n)}, Richardson", "", error, bound, note)


def _cosine_square_speed(quick: bool) -> Iterator[Row]:
    case = "cosine_square_speed"
    n = 128 if quick else 1024
    shape = _square(n)
    problem = tabulated(catalog.load("cosine_square"), shape)
    run = trace(problem, solver("cosine_square", shape), repeats=2 if quick else 5)
    yield converged(case, run.solution)
    note = f"levels {run.levels:.3f}, steps {run.steps:.3f}; Newton steps {run.steps_text}"
    yield at_most(case, f"solve {_grid(n)}", "s", run.solve, None if quick else 0.15, note)
    with_certificate = run.solve + run.certificate
    yield at_most(
        case, "solve and certificate", "s", with_certificate, None if quick else 0.4,
        f"certificate {run.certificate:.3f}",
    )  # fmt: skip
    note = "tables to the cell centres, boxes, moments; not a part of the solve"
    yield figure(case, "densities on the grid", "s", run.evaluation, note)
    memory = in_child("measure:bytes_a_point", n=n)
    note = (
        f"peak of evaluation {memory['evaluation']:.0f}, of steps {memory['solve']:.0f}, held "
        f"before them {memory['held']:.0f}"
    )
    if not memory["exact"]:
        note += "; upper bounds, the system keeps earlier peaks"
    peak = max(memory["evaluation"], memory["solve"])
    if math.isnan(peak):
        yield Row(case, "memory", "", "not known", "", None, "the system does not tell")
        return
    yield at_most(case, "memory of the solve", "bytes/point", peak, None if quick else 150, note)
    yield figure(case, "memory of the certificate", "bytes/point", memory["certificate"])


def _splu(quick: bool) -> Iterator[Row]:
    case = "splu"
    n = 64 if quick else 512
    shape = _square(n)
    problem = tabulated(catalog.load("cosine_square"), shape)
    run = trace(problem, solver("cosine_square", shape), repeats=3 if quick else 7)
    yield converged(case, run.solution)
    residual = run.solution.certificate.residual
    yield figure(case, f"our solve {_grid(n)}", "s", run.solve, f"weighted residual {residual:.1e}")
    for what, tuned in (("SciPy's defaults", False), ("symmetric ordering", True)):
        peer = in_child("splu_newton:cosine_square", n=n, residual=residual, tuned=tuned)
        if not peer["residual"] <= residual:
            raise RuntimeError(f"the peer stopped at {peer['residual']:.1e}, not {residual:.1e}")
        note = (
            f"splu Newton {peer['seconds']:.3g} s, residual {peer['residual']:.1e}, map error "
            f"{peer['map_error']:.1e}, {peer['steps']:.0f} steps on the last grid"
        )
        bound = None if quick or tuned else 200.0
        ratio = peer["seconds"] / run.solve
        yield at_least(case, f"times faster, {what}", "x", ratio, bound, note)


# --------------------------------------------------------------------------- P2, P3, rings
def _four_spots(quick: bool) -> Iterator[Row]:
    case = "four_spots"
    problem = catalog.load(case)
    sizes = (64, 128) if quick else (64, 128, 256, 512)
    solutions = [trace(problem, solver(case, _square(n))).solution for n in sizes]
    yield converged(case, *solutions)
    gaps = {n: s.w2_squared - _FOUR_SPOTS_W2 for n, s in zip(sizes, solutions, strict=True)}
    n = sizes[-1]
    note = ", ".join(f"{m}: {gap:+.2e}" for m, gap in gaps.items())
    bound = _scaled(5e-6, n, 512)
    yield at_most(case, f"W2^2 error {_grid(n)}", "", abs(gaps[n]), bound, note)


def _gaussian(_quick: bool) -> Iterator[Row]:
    case = "gaussian"
    n = 64  # small as it is
    exact = Affine(_CORRELATED_ROOT, np.zeros(2))
    run = trace(catalog.load(case), solver(case, _square(n), tol=1e-10))
    yield converged(case, run.solution)
    error, _ = _map_errors(run.solution, exact)
    yield at_most(case, f"map error {_grid(n)}", "", error, 1e-8)
    most = max(run.newton.values())
    yield at_most(case, "most Newton steps on a grid", "", most, 8, run.steps_text)


def _ring(quick: bool) -> Iterator[Row]:
    case = "ring"
    n = 128 if quick else 512
    run = trace(catalog.load(case), solver(case, _square(n)), repeats=1 if quick else 2)
    yield converged(case, run.solution)
    mass_error = abs(run.solution.certificate.mass_error)
    yield at_most(case, f"mass error {_grid(n)}", "", mass_error, _scaled(2e-6, n, 512))
    gap = run.solution.w2_squared - _RING_W2
    yield at_most(case, "W2^2 error", "", abs(gap), _scaled(2e-4, n, 512), f"{gap:+.2e}")
    steps = list(run.newton.values())
    yield at_most(case, "most Newton steps on a grid", "", max(steps), 12, run.steps_text)
    yield at_most(case, "the same, two finest grids", "", max(steps[-2:]), 4)
    yield figure(case, "solve", "s", run.solve, f"certificate {run.certificate:.3f}")


def _ring_sharp(quick: bool) -> Iterator[Row]:
    case = "ring_sharp"
    n = 128 if quick else 256
    repeats = 1 if quick else 4
    run = trace(catalog.load(case), solver(case, _square(n)), repeats)
    yield converged(case, run.solution)
    mass_error = abs(run.solution.certificate.mass_error)
    yield at_most(case, f"mass error {_grid(n)}", "", mass_error, _scaled(3e-4, n, 256))
    wide = trace(catalog.load("ring"), solver("ring", _square(n)), repeats)
    yield converged(case, wide.solution, what="status of sd 0.5")
    note = f"solve {run.solve:.4f} s against {wide.solve:.4f} s; Newton steps {run.steps_text}"
    ratio = run.solve / wide.solve
    yield at_most(case, "time over that of sd 0.5", "x", ratio, None if quick else 4.0, note)
    yield _known_w2(case, run.solution)


def _known_w2(case: str, solution: Solution) -> Row:
    """W2^2 beside the value that the catalog knows."""
    entry = catalog.get(case)
    known = "" if entry.w2_squared is None else f"known {entry.w2_squared:g} +- {entry.w2_error:g}"
    return Row(case, "W2^2", "", f"{solution.w2_squared:.6g}", "", None, known)


# --------------------------------------------------------------------------- pictures
def _pictures(size: int) -> Callable[[bool], Iterator[Row]]:
    """Camera to astronaut and back, in pixels of ``size`` a side (32 when quick)."""

    def measure(quick: bool) -> Iterator[Row]:
        n = 32 if quick else size
        case = f"pictures_{size}"
        pictures = {
            name: GridDensity.from_image(datasets.picture(name, n))
            for name in ("camera", "astronaut")
        }
        values = []
        for first, second in (("camera", "astronaut"), ("astronaut", "camera")):
            problem = TransportProblem(pictures[first], pictures[second])
            run = trace(problem, GridSolver(shape=(n, n), inner="cell"))
            where = f"{first} to {second}"
            yield converged(case, run.solution, what=f"status, {where}")
            mass = abs(math.expm1(run.solution.certificate.mass_error))
            note = f"least eigenvalue {run.solution.certificate.min_eigenvalue:.2g}"
            yield at_most(case, f"mass of all images - 1, {where}", "", mass, 1e-5, note)
            values.append(run.solution.w2_squared)
            off = abs(values[-1] / _PICTURES_W2 - 1.0)
            note = f"{values[-1]:.6f}; solve {run.solve:.2f} s"
            yield at_most(case, f"W2^2 off the exact LP, {where}", "", off, 0.02, note)
        apart = abs(values[0] / values[1] - 1.0)
        yield at_most(case, "W2^2, one way over the other", "", apart, 2e-3)

    return measure


# --------------------------------------------------------------------------- whole space
def _whole_space(case: str) -> Callable[[bool], Iterator[Row]]:
    """One of the smooth targets of variational inference, from the standard normal."""

    def measure(quick: bool) -> Iterator[Row]:
        n = 64 if quick else 256
        problem = catalog.load(case)
        coarse = trace(problem, solver(case, _square(n // 2)))
        run = trace(problem, solver(case, _square(n)), repeats=1 if quick else 4)
        yield converged(case, run.solution)
        errors = {
            m: abs(r.solution.certificate.mass_error) for m, r in ((n // 2, coarse), (n, run))
        }
        bound = _scaled(2e-4, n, 256)
        yield at_most(
            case, f"mass error {_grid(n)}", "", errors[n], bound, f"Newton steps {run.steps_text}"
        )
        order, text = _orders(errors)
        yield at_least(case, "order of the mass error", "", order, _SECOND_ORDER_MASS, text)
        note = f"densities {run.evaluation:.3f}, certificate {run.certificate:.3f}"
        yield at_most(case, "solve", "s", run.solve, None if quick else 0.1, note)
        yield _known_w2(case, run.solution)

    return measure


def _hard(case: str) -> Callable[[bool], Iterator[Row]]:
    """A target that a grid of this size barely resolves."""

    def measure(quick: bool) -> Iterator[Row]:
        n = 128 if quick else 512
        run = trace(catalog.load(case), solver(case, _square(n)))
        yield converged(case, run.solution)
        certificate = run.solution.certificate
        note = (
            f"least eigenvalue {certificate.min_eigenvalue:.1e}, extended on mass "
            f"{certificate.extension_mass:.1e}; Newton steps {run.steps_text}"
        )
        yield figure(case, f"mass error {_grid(n)}", "", abs(certificate.mass_error), note)
        yield figure(case, "estimated map error", "", certificate.map_error)
        yield figure(case, "solve", "s", run.solve)
        yield _known_w2(case, run.solution)

    return measure


# --------------------------------------------------------------------------- the line
def _mix1_sd(quick: bool) -> Iterator[Row]:
    case = "mix1_sd"
    sizes = (512, 1024) if quick else (512, 1024, 2048, 4096)
    n = sizes[-1]
    entry = catalog.get(case)
    problem, exact = entry.problem(), entry.exact_map
    if exact is None:
        raise RuntimeError(f"the catalog has no exact map of {case}")
    y = np.linspace(-4.0, 4.0, 40_001)
    weight = np.exp(-0.5 * y**2)
    weight /= weight.sum()
    images = exact(y)

    def errors(solution: Solution) -> tuple[float, float]:
        apart = np.abs(solution.map(y) - images)
        return float(np.sqrt(weight @ apart**2)), float(apart.max())

    runs = {m: trace(problem, solver(case, m)) for m in sizes}
    run = trace(problem, solver(case, n), repeats=1 if quick else 5)
    yield converged(case, *(r.solution for r in runs.values()))
    least_squares, largest = errors(run.solution)
    where = "on |y| <= 4"
    yield at_most(
        case, f"map error n = {n}", "", least_squares, _scaled(5e-6, n, 4096), f"L2 {where}"
    )
    yield at_most(case, "largest map error", "", largest, _scaled(3.5e-4, n, 4096), where)
    order, text = _orders({m: errors(r.solution)[0] for m, r in runs.items()})
    yield at_least(case, "least order at a doubling", "", order, _SECOND_ORDER, text)
    sharp = errors(trace(problem, solver(case, n, richardson=True)).solution)
    note = f"{least_squares / sharp[0]:.1f} times better than without; largest {sharp[1]:.1e}"
    yield at_most(case, "map error, Richardson", "", sharp[0], least_squares, note)
    note = f"of which the solve {run.solve:.3f}, the certificate {run.certificate:.3f}"
    yield at_most(case, "everything", "s", run.total, None if quick else 0.2, note)


# --------------------------------------------------------------------------- maps and import
def _map_evaluation(quick: bool) -> Iterator[Row]:
    case = "map_evaluation"
    n, count = (64, 20_000) if quick else (512, 1_000_000)
    for name in ("cosine_square", "ring"):
        problem = catalog.load(name)
        solution = trace(problem, solver(name, _square(n))).solution
        y = Gaussian([0.0, 0.0], 1.0).sample(count, 0)
        if name == "cosine_square":  # its densities have no exact sampler
            y = np.random.default_rng(0).random((count, 2))
        x = solution.map(y)
        ways: list[tuple[str, Callable[[Array], Array], Array]] = [
            ("forward", solution.map, y),
            ("backward", solution.map.inverse, x),
        ]
        if solution.side == "target":
            ways.reverse()
        repeats = 1 if quick else 5
        for (way, function, points), what, goal in zip(
            ways, ("own side", "through the inverse"), (5.0, 1.0), strict=True
        ):
            rate = best_rate(function, points, repeats) / 1e6
            note = f"{way}; grid {_grid(n)}, float64, {count} points in no order"
            bound = None if quick else goal
            yield at_least(case, f"{name}, {what}", "Mpoints/s", rate, bound, note)


def _flow_step(quick: bool) -> Iterator[Row]:
    """One implicit Euler step of the flow against one Newton step, in one run."""
    n = 64 if quick else 512
    for name in ("cosine_square", "ring"):
        problem = catalog.load(name)
        steady = solver(name, _square(n))
        flow = GridFlow(
            _square(n), stepper=SemiImplicit(order=1), schedule=Constant(1e-3), steps=12,
            side=steady.side, average=False,
        )  # fmt: skip
        newton = best_step(
            steady, problem,
            lambda a, b: bool(a.last_grid) and b.newton_steps > a.newton_steps,
        )  # fmt: skip
        ratio = best_step(flow, problem, lambda *_: True) / newton
        yield at_most(
            "flow_step", f"{name}, implicit Euler over Newton", "x", ratio, None if quick else 3.0,
            f"grid {_grid(n)}, every quantity of the history included; Newton {newton:.3g} s",
        )  # fmt: skip


def _import(quick: bool) -> Iterator[Row]:
    case = "import"
    repeats = 2 if quick else 5
    seconds = import_seconds(repeats)
    note = "fresh process, best of several"
    yield at_most(case, "import parabolic_ma", "s", seconds, None if quick else 0.4, note)
    yield figure(
        case, "first solve loaded", "s", first_use_seconds(repeats),
        "the same with the measures, the solver and the compiled kernels read from the cache",
    )  # fmt: skip


CASES: Mapping[str, Callable[[bool], Iterator[Row]]] = MappingProxyType(
    {
        "cosine_square": _cosine_square,
        "cosine_square_speed": _cosine_square_speed,
        "splu": _splu,
        "four_spots": _four_spots,
        "gaussian": _gaussian,
        "ring": _ring,
        "ring_sharp": _ring_sharp,
        "pictures_64": _pictures(64),
        "pictures_128": _pictures(128),
        "u1": _whole_space("u1"),
        "double_well": _whole_space("double_well"),
        "funnel": _whole_space("funnel"),
        "two_modes": _whole_space("two_modes"),
        "banana": _hard("banana"),
        "ring_needle": _hard("ring_needle"),
        "mix1_sd": _mix1_sd,
        "map_evaluation": _map_evaluation,
        "flow_step": _flow_step,
        "import": _import,
    }
)
