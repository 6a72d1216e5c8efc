"""Generative models from samples, and maps with a known answer: every method in one table.

Run as

    python tests/benchmarks/bench_neural.py --only baselines --seeds 3 --out baselines.json

Every method is given the same 10 000 points of a target and is judged on fresh ones against the
exact density. Times are processor seconds of training on one thread. Of several seeds (which draw
other training points and start the method differently) the median is shown, the range in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

# Before NumPy starts its threads: processor time of one thread is what is compared.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.neural_baselines import manufactured, w2b
from benchmarks.neural_baselines.methods import METHODS, Method, train_points
from benchmarks.neural_baselines.scoring import FIGURES, score, uvp
from benchmarks.neural_baselines.targets import NAMES, load

import parabolic_ma as pma

Row = dict[str, Any]

_MAP_SEED = 70_000
_RECORDED = ("numpy", "scipy", "torch", "zuko", "POT", "scikit-learn")


def generative(chosen: list[Method], names: list[str], seeds: int) -> Iterator[Row]:
    """Fit every method to every target, a row at a time."""
    for name in names:
        target = load(name)
        for method in chosen:
            for seed in range(seeds):
                points = target.draw(train_points(), seed)
                begin = time.process_time()
                model = method.fit(target, points, seed)
                seconds = time.process_time() - begin
                yield {
                    "target": name,
                    "method": method.name,
                    "seed": seed,
                    "cpu_seconds": seconds,
                    **score(target, model),
                }


def fitted_maps(folder: str | None, seconds: float, seeds: int) -> Iterator[Row]:
    """Fit networks where the Brenier map is known: by the potential, and by data of both sides."""
    for dim in w2b.DIMENSIONS:
        for seed in range(seeds):
            solver = pma.NeuralFlow(time_limit=seconds, seed=seed, threads=1)
            problem, exact = manufactured.problem(dim)
            begin = time.process_time()
            solution = pma.solve(problem, solver, raise_on_failure=False)
            spent = time.process_time() - begin
            y = problem.reference.sample(train_points(), _MAP_SEED)
            row = {"method": "variational", "seed": seed, "cpu_seconds": spent}
            yield {"target": f"log cosh {dim}D", **row, "l2_uvp": uvp(solution.map(y), exact(y))}
            if folder is not None:
                pairs = w2b.load(folder, dim)
                begin = time.process_time()
                solution = pma.solve(pairs.problem, solver, raise_on_failure=False)
                spent = time.process_time() - begin
                row = {"method": "likelihood", "seed": seed, "cpu_seconds": spent}
                yield {"target": f"w2b {dim}D", **row, "l2_uvp": pairs.l2_uvp(solution.map)}


def linear_maps(folder: str | None) -> Iterator[Row]:
    """Judge the map of the fitted normal distributions where the Brenier map is known."""
    for dim in w2b.DIMENSIONS:
        problem, exact = manufactured.problem(dim)
        y = problem.reference.sample(train_points(), _MAP_SEED)
        images = exact(y)
        linear = w2b.linear_map(y, images)
        row = {"method": "linear map", "seed": 0}
        yield {"target": f"log cosh {dim}D", **row, "l2_uvp": uvp(linear(y), images)}
        if folder is not None:
            pairs = w2b.load(folder, dim)
            linear = w2b.linear_map(pairs.source, pairs.target)
            yield {"target": f"w2b {dim}D", **row, "l2_uvp": pairs.l2_uvp(linear)}


def table(rows: list[Row]) -> str:
    """Write the rows with the seeds of a target and method together."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["target"], row["method"]), []).append(row)
    heads = {"cpu_seconds": "CPU s", **FIGURES}
    lines = [["target", "method", *heads.values()]]
    lines += [[*key, *(_cell(group, name) for name in heads)] for key, group in groups.items()]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(group: list[Row], name: str) -> str:
    values = sorted(row[name] for row in group if name in row)
    if not values:
        return ""
    middle, digits = median(values), 1 if name == "cpu_seconds" else 4
    if len(values) == 1 or name == "cpu_seconds":
        return f"{middle:.{digits}f}"
    return f"{middle:.4f} [{values[0]:.4f}, {values[-1]:.4f}]"


def document(rows: list[Row]) -> dict[str, Any]:
    """Return what is written to the file: the rows, and where they were measured."""
    versions = {}
    for name in _RECORDED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    machine = {"processor": _processor(), "python": platform.python_version()}
    return {"machine": machine, "versions": versions, "rows": rows}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = [*dict.fromkeys(m.group for m in METHODS), *(m.name for m in METHODS)]
    parser.add_argument(
        "--only", nargs="+", choices=known, help="groups or methods; all by default"
    )
    parser.add_argument("--targets", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="time limit of our fits to known maps"
    )
    parser.add_argument(
        "--w2b", metavar="DIR", help="folder of the Wasserstein-2 benchmark's files"
    )
    parser.add_argument("--out", metavar="FILE", help="JSON with every row")
    return parser.parse_args()


def main() -> None:
    """Measure, and print the table."""
    import torch

    arguments = _arguments()
    torch.set_num_threads(1)
    only = arguments.only
    chosen = [m for m in METHODS if only is None or m.name in only or m.group in only]
    rows = list(linear_maps(arguments.w2b)) if only is None or "baselines" in only else []
    maps = fitted_maps(arguments.w2b, arguments.seconds, arguments.seeds)
    ours = maps if only is None or "ours" in only else iter(())
    for row in chain(ours, generative(chosen, arguments.targets, arguments.seeds)):
        rows.append(row)
        print(row["target"], row["method"], row["seed"], "done", file=sys.stderr, flush=True)
        if arguments.out:  # after every row: a run of half an hour may be cut short
            text = json.dumps(document(rows), indent=1)
            Path(arguments.out).write_text(text + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
