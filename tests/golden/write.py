"""How the committed files were made: ``python tests/golden/write.py tests/golden/schemaN.h5``.

Small, and free of anything about the machine, so that the file can be published.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import parabolic_ma as pma


def problem() -> pma.TransportProblem:
    """A correlated Gaussian to two unequal modes: full covariances, unequal sides."""
    return pma.TransportProblem(
        pma.Gaussian([0.5, -0.25], [[1.0, 0.3], [0.3, 0.5]]),
        pma.GaussianMixture([[1.5, 0.0], [-1.5, 1.0]], [0.5, 0.8], [0.4, 0.6]),
    )


def on_the_line() -> pma.TransportProblem:
    """Two unequal modes on the line: the fields of a map without a grid stay small there."""
    return pma.TransportProblem(
        pma.Gaussian([0.5], 1.0), pma.GaussianMixture([1.5, -1.5], [0.5, 0.8], [0.4, 0.6])
    )


def solvers() -> dict[str, pma.GridSolver | pma.GridFlow | pma.NeuralFlow]:
    """What every file holds the result of: what its schema has and the one before has not."""
    flow = pma.GridFlow(
        (14, 12),
        stepper=pma.RKL2(rtol=1e-3),
        t_final=0.2,
        save_at=[0.1, 0.2],
        side="reference",
        comparator=pma.GridDensity([[1, 2, 1], [2, 4, 2]], [(-5, 5), (-4, 4)]),
        average=True,
    )
    neural = pma.NeuralFlow(steps=2, width=4, seed=3, threads=1)
    return {"schema1": pma.GridSolver((20, 16)), "schema2": flow, "schema3": neural}


def main(path: str) -> None:
    """Solve and write."""
    name = Path(path).stem
    chosen = on_the_line() if name == "schema3" else problem()
    solution = pma.solve(chosen, solvers()[name], progress=False)
    provenance = dataclasses.replace(
        solution.provenance,
        host="",
        platform="",
        command=(),
        started="",
        wall_time=0.0,
        cpu_time=0.0,
    )
    dataclasses.replace(solution, provenance=provenance).save(path)
    for name in ("log_evidence", "w2_squared", "kl", "kl_reverse"):
        print(f"    {name!r}: {getattr(solution, name)!r},")
    for transport in (solution.map, *(m for _, m in solution.saved)):
        points = [0.5, 1.5] if transport.dim == 1 else [[0.5, -0.25], [1.5, 0.5]]
        print(transport(points).tolist())


if __name__ == "__main__":
    main(sys.argv[1])
