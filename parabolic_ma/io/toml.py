"""Problems as TOML; solvers are in `parabolic_ma.io.solver_toml`.

A problem is two tables, ``[reference]`` and ``[target]``; ``kind`` says which measure a table is:

===================  =============================================================================
kind                 keys
===================  =============================================================================
``gaussian``         ``mean``, ``cov`` (variance, variances or matrix); or ``fitted = true``: mean
                     and covariance of the other measure
``gaussian_mixture`` ``means``, ``covs`` (variances or matrices), ``weights``
``uniform``          ``box = [[lower, upper], ...]``
``grid_density``     one of ``values`` (nested lists), ``path`` (npy; npz or h5 with ``key``) and
                     ``image`` (a picture, or an array of its rows), with ``box`` and ``floor``
``samples``          one of ``points`` (nested lists) and ``path`` (csv, npy, npz, h5) with
                     ``columns`` and ``key``; ``weights``, ``bandwidth``
``potential``        ``function = "module:name"``, ``gradient``, ``dim``, ``box``, ``normalized``,
                     ``framework``, ``log_concave``; runs code, so only where that is allowed
``standardised``     ``measure`` (an inline table of another kind), with ``mean`` and ``cov``;
                     without them its moments or Laplace approximation (a file has ``shift`` and
                     ``scale``)
``tabulated``        ``box``, ``normalized`` and values kept beside the text in a solution file
``missing``          ``dim``: a function in more than three dimensions that a file did not keep
===================  =============================================================================

Paths are relative to the TOML file. In a solution file arrays are kept beside the text, in
``/problem``, and ``stored`` names them, so the file stands alone. A Python function cannot be
stored: its values are tabulated instead, and reading the file back gives the measure with the
tabulated potential (kind ``tabulated``), above three axes a placeholder (kind ``missing``), for
which the problem must be given again. Reading a file never runs code. Weights of mixtures and
grid densities come back from a solution file bit for bit, they are not normalised a second time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from msgspec import UNSET

from parabolic_ma.grid import Box
from parabolic_ma.io.pointfiles import read_points
from parabolic_ma.io.tabulated import TabulatedPotential, tabulate
from parabolic_ma.io.toml_tables import (
    Count,
    GaussianMixtureTable,
    GaussianTable,
    GridDensityTable,
    MeasureTable,
    MissingTable,
    Pairs,
    PotentialTable,
    ProblemTable,
    SamplesTable,
    StandardisedTable,
    Table,
    TabulatedTable,
    UniformTable,
)
from parabolic_ma.io.tomltext import convert, dump, parse, place
from parabolic_ma.measures import (
    Gaussian,
    GaussianMixture,
    GridDensity,
    Measure,
    MissingPotential,
    Potential,
    Samples,
    Standardised,
    Uniform,
)
from parabolic_ma.points import as_floats
from parabolic_ma.problem import TransportProblem
from parabolic_ma.status import InputError, MissingExtraError
from parabolic_ma.typing import Array

__all__ = [
    "Count",
    "MeasureTable",
    "Pairs",
    "ProblemTable",
    "Table",
    "build_measure",
    "build_problem",
    "measure_arrays",
    "measure_table",
    "problem_from_toml",
    "problem_text",
    "problem_to_toml",
]

_TABLE_AXES = 3  # a function is kept as a table of its values up to here
_NORMALISED = 1e-12  # what weights that were normalised may miss one by


@dataclass(frozen=True)
class _Context:
    """Where a table comes from and what it may use."""

    source: str
    folder: Path
    allow_code: bool
    arrays: Mapping[str, Array]
    restored: bool
    """Whether the text is that of a solution file: its numbers are final."""

    def stored(self, name: str) -> Array:
        """Return an array kept beside the text."""
        if name not in self.arrays:
            raise InputError(
                f"stored array {name!r} is not there: stored= only has a meaning inside a solution "
                "file; use path= to name a file"
            )
        return self.arrays[name]

    def path(self, name: str) -> Path:
        """Return a path, relative to the folder of the TOML file."""
        path = self.folder / Path(name).expanduser()
        if not path.is_file():
            if path.is_dir():
                raise InputError(f"path {name!r} is a folder; give the name of a file in it")
            raise InputError(
                f"path {name!r} names no file (looked for {path}); it is taken relative to the "
                "folder of the TOML file"
            )
        return path


def problem_from_toml(
    text: str | Mapping[str, Any],
    base_dir: str | Path | None = None,
    allow_code: bool = False,
    *,
    arrays: Mapping[str, Array] | None = None,
    source: str = "problem",
) -> TransportProblem:
    """Make a problem of its TOML.

    Parameters
    ----------
    text : str or mapping
        TOML, or what it parses to.
    base_dir : str or Path, optional
        Folder that paths are relative to; the current one if not given.
    allow_code : bool
        Whether a ``potential`` may import and call the Python function that it names.
    arrays : mapping of str to ndarray, optional
        Arrays kept beside the text, by the names in ``stored``. Given, even if empty, the text is
        one that `problem_to_toml` wrote, and its numbers are taken as they are.
    source : str
        What to call the text in errors.

    Raises
    ------
    InputError
        If a key is unknown or missing, a value cannot be used, or code is named and not allowed.
        The message ends with the place, as ``$.target.covs``.
    """
    table = parse(text, source) if isinstance(text, str) else dict(text)
    spec = convert(table, ProblemTable, source)
    return build_problem(
        spec, Path() if base_dir is None else Path(base_dir), allow_code, arrays, source
    )


def build_problem(
    spec: ProblemTable,
    folder: Path,
    allow_code: bool,
    arrays: Mapping[str, Array] | None,
    source: str,
) -> TransportProblem:
    """Make the measures of checked tables; arguments as in `problem_from_toml`."""
    context = _Context(source, folder, allow_code, arrays or {}, arrays is not None)
    sides = {"reference": spec.reference, "target": spec.target}
    fitted = [side for side, table in sides.items() if getattr(table, "fitted", False)]
    if len(fitted) == 2:
        raise InputError(
            f"{source}: both measures are fitted to each other; give one of them - at `$`"
        )
    built: dict[str, Any] = {}
    for side in sorted(sides, key=lambda name: name in fitted):
        table = sides[side]
        with place(source, f"$.{side}", table.__struct_fields__):
            other = built.get("target" if side == "reference" else "reference")
            built[side] = _measure(table, context, other)
    with place(source, "$"):
        return TransportProblem(reference=built["reference"], target=built["target"])


def build_measure(
    table: MeasureTable,
    folder: Path,
    allow_code: bool,
    arrays: Mapping[str, Array] | None,
    source: str,
    where: str,
) -> Measure:
    """Make one measure of its checked table, at the place ``where``; see `problem_from_toml`."""
    context = _Context(source, folder, allow_code, arrays or {}, arrays is not None)
    with place(source, where, table.__struct_fields__):
        if getattr(table, "fitted", False):
            raise InputError(
                "fitted = true takes mean and cov from the other measure of a problem, and here is "
                "none; give mean and cov"
            )
        measure: Measure = _measure(table, context, None)
        return measure


def _measure(table: MeasureTable, context: _Context, other: Any) -> Any:
    """Make the measure of one table; ``other`` is the other side's, for a fit."""
    match table:
        case GaussianTable():
            return _gaussian(table, other)
        case GaussianMixtureTable():
            return _mixture(table, context)
        case UniformTable():
            return Uniform(table.box)
        case GridDensityTable():
            return _grid_density(table, context)
        case SamplesTable():
            return _samples(table, context)
        case PotentialTable():
            return _potential(table, context)
        case StandardisedTable():
            return _standardised(table, context, other)
        case MissingTable():
            box = None if table.box is None else Box.of(table.box)
            return MissingPotential(
                table.dim, table.normalized, table.log_concave, box, table.origin
            )
        case TabulatedTable():
            function = TabulatedPotential(
                context.stored(table.stored), Box.of(context.stored(table.stored_box).tolist())
            )
            return Potential(
                function,
                function.box.dim,
                gradient=function.gradient,
                normalized=table.normalized,
                box=table.box,
                log_concave=table.log_concave,
            )


