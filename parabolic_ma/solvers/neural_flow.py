"""`NeuralFlow`: potentials that are networks, in any dimension."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.maps import TransportMap
from parabolic_ma.measures import Samples
from parabolic_ma.points import as_count
from parabolic_ma.problem import TransportProblem
from parabolic_ma.solution import History, Provenance, Solution
from parabolic_ma.status import InputError, MissingExtraError, Status
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.neural.scene import Scene
    from parabolic_ma.neural.training import Data

__all__ = ["NeuralFlow", "NeuralState"]

_METHODS = ("auto", "variational", "likelihood", "semidual", "score", "logistic")
_POTENTIALS = ("auto", "lse", "icnn", "mlp")
_FORMS = ("refit", "dual", "composed")
_DENSITIES = ("learned", "exact")
_STEPS = {"variational": 100, "likelihood": 60, "semidual": 50, "score": 60, "logistic": 60}
_RATES = {
    "variational": 5e-3,
    "likelihood": 1e-2,
    "semidual": 1e-2,
    "score": 2e-3,
    "logistic": 2e-3,
}
_MOST_COMPOSED = 4
_LARGEST_POLISHED = 1500  # parameters of a network for second-order steps
_LARGEST_NUMBER = 1e30  # beyond it single precision overflows
_LARGEST_SEED = 1 << 62
_NONCONVEX = 1e-3  # share of fresh points at which a converged potential may bend down
_FEWEST_EFFECTIVE = 0.05  # share of the points, below which a map is not what was asked for
_FRESH = 77_777  # seeds of the points that judge are this far from those that train


@dataclass(frozen=True, eq=False)
class NeuralState:
    """A running training. The networks in it are changed in place by every step."""

    scene: Scene
    training: Any
    method: str
    started: float
    rows: tuple[Mapping[str, float], ...] = ()
    failure: Status | None = None
    message: str = ""

    @property
    def progress(self) -> Mapping[str, float]:
        """The last row of the history."""
        return self.rows[-1] if self.rows else {}


@dataclass(frozen=True)
class NeuralFlow:
    """Find the map as the gradient of a network.

    Parameters
    ----------
    method : {"auto", "variational", "likelihood", "semidual", "score", "logistic"}
        ``"variational"`` fits a target known by its potential by the exact KL divergence,
        ``"likelihood"`` one known by `Samples` by their exact likelihood. ``"semidual"`` needs
        points of both sides only and no density: it minimises Kantorovich's semi-dual objective,
        and has the best maps from data. ``"score"`` and ``"logistic"`` follow the flow step by step
        with learned scores or a learned density ratio: the paper's Algorithms 2 and 1. ``"auto"``
        takes one of the first two.
    potential : {"auto", "lse", "icnn", "mlp"}
        Soft maxima of quadratics, input-convex network, or perceptron plus a quadratic; the first
        two are convex by construction. ``"auto"``: soft maxima.
    steps : int, optional
        Steps of the run: of the flow, or rounds of training. By default 100 for ``"variational"``,
        50 for ``"semidual"``, 60 for the others, or as many as fit where there is a time limit.
    step_size : float
        Of a flow, in its time.
    batch : int
        Points in a batch.
    time_limit : float, optional
        Seconds after which training ends; schedules are made to end then. Runs that are limited by
        time do not repeat bit for bit.
    seed : int
        Of everything random: the same seed and ``steps`` give the same result, bit for bit, on the
        same machine and number of threads.
    device : str
        ``"cpu"``.
    threads : int, optional
        Of torch during a step; as torch has them by default.
    form : {"refit", "dual", "composed"}
        Of a flow: one network fitted to every step; the additive flow of the conjugate; or the
        plain composition, for at most four steps. The last two for ``"logistic"`` only.
    density : {"learned", "exact"}
        Whether ``"score"`` learns the score of the model at every step, as the paper does, or
        computes it from the network.
    width : int, optional
        Pieces of a soft maximum (16 in 1D, 32 above, 48 for ``"variational"`` in 2D, 64 for
        ``"semidual"`` above 2D), or units of a layer (64).
    learning_rate : float, optional
        The first one of Adam; it falls to nearly zero.
    inner_steps : int
        Iterations of an estimator in one step of a flow.
    held_out : float
        Share of the data that tells when to stop.

    Raises
    ------
    InputError
        If a setting is not allowed.
    MissingExtraError
        At the start of a run, if torch is not installed.

    References
    ----------
    N. Deb and T. Liang, No-regret generative modeling via parabolic Monge-Ampère PDE, arXiv
    2504.09279.

    Examples
    --------
    >>> import parabolic_ma as pma
    >>> problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), pma.Gaussian([2.0], 0.5))
    >>> solution = pma.solve(problem, pma.NeuralFlow(steps=20))
    >>> solution.kl < 1e-3
    True
    """

    method: str = "auto"
    potential: str = "auto"
    steps: int | None = None
    step_size: float = 0.1
    batch: int = 512
    time_limit: float | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    form: str = "refit"
    density: str = "learned"
    width: int | None = None
    learning_rate: float | None = None
    inner_steps: int = 100
    held_out: float = 0.1

    def __post_init__(self) -> None:
        for name, allowed in (
            ("method", _METHODS),
            ("potential", _POTENTIALS),
            ("form", _FORMS),
            ("density", _DENSITIES),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}"
                )
        for name in ("steps", "threads", "width"):
            if getattr(self, name) is not None:
                self._whole(name)
        for name in ("batch", "inner_steps"):
            self._whole(name)
        object.__setattr__(self, "seed", as_count(self.seed, "seed"))
        for name in ("step_size", "time_limit", "learning_rate"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is None and name != "step_size":
                continue
            if not (number and 0 < value <= _LARGEST_NUMBER):
                raise InputError(
                    f"{name} must be a positive number, at most {_LARGEST_NUMBER:g}; got {value!r}"
                )
        if not (isinstance(self.held_out, int | float) and 0.0 < self.held_out < 1.0):
            raise InputError(f"held_out must lie between 0 and 1, got {self.held_out!r}; try 0.1")
        if self.device != "cpu":
            raise InputError(
                f"device={self.device!r} is not there: networks train on the CPU in this release; "
                'give device="cpu"'
            )
        if self.seed > _LARGEST_SEED:
            raise InputError(f"seed must be at most 2^62, got {self.seed}")
        self._check_form()

    def _check_form(self) -> None:
        """Refuse settings of a flow that its method does not have."""
        if self.density == "exact" and self.method != "score":
            raise InputError(
                f'density="exact" belongs to method="score"; got method={self.method!r}'
            )
        if self.form != "refit" and self.method != "logistic":
            raise InputError(
                f'form={self.form!r} needs method="logistic", which learns the log density ratio '
                f'itself; got method={self.method!r}; give form="refit"'
            )
        if self.form == "composed" and not (self.steps and self.steps <= _MOST_COMPOSED):
            raise InputError(
                f'form="composed" takes at most {_MOST_COMPOSED} steps, each of which costs four '
                f'times the last; got steps={self.steps}; form="refit" goes on for as long as you '
                "like"
            )

    def _whole(self, name: str) -> None:
        value = as_count(getattr(self, name), name)
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
        object.__setattr__(self, name, value)

    def init(
        self, problem: TransportProblem, initial: TransportMap | Solution | None = None
    ) -> NeuralState:
        """Return the state before training: the Gaussian map, or the given one."""
        _need_torch()
        import torch

        from parabolic_ma.neural.starts import start_at_identity, start_from_map

        method = self._method(problem)
        _check_support(problem, method)
        begun = time.perf_counter()
        data = self._data(problem, method)
        scene = _scene(problem, data, method)
        with self._threads(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self._network(problem.dim, method)
            if initial is not None and self.form == "refit":
                transport = initial.map if isinstance(initial, Solution) else initial
                start_from_map(network, scene, transport, np.random.default_rng(self.seed))
            elif initial is not None:
                raise InputError(
                    f'form={self.form!r} starts from the Gaussian map; give form="refit" to start '
                    "from a map"
                )
            else:
                nodes = scene.nodes(2048, self.seed)
                places = nodes if data is None else scene.frame.encode_image(data.train)
                exact = nodes if method in {"score", "logistic"} else None
                start_at_identity(network, places, self.seed, exact)
            training = self._training(scene, network, method, data)
        return NeuralState(scene, training, method, begun)

    def step(self, problem: TransportProblem, state: NeuralState) -> NeuralState:
        """Make a step of the flow, or a round of training."""
        import torch

        rows = len(state.rows)
        begun = state.started
        fraction = self._fraction(rows, state)
        failure, message = None, ""
        with self._threads(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1 + rows)
            try:
                found = state.training.advance(fraction)
            except (torch.linalg.LinAlgError, np.linalg.LinAlgError, InputError) as error:
                # the start was accepted, so that an InputError is about where training has led
                found, failure, message = {}, Status.DIVERGED, str(error).splitlines()[0]
        row = {"step": rows + 1, **found, "seconds": time.perf_counter() - begun}
        watched = ("loss", "loss_held_out", "kl", "logistic_loss", "score_loss", "t")
        if failure is None and not all(math.isfinite(row.get(name, 0.0)) for name in watched):
            failure = Status.DIVERGED
            message = "a loss is not finite: try a smaller learning_rate or step_size"
        elif getattr(state.training, "lost_convexity", False):
            failure = Status.LOST_CONVEXITY
            message = "no step is short enough for the potential to stay convex"
        return dataclasses.replace(state, rows=(*state.rows, row), failure=failure, message=message)

    def terminate(self, problem: TransportProblem, state: NeuralState) -> Status | None:
        """Tell whether the budget is used up, or the training has failed or stopped early."""
        if state.failure is not None:
            return state.failure
        training = state.training
        if self._fraction(len(state.rows), state) < 1.0 and not training.exhausted:
            return None
        if not state.rows:
            return Status.OUT_OF_TIME
        return Status.DIVERGED if training.diverged else Status.CONVERGED

    def finish(self, problem: TransportProblem, state: NeuralState, status: Status) -> Solution:
        """Make the result of the best network so far, judged on fresh points."""
        from parabolic_ma.neural.certificate import judge
        from parabolic_ma.neural.neural_map import NeuralMap

        network = state.training.result().double().requires_grad_(requires_grad=False)
        frame = getattr(state.training, "frame", state.scene.frame)
        transport = NeuralMap(network, frame, getattr(state.training, "side", "reference"))
        known = not isinstance(problem.target, Samples)
        with self._threads():
            found = judge(state.scene, transport, self.seed + _FRESH, known_density=known)
        if status is Status.CONVERGED and found.nonconvex > _NONCONVEX:
            status = Status.LOST_CONVEXITY
        elif status is Status.CONVERGED and found.effective_sample_size < _FEWEST_EFFECTIVE:
            status = Status.MAX_STEPS if self.time_limit is None else Status.OUT_OF_TIME
        return Solution(
            problem=problem,
            map=transport,
            side="none",
            status=status,
            message=self._message(state, found),
            log_evidence=found.log_evidence,
            w2_squared=found.w2_squared,
            kl=found.kl,
            kl_reverse=found.kl_reverse,
            certificate=found.certificate,
            history=History.from_rows(list(state.rows)),
            provenance=Provenance(backend="torch", threads=self.threads or 1, seed=self.seed),
            solver=self,
        )

    def _message(self, state: NeuralState, found: Any) -> str:
        parts = [state.message] if state.message else []
        parts.append(f"{state.method}, {len(state.rows)} steps")
        if math.isfinite(found.kl):
            parts.append(f"KL {found.kl:.3g}")
            parts.append(f"{100 * found.effective_sample_size:.0f} % effective samples")
        losses = [r["loss_held_out"] for r in state.rows if "loss_held_out" in r]
        if losses:
            unit = "" if state.method == "semidual" else " nats"
            parts.append(f"held-out loss {min(losses):.4f}{unit}")
        if found.nonconvex > 0.0:
            parts.append(f"not convex at {100 * found.nonconvex:.2g} % of fresh points")
        return ", ".join(parts)

    def _fraction(self, rows: int, state: NeuralState) -> float:
        """Share of the budget that is used up."""
        steps = self.steps
        if steps is None and self.time_limit is None:
            steps = _STEPS[state.method]
        share = 0.0 if steps is None else rows / steps
        if self.time_limit is not None:
            share = max(share, (time.perf_counter() - state.started) / self.time_limit)
        return share

    def _method(self, problem: TransportProblem) -> str:
        """Return the method, which must fit what is known of the target."""
        by_data = isinstance(problem.target, Samples)
        if self.method == "auto":
            return "likelihood" if by_data else "variational"
        if self.method in {"likelihood", "semidual", "logistic"} and not by_data:
            raise InputError(
                f'method="{self.method}" learns from data, but the target is a '
                f"{type(problem.target).__name__}; give Samples(points) as the target, or take "
                'method="variational" or "score"'
            )
        if self.method == "variational" and by_data:
            raise InputError(
                'method="variational" needs the target\'s potential, but the target is Samples; '
                'take method="likelihood", "score" or "logistic"'
            )
        return self.method

    def _network(self, dim: int, method: str) -> Any:
        from parabolic_ma.neural.potentials import make_potential

        kind = "lse" if self.potential == "auto" else self.potential
        if kind == "lse":
            pieces = self.width or _pieces(dim, method)
            return make_potential({"kind": kind, "dim": dim, "pieces": pieces}).double()
        return make_potential({"kind": kind, "dim": dim, "width": self.width or 64}).double()

    def _data(self, problem: TransportProblem, method: str) -> Data | None:
        """Split the data of a target that is known by them, at random."""
        from parabolic_ma.neural.training import Data

        target = problem.target
        if not isinstance(target, Samples):
            return None
        points, weights = target.points, target.weights
        if len(points) < 10 * (problem.dim + 1):
            raise InputError(
                f"the target has {len(points)} points in dimension {problem.dim}; method="
                f'"{method}" needs at least {10 * (problem.dim + 1)} of them'
            )
        order = np.random.default_rng(self.seed).permutation(len(points))
        first = max(int(self.held_out * len(points)), problem.dim + 1)
        if len(points) - first < 10 * (problem.dim + 1):
            raise InputError(
                f"held_out={self.held_out} leaves {len(points) - first} of {len(points)} points to "
                f"learn from; at least {10 * (problem.dim + 1)} are needed: hold out a smaller part"
            )
        kept, left = weights[order[first:]], weights[order[:first]]
        if method in {"score", "logistic"} and not np.all(kept == kept[0]):
            raise InputError(
                f'method="{method}" takes points of equal weight; draw them again by their '
                'weights, or take method="likelihood"'
            )
        train, held_out = points[order[first:]], points[order[:first]]
        return Data(train, held_out, kept / kept.sum(), left / left.sum())

    def _training(self, scene: Scene, network: Any, method: str, data: Data | None) -> Any:
        rate = self.learning_rate or _RATES[method]
        if method == "variational":
            from parabolic_ma.neural.variational import VariationalTraining

            count = sum(p.numel() for p in network.parameters())
            polish = network.convex and count <= _LARGEST_POLISHED
            return VariationalTraining(scene, network, self.batch, rate, self.seed, polish)
        if method == "likelihood" and data is not None:
            from parabolic_ma.neural.likelihood import LikelihoodTraining

            return LikelihoodTraining(scene, network, data, self.batch, rate, self.seed)
        if method == "semidual" and data is not None:
            from parabolic_ma.neural.semidual import SemidualTraining

            return SemidualTraining(scene, network, data, self.batch, rate, self.seed)
        from parabolic_ma.neural.flow import FlowSettings, FlowTraining

        settings = FlowSettings(
            method,
            self.form,
            self.density,
            self.step_size,
            self.batch,
            rate,
            self.inner_steps,
            64 if self.width is None or self.potential in {"auto", "lse"} else self.width,
            self.seed,
        )
        return FlowTraining(scene, network, settings, data)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Let torch use so many threads, for a while."""
        import torch

        if self.threads is None:
            yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("NeuralFlow", "neural") from None


