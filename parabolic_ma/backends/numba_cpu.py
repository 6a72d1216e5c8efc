"""The Numba backend: every kernel of the protocol, compiled for the CPU."""

from __future__ import annotations

from parabolic_ma.backends.numba_cells import (
    apply_nine,
    cell_images,
    linearise_cells,
    running_sums,
)
from parabolic_ma.backends.numba_krylov import axpy, cell_masses, dots, norm_weight
from parabolic_ma.backends.numba_multigrid import (
    chebyshev,
    coarsen_rows,
    dense_matrix,
    factorise,
    fill_ghosts,
    outflow,
    prolong_add,
    residual,
    restrict,
    solve_dense,
)
from parabolic_ma.backends.numba_newton import (
    add_correction,
    convexify,
    fields,
    gradient_norm,
    inner_row,
    linearise,
)
from parabolic_ma.backends.numba_newton_1d import (
    average_log_1d,
    cell_images_1d,
    fields_1d,
    fill_ghosts_1d,
    gradient_norm_1d,
    inner_row_1d,
    interpolate_1d,
    linearise_1d,
    linearise_cells_1d,
    quantiles_1d,
    running_sums_1d,
    solve_rows_1d,
)
from parabolic_ma.backends.numba_transfer import average_log, interpolate

__all__ = [
    "cell_images_1d",
    "linearise_cells_1d",
    "quantiles_1d",
    "running_sums_1d",
    "convexify",
    "apply_nine",
    "cell_images",
    "linearise_cells",
    "running_sums",
    "fields",
    "fields_1d",
    "average_log_1d",
    "fill_ghosts_1d",
    "gradient_norm_1d",
    "inner_row_1d",
    "interpolate_1d",
    "linearise_1d",
    "solve_rows_1d",
    "add_correction",
    "average_log",
    "axpy",
    "chebyshev",
    "coarsen_rows",
    "dense_matrix",
    "dots",
    "factorise",
    "fill_ghosts",
    "gradient_norm",
    "inner_row",
    "interpolate",
    "linearise",
    "cell_masses",
    "norm_weight",
    "outflow",
    "prolong_add",
    "residual",
    "restrict",
    "solve_dense",
]
