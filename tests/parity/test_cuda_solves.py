"""Whole solves on a CUDA device, or its kernels on the host: see `parity.test_cuda_parity`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from parity.test_cuda_parity import RUNS_ON, on_host

import parabolic_ma as pma
from parabolic_ma import backends
from parabolic_ma.backends.cupy_cuda.kernels import CudaKernels, on_device


@pytest.fixture(params=RUNS_ON)
def kernels(request: pytest.FixtureRequest) -> CudaKernels:
    return on_device(0) if request.param == "device" else on_host()


def both(
    kernels: CudaKernels, monkeypatch: pytest.MonkeyPatch, problem: Any, solver: Any
) -> tuple[pma.Solution, pma.Solution]:
    """Solve with the NumPy backend, and with these kernels in its place."""
    wanted = pma.solve(problem, solver)
    others = backends.get

    def get(name: str, threads: int | None = None) -> Any:
        return kernels if name == "numpy" else others(name, threads)

    with monkeypatch.context() as patch:
        patch.setattr(backends, "get", get)
        return pma.solve(problem, solver), wanted


CASES = {
    "free": ((64, 56), "free", "point"),
    "box": ((64, 56), "box", "point"),
    "periodic": ((48, 40), "periodic", "point"),
    "large": ((96, 80), "free", "point"),
    "cells": ((48, 40), "box", "cell"),
    "line": ((128,), "free", "point"),
    "cells on the line": ((128,), "box", "cell"),
}


@pytest.mark.parametrize("name", CASES)
def test_grid_solves_agree(
    kernels: CudaKernels, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, boundary, inner = CASES[name]
    dim = len(shape)
    if boundary == "free":
        reference: Any = pma.Gaussian(np.zeros(dim), 1.0)
        target: Any = pma.GaussianMixture([[-1.2, 0.0][:dim], [1.0, 0.5][:dim]], 0.5)
    else:
        box = [(0.0, 1.0)] * dim
        wave = 1.0 + 0.5 * np.cos(2.0 * np.pi * (np.arange(24) + 0.5) / 24)
        reference = pma.Uniform(box)
        target = pma.GridDensity(wave if dim == 1 else np.outer(wave, wave[::-1] ** 2), box)
    problem = pma.TransportProblem(reference, target)
    solver = pma.GridSolver(shape, backend="numpy", tol=1e-8, boundary=boundary, inner=inner)
    got, wanted = both(kernels, monkeypatch, problem, solver)
    assert got.status is wanted.status is pma.Status.CONVERGED
    points = reference.sample(300, 1)
    np.testing.assert_allclose(got.map(points), wanted.map(points), rtol=0.0, atol=1e-8)
    assert got.kl == pytest.approx(wanted.kl, abs=1e-10)
    assert got.w2_squared == pytest.approx(wanted.w2_squared, abs=1e-8)


MODES = pma.GaussianMixture([[1.2, 0.0], [-1.2, 0.4]], 0.6)
RUNS = {
    "explicit": pma.GridFlow((14, 12), stepper=pma.ExplicitEuler(), t_final=0.3, side="reference"),
    "stabilised": pma.GridFlow((16, 18), stepper=pma.RKL2(), t_final=0.3, side="target"),
    "implicit": pma.GridFlow(
        (16, 18), stepper=pma.SemiImplicit(rtol=1e-5), t_final=0.3, side="target"
    ),
    "sinkhorn": pma.SinkhornFlow((24, 20), epsilon=0.3, steps=8),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs_in_time_agree(
    kernels: CudaKernels, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = pma.TransportProblem(pma.Gaussian(np.zeros(2), 1.0), MODES)
    got, wanted = both(
        kernels, monkeypatch, problem, dataclasses.replace(RUNS[name], backend="numpy")
    )
    a, b = (s.fields.potential.values() for s in (got, wanted))
    # implicit runs differ by what a hundredth of their tolerance leaves
    allowed = 1e-7 if name == "implicit" else 1e-11
    np.testing.assert_allclose(a, b, rtol=0, atol=allowed * np.abs(b).max())
