"""What can be held against the truth, brought into one form."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.comparison.truth import Constants, Truth, same_measure
from parabolic_ma.maps import TransportMap
from parabolic_ma.points import as_points
from parabolic_ma.solution import Solution
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parabolic_ma.measures.protocol import Measure

__all__ = ["Candidate", "understand"]

_ALLOWED = (
    "a Solution, a TransportMap, a function of points, an array of samples or a torch distribution"
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A candidate with what it can do."""

    kind: str
    """In words."""
    draw: Callable[[int, np.random.Generator], tuple[Array, Array | None]]
    """Points ``(n, d)``, and their log densities if the candidate has a density."""
    transport: Callable[[Array], Array] | None = None
    """A map of the truth's reference."""
    log_density: Callable[[Array], Array] | None = None
    available: int | None = None
    """How many points there are, if they are given."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why there is no ``"map"`` or no ``"density"``."""


def understand(candidate: Any, truth: Truth, rng: np.random.Generator) -> Candidate:
    """Tell what a candidate is.

    Parameters
    ----------
    candidate : object
        What the user gave.
    truth : Truth
        What it will be compared with.
    rng : numpy.random.Generator
        For a first look at a torch distribution, and at two references.

    Raises
    ------
    InputError
        If it is nothing that can be compared, or has another dimension.
    """
    if isinstance(candidate, type):
        raise InputError(
            f"candidate must be {_ALLOWED}, got the class {candidate.__name__}; make one of it"
        )
    if isinstance(candidate, Solution):
        _check_dim(candidate.problem.dim, truth.dim)
        return _of_solution(candidate, truth, rng)
    if isinstance(candidate, TransportMap):
        _check_dim(candidate.dim, truth.dim)
        name = f"a map ({type(candidate).__name__})"
        return _pushed(name, candidate, truth.reference, truth.constants, {"map": ""})
    if _is_law(candidate):
        return _of_law(candidate, truth, rng)
    if _is_module(candidate):
        return _of_law(_law_of_module(candidate), truth, rng)
    if callable(candidate):
        return _of_function(candidate, truth)
    return _of_samples(candidate, truth.dim)


def _check_dim(found: int, expected: int) -> None:
    if found != expected:
        raise InputError(
            f"the candidate has dimension {found} and the truth {expected}; only what lives on the "
            "same space can be compared"
        )


# ------------------------------------------------------------------ maps


def _of_solution(candidate: Solution, truth: Truth, rng: np.random.Generator) -> Candidate:
    own = candidate.problem.reference
    name = "a solution"
    if same_measure(own, truth.reference, rng):
        return _pushed(name, candidate.map, truth.reference, truth.constants, {"map": ""})
    constants = Constants.of(candidate.problem, candidate.log_evidence)
    reasons = {
        "map": "the candidate's reference is not the truth's, so that its map is another one"
    }
    if not constants.absolute:
        reasons["density"] = (
            "neither measure of the candidate is normalised, so that its density is known up to a "
            "factor only"
        )
    elif not truth.constants.absolute:
        reasons["density"] = _UNNORMALISED_TRUTH
    return _pushed(name, candidate.map, own, constants, reasons)


_UNNORMALISED_TRUTH = (
    "neither measure of the truth is normalised, so that its density is known up to a factor only"
)


def _pushed(
    kind: str,
    transport: TransportMap,
    reference: Measure,
    constants: Constants,
    reasons: Mapping[str, str],
) -> Candidate:
    """The image of a measure under a map."""

    def density_of(y: Array) -> Array:
        return np.asarray(
            -reference.potential(y) - transport.log_abs_det_jacobian(y) - constants.reference
        )

    dense = "density" not in reasons

    def draw(n: int, rng: np.random.Generator) -> tuple[Array, Array | None]:
        y = reference.sample(n, rng)
        return transport(y), density_of(y) if dense else None

    return Candidate(
        kind,
        draw,
        transport=None if reasons["map"] else transport,
        log_density=(lambda x: density_of(transport.inverse(x))) if dense else None,
        reasons=reasons,
    )


def _of_function(function: Callable[[Array], Any], truth: Truth) -> Candidate:
    def transport(y: Array) -> Array:
        found = function(y)
        images, _ = as_points(_array(found), truth.dim, "what the candidate returns")
        if len(images) != len(y):
            raise InputError(
                f"the candidate returned {len(images)} points for {len(y)}; as a function it must "
                "be a map, points (n, d) to points (n, d)"
            )
        return images

    return Candidate(
        "a function",
        lambda n, rng: (transport(truth.reference.sample(n, rng)), None),
        transport=transport,
        reasons={"density": "a function gives images of points, and no density"},
    )


# ------------------------------------------------------------------ samples


