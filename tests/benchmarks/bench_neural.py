"""Networks of this package and others on targets with a known density or map, in one table.

Run as

    python tests/benchmarks/bench_neural.py --w2b FOLDER --out neural.json

Its sections: every method from the same 10 000 points (``data``); targets known by their potential
(``potential``); known Brenier maps (``maps``); posteriors of known evidence (``posteriors``); 64
dimensions (``digits``); what a step costs as a flow goes on (``cost``). Models are judged on fresh
points against the exact density. Times are processor seconds of training on one thread. Of several
seeds (which draw other training points and start the method differently) the median is shown, the
range in brackets. Settings of every method are in ``neural_baselines/settings.toml``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

# Before NumPy starts its threads: processor time of one thread is what is compared.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.neural_baselines.methods import METHODS
from benchmarks.neural_baselines.sections import SECTIONS, Request, Row
from benchmarks.neural_baselines.targets import NAMES

import parabolic_ma as pma

_RECORDED = ("numpy", "scipy", "torch", "zuko", "POT", "scikit-learn")


def table(rows: list[Row], columns: Mapping[str, str]) -> str:
    """Write the rows with the seeds of a target and method together."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["target"], row["method"]), []).append(row)
    lines = [["target", "method", *columns.values()]]
    lines += [[*key, *(_cell(group, name) for name in columns)] for key, group in groups.items()]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(group: list[Row], name: str) -> str:
    values = sorted(row[name] for row in group if name in row)
    if not values:
        return ""
    if isinstance(values[0], int):
        return str(values[0])
    middle = median(values)
    if name == "cpu_seconds":
        return f"{middle:.1f}"
    if len(values) == 1:
        return f"{middle:.4g}"
    return f"{middle:.4g} [{values[0]:.4g}, {values[-1]:.4g}]"


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


def _warm_up() -> None:
    """Load what is loaded on first use, which would count against the first time limit."""
    normal = pma.Gaussian([0.0], 1.0)
    for target in (normal, pma.Samples(normal.sample(100, 0))):
        pma.solve(pma.TransportProblem(normal, target), pma.NeuralFlow(steps=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = [*dict.fromkeys(m.group for m in METHODS), *(m.name for m in METHODS)]
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument(
        "--only", nargs="+", choices=known, help="groups or methods from data; all by default"
    )
    parser.add_argument("--targets", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--w2b", metavar="DIR", help="folder of the Wasserstein-2 benchmark's files"
    )
    parser.add_argument("--out", metavar="FILE", help="JSON with every row")
    return parser.parse_args()


def main() -> None:
    """Measure, and print a table for every section."""
    import torch

    arguments = _arguments()
    torch.set_num_threads(1)
    only = arguments.only
    chosen = [m for m in METHODS if only is None or m.name in only or m.group in only]
    request = Request(chosen, arguments.targets, arguments.seeds, arguments.w2b)
    rows: list[Row] = []
    _warm_up()
    for name in arguments.sections:
        begin = len(rows)
        for row in SECTIONS[name].rows(request):
            rows.append({"section": name, **row})
            print(row["target"], row["method"], row["seed"], "done", file=sys.stderr, flush=True)
            if arguments.out:  # after every row: a run of an hour may be cut short
                text = json.dumps(document(rows), indent=1)
                Path(arguments.out).write_text(text + "\n", encoding="utf-8")
        print(f"{name}\n{table(rows[begin:], SECTIONS[name].columns)}\n", flush=True)


if __name__ == "__main__":
    main()
