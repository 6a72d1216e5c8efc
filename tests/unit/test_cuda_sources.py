"""The CUDA sources compile for devices, without one; and what belongs to them is consistent."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from parabolic_ma.backends.cupy_cuda import multigrid
from parabolic_ma.backends.cupy_cuda.driver import REAL_NAMES, CupyDriver
from parabolic_ma.backends.cupy_cuda.source_files import FOLDER, SOURCES, kernels_of, text_of

ARCHITECTURES = ("sm_80", "sm_90")


def options(real: str) -> list[str]:
    """Return what CuPy's driver compiles with."""
    return [
        "--std=c++17",
        f"-DREAL={REAL_NAMES[real]}",
        f"-DTHREADS={CupyDriver.threads}",
        f"-DSMALL_THREADS={CupyDriver.small_threads}",
    ]


def nvrtc() -> ctypes.CDLL | None:
    """Return the run-time compiler: that of the packages that CuPy uses, or of the system."""
    try:
        spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        spec = None
    folders = spec.submodule_search_locations if spec else None
    found = [str(p) for f in folders or () for p in Path(f).glob("lib/libnvrtc.so.*")]
    names = sorted(p for p in found if "alt" not in p and "builtins" not in p)
    name = names[0] if names else ctypes.util.find_library("nvrtc")
    return ctypes.CDLL(name) if name else None


def compile_by_nvrtc(library: ctypes.CDLL, text: str, flags: list[str]) -> str:
    """Return the compiler's log; empty if all is well."""
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"source.cu", 0, None, None)
    encoded = (ctypes.c_char_p * len(flags))(*(f.encode() for f in flags))
    failed = library.nvrtcCompileProgram(program, len(flags), encoded)
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode() or ("failed" if failed else "")


@pytest.mark.parametrize("real", REAL_NAMES)
@pytest.mark.parametrize("source", SOURCES)
def test_sources_compile_for_devices(source: str, real: str, tmp_path: Path) -> None:
    text = text_of(source)
    if shutil.which("nvcc"):
        path = tmp_path / f"{source}.cu"
        path.write_text(text, encoding="utf-8")
        targets = [f"-gencode=arch={a.replace('sm', 'compute')},code={a}" for a in ARCHITECTURES]
        done = subprocess.run(
            ["nvcc", "-fatbin", *targets, *options(real), "-o", tmp_path / "out", path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return
    library = nvrtc()
    if library is None:
        pytest.skip("neither nvcc nor NVRTC to compile CUDA sources")
    for architecture in ARCHITECTURES:
        flags = [*options(real), f"--gpu-architecture={architecture}"]
        assert not compile_by_nvrtc(library, text, flags)


def test_kernel_names_are_unique() -> None:
    names = [name for source in SOURCES for name in kernels_of(source)]
    assert len(names) == len(set(names))


def test_every_kernel_is_launched() -> None:
    python = "".join(p.read_text(encoding="utf-8") for p in FOLDER.parent.glob("*.py"))
    for source in SOURCES:
        for name in kernels_of(source):
            by_dimension = re.sub(r"_\dd$", "_{dim}d", name)
            assert f'"{name}"' in python or f'f"{by_dimension}"' in python, name


def test_sizes_agree() -> None:
    assert f"#define SMALL {multigrid.SMALL}\n" in text_of("multigrid")
    assert CupyDriver.threads & (CupyDriver.threads - 1) == 0


# The driver for CuPy, with one that is not there.


class FakeCupy:
    """What the driver uses of CuPy; launches are noted in ``launched``."""

    def __init__(self, captures: bool) -> None:
        self.captures = captures
        self.launched: list[str] = []
        self.cuda = self
        self.compiled: list[tuple[str, ...]] = []

    def Device(self, number: int) -> FakeCupy:  # noqa: N802
        return self

    def use(self) -> None:
        self.launched.append("use")

    def RawModule(self, code: str, options: tuple[str, ...]) -> FakeCupy:  # noqa: N802
        assert "#include" not in code
        self.compiled.append(options)
        return self

    def get_function(self, name: str) -> Callable[..., None]:
        return lambda *_: self.launched.append(name)

    def Stream(self, non_blocking: bool) -> FakeCupy:  # noqa: N802
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.launched.append("left")

    def begin_capture(self) -> None:
        if not self.captures:
            raise RuntimeError("not supported")
        self.launched.append("begin")

    def end_capture(self) -> FakeCupy:
        self.launched.append("end")
        return self

    def launch(self) -> None:
        self.launched.append("graph")


@pytest.mark.parametrize("captures", [True, False])
def test_recorded_launches(captures: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCupy(captures)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    driver = CupyDriver(0)
    recorded = driver.record(lambda: driver.launch("axpy", "f", (1,), (1,), ()))
    for _ in range(3):
        recorded()
    captured = ["axpy", "begin", "axpy", "end", "left", "graph", "graph"]
    assert fake.launched == ["use", *(captured if captures else ["axpy", "left", "axpy", "axpy"])]
    assert fake.compiled == [tuple(options("f"))]  # once, for all kernels of the source