def _gaussian(table: GaussianTable, other: Any) -> Gaussian:
    if table.fitted:
        if table.mean is not None or table.cov is not None:
            raise InputError("fitted = true takes mean and cov from the other measure; drop them")
        return Gaussian.fitted(other)
    if table.mean is None or table.cov is None:
        raise InputError("a gaussian needs mean and cov, or fitted = true")
    return Gaussian(table.mean, table.cov)


def _standardised(table: StandardisedTable, context: _Context, other: Any) -> Standardised:
    measure = _measure(table.measure, context, other)
    if table.shift is None and table.scale is None:
        return Standardised(measure, table.mean, table.cov)
    if table.shift is None or table.scale is None or (table.mean, table.cov) != (None, None):
        raise InputError("give shift with scale, or mean with cov, or none of them")
    return Standardised.with_scale(measure, table.shift, table.scale)


def _mixture(table: GaussianMixtureTable, context: _Context) -> GaussianMixture:
    mixture = GaussianMixture(table.means, table.covs, table.weights)
    if not context.restored or table.weights is None:
        return mixture
    weights = np.array(table.weights)
    if abs(weights.sum() - 1.0) < _NORMALISED:
        # dividing by the sum once more changes last bits, and a run would not go on bit for bit
        parts = zip(mixture.means, mixture.covs, strict=True)
        scales = np.array([Gaussian(mean, cov).log_normalizer for mean, cov in parts])
        object.__setattr__(mixture, "weights", weights)
        object.__setattr__(mixture, "log_weights_norm", np.log(weights) - scales)
    return mixture


