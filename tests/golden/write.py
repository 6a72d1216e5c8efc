"""How the committed files were made: ``python tests/golden/write.py tests/golden/schemaN.h5``.

Small, and free of anything about the machine, so that the file can be published.
"""

from __future__ import annotations

import dataclasses
import sys

import parabolic_ma as pma


def problem() -> pma.TransportProblem:
    """A correlated Gaussian to two unequal modes: full covariances, unequal sides."""
    return pma.TransportProblem(
        pma.Gaussian([0.5, -0.25], [[1.0, 0.3], [0.3, 0.5]]),
        pma.GaussianMixture([[1.5, 0.0], [-1.5, 1.0]], [0.5, 0.8], [0.4, 0.6]),
    )


def main(path: str) -> None:
    """Solve and write."""
    solution = pma.solve(problem(), pma.GridSolver((20, 16)), progress=False)
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
    print(solution.map([[0.5, -0.25], [1.5, 0.5]]).tolist())


if __name__ == "__main__":
    main(sys.argv[1])
