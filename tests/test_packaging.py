"""What a user installs: sdist, wheel, a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import parabolic_ma as pma

ROOT = Path(__file__).resolve().parent.parent

SOLVE = """
import sys
import parabolic_ma as pma
from parabolic_ma import catalog

assert "site-packages" in pma.__file__, pma.__file__
problem = catalog.load("old_faithful")
solution = pma.solve(problem, pma.GridSolver(shape=(64, 64)))
solution.save("old_faithful.h5")
print(pma.load("old_faithful.h5").status.name)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist, and the wheel built from that sdist (so the sdist is complete)."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.network
def test_wheel_holds_package_data_and_licence(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    package = {f"parabolic_ma/{p.relative_to(ROOT / 'parabolic_ma')}" for p in sources()}
    data = {f"parabolic_ma/data/{p.relative_to(ROOT / 'data')}" for p in data_files()}
    assert data, "no data files in the repository"
    assert package | data <= names
    assert "parabolic_ma/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert next(built.glob("*.whl")).name == f"parabolic_ma-{pma.__version__}-py3-none-any.whl"
    assert {name.partition("/")[0] for name in names} == {
        "parabolic_ma",
        f"parabolic_ma-{pma.__version__}.dist-info",
    }
    assert not any("__pycache__" in name or name.endswith((".nbi", ".nbc")) for name in names)


@pytest.mark.slow
@pytest.mark.network
def test_sdist_holds_what_the_tests_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", "tests/constraints.txt"} <= names
    for folder in ("tests", "examples", "data"):
        assert any(name.startswith(f"{folder}/") for name in names)


@pytest.mark.slow
@pytest.mark.network
def test_wheel_solves_a_catalog_problem_in_a_clean_environment(built: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    venv = tmp_path / "venv"

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    constraints = ROOT / "tests" / "constraints.txt"
    run(python, "-m", "pip", "install", "-q", "-c", constraints, next(built.glob("*.whl")))
    assert run(python, "-c", SOLVE).split() == ["CONVERGED"]
    run(venv / "bin" / "parabolic-ma", "solve", "two_modes", "-o", "two_modes.h5")
    assert (tmp_path / "two_modes.h5").stat().st_size > 0
    assert "two_modes" in run(venv / "bin" / "parabolic-ma", "catalog", "list")


def sources() -> list[Path]:
    """Every module of the package."""
    return sorted((ROOT / "parabolic_ma").rglob("*.py"))


def data_files() -> list[Path]:
    """Every file of the data folder."""
    return sorted(p for p in (ROOT / "data").rglob("*") if p.is_file())