def _exactly_one(table: Table, names: tuple[str, ...]) -> str:
    given = [name for name in names if getattr(table, name) is not None]
    if len(given) != 1:
        raise InputError(
            f"give exactly one of {', '.join(names)}; got {', '.join(given) or 'none'}"
        )
    return given[0]


def _grid_density(table: GridDensityTable, context: _Context) -> GridDensity:
    origin = _exactly_one(table, ("values", "path", "image", "stored"))
    settings: dict[str, Any] = {} if table.floor is UNSET else {"floor": table.floor}
    if origin == "image":
        if table.box is not None:
            settings["box"] = table.box
        return GridDensity.from_image(
            _picture(context.path(str(table.image)), table.key), **settings
        )
    if table.box is None:
        raise InputError("a grid_density needs box = [[lower, upper], ...], one pair per axis")
    if origin == "values":
        values = as_floats(table.values, "values")
    elif origin == "stored":
        values = context.stored(str(table.stored))
    else:
        values = _array(context.path(str(table.path)), table.key)
    density = GridDensity(values, table.box, **settings)
    mass = values.sum() * density.grid.cell_volume
    if context.restored and abs(mass - 1.0) < _NORMALISED:
        object.__setattr__(density, "values", values.astype(float))  # see _mixture
    return density


def _picture(path: Path, key: str | None) -> Array:
    """Read a picture as grey values, rows from the top; from npy, npz or h5 too."""
    if path.suffix.lower() in {".npy", ".npz", ".h5", ".hdf5"}:
        return _array(path, key)
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("Reading a picture", "plot") from None
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("F"), dtype=float)
    except OSError as error:
        raise InputError(f"image {path} cannot be read: {error}") from None