def _pieces(dim: int, method: str) -> int:
    """Pieces of a soft maximum: fewer where data could be overfitted."""
    if dim <= 2:
        return 16 if dim == 1 else 48 if method == "variational" else 32
    return 64 if method == "semidual" else 32


def _check_support(problem: TransportProblem, method: str) -> None:
    """Refuse densities that are zero where a network's points may fall."""
    name = {"variational": "target", "score": "target", "likelihood": "reference"}.get(method)
    if name is None or not getattr(problem, name).bounded:
        return
    advice = (
        'take method="semidual" or "logistic"'
        if name == "reference"
        else "take a GridSolver, or write the target in coordinates on all of space (the logarithm "
        "of a scale, say)"
    )
    raise InputError(
        f'method="{method}" needs a {name} on all of space, but the {name} is a bounded '
        f"{type(getattr(problem, name)).__name__}; {advice}"
    )


def _covariance(points: Array, weights: Array) -> Array:
    return np.atleast_2d(np.cov(points.T, aweights=weights))


def _scene(problem: TransportProblem, data: Data | None, method: str) -> Scene:
    """Put the problem into coordinates in which both measures have the same covariance."""
    from parabolic_ma.neural.frame import Frame
    from parabolic_ma.neural.scene import Scene

    source = _moments(problem.reference)
    if data is None:
        image = _moments(problem.target)
    else:
        image = data.weights @ data.train, _covariance(data.train, data.weights)
    # without moments of the target its reference is the best guess of its scale
    frame = Frame.between(source, source if image is None else image, problem.dim)
    return Scene(problem, frame, by_points=method == "semidual")


def _moments(measure: Any) -> tuple[Array, Array] | None:
    """Mean and covariance; None of a potential above three dimensions, which has no way to tell."""
    if isinstance(measure, Samples):  # of the points, without the kernel's part
        return measure.weights @ measure.points, _covariance(measure.points, measure.weights)
    try:
        mean, cov = measure.moments()
    except InputError:
        return None
    return np.asarray(mean), np.atleast_2d(np.asarray(cov))