def _of_samples(values: Any, dim: int) -> Candidate:
    values = _array(values)
    if not isinstance(values, np.ndarray | list | tuple):
        raise InputError(f"candidate must be {_ALLOWED}, got {type(values).__name__}")
    points, _ = as_points(np.asarray(values), dim, "candidate, an array of samples,")
    if len(points) < 2:
        raise InputError(f"candidate must have at least 2 samples, got {len(points)}")
    bad = len(points) - int(np.count_nonzero(np.isfinite(points).all(axis=1)))
    if bad:
        raise InputError(
            f"{bad} of the {len(points)} samples of the candidate are not finite; leave them out"
        )

    def draw(n: int, rng: np.random.Generator) -> tuple[Array, None]:
        return points[rng.permutation(len(points))[:n]], None

    return Candidate(
        "an array of samples",
        draw,
        available=len(points),
        reasons={
            "map": "samples are no map",
            "density": "samples have no density",
        },
    )


def _array(values: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return values


# ------------------------------------------------------------------ torch
# A torch distribution can only be given by someone who has imported torch, so that it need not be
# imported here.


def _is_law(candidate: Any) -> bool:
    return callable(getattr(candidate, "sample", None)) and callable(
        getattr(candidate, "log_prob", None)
    )


def _is_module(candidate: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(candidate, torch.nn.Module)


def _law_of_module(module: Any) -> Any:
    """The distribution that a flow gives when it is called without a context."""
    try:
        law = module()
    except TypeError as error:
        raise InputError(
            f"a torch module is compared by the distribution that it returns when called without "
            f"arguments, and {type(module).__name__} could not be ({error}); give the "
            "distribution, or a function of points"
        ) from None
    if not _is_law(law):
        raise InputError(
            f"calling the torch module {type(module).__name__} without arguments returned "
            f"{type(law).__name__}, which has no sample and log_prob; give a distribution, or a "
            "function of points"
        )
    return law


@contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """Draw from torch's generators by a seed, and put them back as they were."""
    torch = sys.modules["torch"]
    cuda = torch.cuda
    devices = list(range(cuda.device_count())) if cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(int(rng.integers(2**63)))
        yield


def _of_law(law: Any, truth: Truth, rng: np.random.Generator) -> Candidate:
    torch = sys.modules.get("torch")
    name = type(law).__name__
    probe = None
    if torch is not None:
        with _seeded(rng):
            probe = law.sample((3,))
    if torch is None or not isinstance(probe, torch.Tensor):
        raise InputError(
            f"candidate must be {_ALLOWED}; {name} has sample and log_prob, but no torch samples"
        )
    flat = tuple(probe.shape) == (3,)
    if not (flat and truth.dim == 1) and tuple(probe.shape) != (3, truth.dim):
        raise InputError(
            f"three samples of the candidate, the torch distribution {name}, have shape "
            f"{tuple(probe.shape)}; in dimension {truth.dim} it must be (3, {truth.dim})"
        )

    def log_density(x: Array) -> Array:
        points = torch.from_numpy(np.ascontiguousarray(x)).to(probe)
        points = points[:, 0] if flat else points
        inside = _support(law, points, torch)
        values = np.full(len(x), -np.inf)
        with torch.no_grad():
            found = law.log_prob(points[inside])
        if tuple(found.shape) != (int(inside.sum()),):
            raise InputError(
                f"log_prob of the candidate, the torch distribution {name}, has shape "
                f"{tuple(found.shape)} for {int(inside.sum())} points; wrap independent "
                "coordinates in torch.distributions.Independent(law, 1)"
            )
        values[inside.cpu().numpy()] = found.double().cpu().numpy()
        return values

    def draw(n: int, rng: np.random.Generator) -> tuple[Array, Array | None]:
        with _seeded(rng):
            drawn = law.sample((n,))
        points = drawn.double().cpu().numpy().reshape(n, truth.dim)
        return points, log_density(points) if absolute else None

    log_density(np.asarray(probe.double().cpu()).reshape(3, truth.dim))  # refuse early
    absolute = truth.constants.absolute
    return Candidate(
        f"a torch distribution ({name})",
        draw,
        log_density=log_density if absolute else None,
        reasons={
            "map": "a distribution is no map",
            **({} if absolute else {"density": _UNNORMALISED_TRUTH}),
        },
    )


def _support(law: Any, points: Any, torch: Any) -> Any:
    """Which points the distribution has a density at; asking it elsewhere may be an error."""
    everywhere = torch.ones(len(points), dtype=torch.bool, device=points.device)
    try:
        inside = law.support.check(points)
    except (AttributeError, NotImplementedError):
        return everywhere
    return inside if inside.shape == everywhere.shape else everywhere