def _array(path: Path, key: str | None) -> Array:
    """Read an array of any dimension from npy, npz or h5."""
    if path.suffix.lower() in {".npy", ".npz"}:
        try:
            loaded = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            # NumPy takes any file it does not know for a pickle; what it advises is no good here.
            reason = "" if "pickle" in str(error) else f" ({error})"
            raise InputError(
                f"path {path} cannot be read as {path.suffix[1:]}; it is damaged, of another kind, "
                f"or holds objects and no numbers{reason}"
            ) from None
        if path.suffix.lower() == ".npy":
            return np.asarray(loaded)
        with loaded:
            names = list(loaded.files)
            if key is None and len(names) != 1:
                raise InputError(f"key is needed: {path} holds {', '.join(names)}")
            name = names[0] if key is None else key
            if name not in names:
                raise InputError(f"key {key!r} is not in {path}, which holds {', '.join(names)}")
            return np.asarray(loaded[name])
    if path.suffix.lower() in {".h5", ".hdf5"}:
        values = read_points(path, key=key)
        return values[:, 0] if values.shape[1] == 1 else values
    raise InputError(f"path {path} must end in .npy, .npz, .h5 or .hdf5")


def _samples(table: SamplesTable, context: _Context) -> Samples:
    origin = _exactly_one(table, ("points", "path", "stored"))
    weights: Any = table.weights
    if origin == "points":
        points = as_floats(table.points, "points")
    elif origin == "stored":
        points = context.stored(str(table.stored))
        weights = context.stored(weights) if isinstance(weights, str) else weights
    else:
        path = context.path(str(table.path))
        points = read_points(path, table.columns, table.key)
        if isinstance(weights, str):
            weights = read_points(path, [weights])[:, 0]
    if isinstance(weights, str):
        raise InputError("weights names a column of the file in path; here give the numbers")
    bandwidth: Any = table.bandwidth
    return Samples(
        points,
        weights,
        as_floats(bandwidth, "bandwidth") if isinstance(bandwidth, list) else bandwidth,
    )


def _potential(table: PotentialTable, context: _Context) -> Potential:
    if not context.allow_code:
        raise InputError(
            f"function {table.function!r} is Python code that would be run; allow it with "
            "--allow-code (allow_code=True) if you trust the file"
        )
    function = _function(table.function, "function", context.folder)
    gradient = None
    if table.gradient is not None:
        gradient = _function(table.gradient, "gradient", context.folder)
    return Potential(
        function,
        table.dim,
        gradient=gradient,
        normalized=table.normalized,
        box=table.box,
        framework=table.framework,
        log_concave=table.log_concave,
    )


