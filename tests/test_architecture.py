"""The shape of the package: layers, light imports, public names, file sizes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import parabolic_ma as pma

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "parabolic_ma"
SOURCES = sorted(PACKAGE.rglob("*.py"))

PUBLIC = {
    "Affine",
    "Box",
    "Certificate",
    "ConvergenceError",
    "FileFormatError",
    "Gaussian",
    "GaussianMixture",
    "GridDensity",
    "GridSolver",
    "History",
    "Identity",
    "InputError",
    "Measure",
    "MissingExtraError",
    "ParabolicMAError",
    "Potential",
    "Samples",
    "Solution",
    "Status",
    "TransportMap",
    "TransportProblem",
    "Uniform",
    "load",
    "solve",
}


def run_python(code: str) -> str:
    """Run ``code`` in a fresh interpreter at the repository root and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_layers_and_optional_packages_are_kept_apart() -> None:
    """The contracts of [tool.importlinter] in pyproject.toml hold."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_loads_nothing_heavy() -> None:
    """`import parabolic_ma` brings in NumPy and the standard library, nothing else."""
    code = "import sys, json, parabolic_ma; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(run_python(code))}
    heavy = {
        "cupy",
        "cyclopts",
        "h5netcdf",
        "h5py",
        "matplotlib",
        "msgspec",
        "numba",
        "pandas",
        "rich",
        "scipy",
        "torch",
        "xarray",
    }
    assert not loaded & heavy


def test_using_measures_loads_no_optional_package() -> None:
    """Stating a problem needs no extra."""
    code = (
        "import sys, json, parabolic_ma as pma\n"
        "pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.GaussianMixture([[1, 0]], 0.5))\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = {name.partition(".")[0] for name in json.loads(run_python(code))}
    assert not loaded & {"cupy", "matplotlib", "torch", "xarray", "h5netcdf", "pandas"}


def test_public_names_are_there_and_documented() -> None:
    """The interface is complete, importable name by name, and each one documented."""
    assert set(pma.__all__) >= PUBLIC
    assert set(pma.__all__) <= set(dir(pma))
    for name in pma.__all__:
        value = getattr(pma, name)
        if callable(value):
            assert value.__doc__, f"parabolic_ma.{name} has no docstring"


def test_unknown_name_is_an_attribute_error() -> None:
    """The lazy module answers like any other module."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pma.no_such_name  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_source_file(path: Path) -> None:
    """A file stays readable in one sitting, says what it is for, and asserts nothing of users."""
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 650, "split it"
    if text.strip():
        assert ast.get_docstring(tree), "no module docstring"
    asserts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not asserts, f"assert in lines {asserts}: raise InputError with words instead"
