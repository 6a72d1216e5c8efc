"""Kernels of the Numba backend that run on one thread; `threaded` has the others."""

from __future__ import annotations

from parabolic_ma.backends.host import asarray, empty, record, to_numpy, zeros
from parabolic_ma.backends.numba_cpu.cells import (
    apply_nine,
    cell_images,
    linearise_cells,
    running_sums,
)
from parabolic_ma.backends.numba_cpu.dense import dense_matrix, factorise, solve_dense
from parabolic_ma.backends.numba_cpu.flow import (
    flow_coefficients,
    flow_coefficients_1d,
    flow_rate,
    flow_rate_1d,
    flow_rows,
    solve_flow_1d,
    upwind_rows,
)
from parabolic_ma.backends.numba_cpu.inner import inner_row
from parabolic_ma.backends.numba_cpu.inner_3d import (
    inner_row_3d,
)
from parabolic_ma.backends.numba_cpu.krylov_3d import (
    add_correction_3d,
    gradient_norm_3d,
)
from parabolic_ma.backends.numba_cpu.multigrid import fill_ghosts, outflow, residual
from parabolic_ma.backends.numba_cpu.multigrid_3d import (
    coarsen_rows_3d,
    dense_matrix_3d,
    down_3d,
    fill_ghosts_3d,
    matrix_dots_3d,
    outflow_3d,
    residual_3d,
    solve_dense_3d,
    up_3d,
)
from parabolic_ma.backends.numba_cpu.newton import convexify
from parabolic_ma.backends.numba_cpu.newton_1d import (
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
from parabolic_ma.backends.numba_cpu.newton_3d import (
    convexify_3d,
    fields_3d,
    inverse_change_3d,
    linearise_3d,
)
from parabolic_ma.backends.numba_cpu.soft import soft_conjugate_rows
from parabolic_ma.backends.numba_cpu.transfer_3d import (
    average_log_3d,
    interpolate_3d,
)

__all__ = [
    "add_correction_3d",
    "apply_nine",
    "asarray",
    "average_log_1d",
    "average_log_3d",
    "cell_images",
    "cell_images_1d",
    "coarsen_rows_3d",
    "convexify",
    "convexify_3d",
    "dense_matrix",
    "dense_matrix_3d",
    "down_3d",
    "empty",
    "factorise",
    "fields_1d",
    "fields_3d",
    "fill_ghosts",
    "fill_ghosts_1d",
    "fill_ghosts_3d",
    "flow_coefficients",
    "flow_coefficients_1d",
    "flow_rate",
    "flow_rate_1d",
    "flow_rows",
    "gradient_norm_1d",
    "gradient_norm_3d",
    "inner_row",
    "inner_row_1d",
    "inner_row_3d",
    "interpolate_1d",
    "interpolate_3d",
    "inverse_change_3d",
    "linearise_1d",
    "linearise_3d",
    "linearise_cells",
    "linearise_cells_1d",
    "matrix_dots_3d",
    "outflow",
    "outflow_3d",
    "quantiles_1d",
    "record",
    "residual",
    "residual_3d",
    "running_sums",
    "running_sums_1d",
    "soft_conjugate_rows",
    "solve_dense",
    "solve_dense_3d",
    "solve_flow_1d",
    "solve_rows_1d",
    "to_numpy",
    "up_3d",
    "upwind_rows",
    "zeros",
]