def _function(name: str, field: str, folder: Path) -> Callable[[Array], Array]:
    """Import ``module:name``; modules beside the TOML file are found too."""
    module, _, attribute = name.partition(":")
    if not (attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise InputError(
            f'{field} must be "module:name", such as "model:potential" for the function potential '
            f"in model.py, got {name!r}"
        )
    sys.path.insert(0, str(folder.resolve()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever the user's module does when it is run
        raise InputError(
            f"{field} {name!r} cannot be imported: {str(error) or type(error).__name__}; it is "
            f"looked for beside the TOML file, in {folder.resolve()}, and among the installed "
            "modules"
        ) from error
    finally:
        sys.path.remove(str(folder.resolve()))
    if not callable(found):
        raise InputError(f"{field} {name!r} is not a function, it is a {type(found).__name__}")
    result: Callable[[Array], Array] = found
    return result


def problem_to_toml(problem: TransportProblem) -> tuple[str, dict[str, Array]]:
    """Write a problem as TOML and the arrays that it refers to.

    Parameters
    ----------
    problem : TransportProblem
        Any problem. A measure whose potential is a Python function is tabulated: on its box, or
        on the support of all but 1e-12 of its mass, 256 cells a side (4096 in 1D, 64 in 3D); above
        three axes only its name is kept.

    Returns
    -------
    text : str
        The TOML; `problem_from_toml` makes the problem again, given the arrays.
    arrays : dict of str to ndarray
        By the names in ``stored``, such as ``"target/points"``.
    """
    arrays: dict[str, Array] = {}
    for side, measure in _sides(problem).items():
        arrays |= measure_arrays(side, measure)
    return problem_text(problem), arrays


def measure_arrays(name: str, measure: Any) -> dict[str, Array]:
    """Return the arrays that `measure_table` refers to, by names that begin with ``name/``."""
    match measure:
        case GridDensity():
            return {f"{name}/values": np.asarray(measure.values)}
        case Samples():
            arrays = {f"{name}/points": np.asarray(measure.points)}
            if not _equal(measure.weights):
                arrays[f"{name}/weights"] = np.asarray(measure.weights)
            return arrays
        case Standardised() if not _tabulated(measure):
            return measure_arrays(name, measure.measure)
        case Gaussian() | GaussianMixture() | Uniform():
            return {}
    if not _tabulated(measure):
        return {}
    function = getattr(measure, "function", None)
    if not isinstance(function, TabulatedPotential):
        function = tabulate(measure, getattr(measure, "box", None))
    return {
        f"{name}/potential": function.values,
        f"{name}/potential_box": np.array(list(function.box)),
    }


def problem_text(problem: TransportProblem) -> str:
    """Write a problem as TOML without making its arrays; see `problem_to_toml`."""
    return dump({side: measure_table(side, measure) for side, measure in _sides(problem).items()})


def _sides(problem: TransportProblem) -> dict[str, Any]:
    return {"reference": problem.reference, "target": problem.target}


def measure_table(side: str, measure: Any) -> dict[str, Any]:
    """Describe one measure, its arrays by names that begin with ``side/``."""
    match measure:
        case Gaussian():
            return {"kind": "gaussian", "mean": measure.mean, "cov": measure.cov}
        case GaussianMixture():
            return {
                "kind": "gaussian_mixture",
                "means": measure.means,
                "covs": measure.covs,
                "weights": measure.weights,
            }
        case Uniform():
            return {"kind": "uniform", "box": list(measure.box)}
        case GridDensity():
            return {
                "kind": "grid_density",
                "stored": f"{side}/values",
                "box": list(measure.box),
                "floor": measure.floor,
            }
        case Samples():
            return {
                "kind": "samples",
                "stored": f"{side}/points",
                "weights": None if _equal(measure.weights) else f"{side}/weights",
                "bandwidth": measure.bandwidth,
            }
        case Standardised() if not _tabulated(measure):
            return {
                "kind": "standardised",
                "shift": measure.shift,
                "scale": measure.scale,
                "measure": measure_table(side, measure.measure),
            }
    box = getattr(measure, "box", None)
    if not _tabulated(measure):
        return {
            "kind": "missing",
            "dim": measure.dim,
            "normalized": bool(measure.normalized),
            "log_concave": measure.log_concave,
            "box": None if box is None else list(box),
            "origin": _origin(measure),
        }
    return {
        "kind": "tabulated",
        "stored": f"{side}/potential",
        "stored_box": f"{side}/potential_box",
        "box": None if box is None else list(box),
        "normalized": bool(measure.normalized),
        "log_concave": measure.log_concave,
        "origin": _origin(measure),
    }


def _tabulated(measure: Any) -> bool:
    """Tell whether a measure is kept as a table of its potential.

    A standardised function is tabulated in its own coordinates: in the others it may be too thin.
    """
    if isinstance(measure, Standardised):
        function = isinstance(measure.measure, Potential | Standardised)
        return function and measure.dim <= _TABLE_AXES and _tabulated(measure.measure)
    if isinstance(measure, MissingPotential):
        return False
    if isinstance(getattr(measure, "function", None), TabulatedPotential):
        return True
    known = isinstance(measure, Gaussian | GaussianMixture | Uniform | GridDensity | Samples)
    return not known and measure.dim <= _TABLE_AXES


def _equal(weights: Array) -> bool:
    """Tell whether weights are all the same, which is the default."""
    return bool(np.all(weights == weights[0]))


def _origin(measure: Any) -> str:
    """Name what the table was made of, for the reader of the file."""
    if isinstance(measure, MissingPotential):
        return measure.origin
    function = getattr(measure, "function", measure)
    function = function if hasattr(function, "__qualname__") else type(function)
    return f"{function.__module__}:{function.__qualname__}"
