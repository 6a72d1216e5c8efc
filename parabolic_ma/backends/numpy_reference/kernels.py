"""The NumPy backend: every kernel of the protocol in whole-array arithmetic, to be read.

It is the reference that the compiled backends are tested against; solves take two to ten times as
long as with them.
"""

from __future__ import annotations

from parabolic_ma.backends.host import asarray, empty, record, to_numpy, zeros
from parabolic_ma.backends.numpy_reference.cells import (
    apply_nine,
    cell_images,
    linearise_cells,
    running_sums,
)
from parabolic_ma.backends.numpy_reference.cells_1d import (
    cell_images_1d,
    linearise_cells_1d,
    quantiles_1d,
    running_sums_1d,
)
from parabolic_ma.backends.numpy_reference.flow import (
    flow_coefficients,
    flow_coefficients_1d,
    flow_rate,
    flow_rate_1d,
    flow_rows,
    solve_flow_1d,
    upwind_rows,
)
from parabolic_ma.backends.numpy_reference.judgement import (
    inverse_change,
    judge_sums,
    mass_histogram,
    residual_sums,
)
from parabolic_ma.backends.numpy_reference.krylov import axpy, dots, matrix_dots, norm_weight
from parabolic_ma.backends.numpy_reference.krylov_3d import (
    matrix_dots_3d,
)
from parabolic_ma.backends.numpy_reference.multigrid import (
    coarsen_rows,
    dense_matrix,
    down,
    factorise,
    fill_ghosts,
    outflow,
    residual,
    solve_dense,
    up,
)
from parabolic_ma.backends.numpy_reference.multigrid_3d import (
    coarsen_rows_3d,
    dense_matrix_3d,
    down_3d,
    fill_ghosts_3d,
    outflow_3d,
    residual_3d,
    solve_dense_3d,
    up_3d,
)
from parabolic_ma.backends.numpy_reference.newton import (
    add_correction,
    convexify,
    fields,
    gradient_norm,
    inner_row,
    linearise,
)
from parabolic_ma.backends.numpy_reference.newton_1d import (
    average_log_1d,
    fields_1d,
    fill_ghosts_1d,
    gradient_norm_1d,
    inner_row_1d,
    interpolate_1d,
    linearise_1d,
    solve_rows_1d,
)
from parabolic_ma.backends.numpy_reference.newton_3d import (
    add_correction_3d,
    convexify_3d,
    fields_3d,
    gradient_norm_3d,
    inner_row_3d,
    inverse_change_3d,
    linearise_3d,
)
from parabolic_ma.backends.numpy_reference.soft import soft_conjugate_rows
from parabolic_ma.backends.numpy_reference.transfer import average_log, interpolate
from parabolic_ma.backends.numpy_reference.transfer_3d import average_log_3d, interpolate_3d

__all__ = [
    "add_correction",
    "add_correction_3d",
    "apply_nine",
    "asarray",
    "average_log",
    "average_log_1d",
    "average_log_3d",
    "axpy",
    "cell_images",
    "cell_images_1d",
    "coarsen_rows",
    "coarsen_rows_3d",
    "convexify",
    "convexify_3d",
    "dense_matrix",
    "dense_matrix_3d",
    "dots",
    "down",
    "down_3d",
    "empty",
    "factorise",
    "fields",
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
    "gradient_norm",
    "gradient_norm_1d",
    "gradient_norm_3d",
    "inner_row",
    "inner_row_1d",
    "inner_row_3d",
    "interpolate",
    "interpolate_1d",
    "interpolate_3d",
    "inverse_change",
    "inverse_change_3d",
    "judge_sums",
    "linearise",
    "linearise_1d",
    "linearise_3d",
    "linearise_cells",
    "linearise_cells_1d",
    "mass_histogram",
    "matrix_dots",
    "matrix_dots_3d",
    "norm_weight",
    "outflow",
    "outflow_3d",
    "quantiles_1d",
    "record",
    "residual",
    "residual_3d",
    "residual_sums",
    "running_sums",
    "running_sums_1d",
    "soft_conjugate_rows",
    "solve_dense",
    "solve_dense_3d",
    "solve_flow_1d",
    "solve_rows_1d",
    "to_numpy",
    "up",
    "up_3d",
    "upwind_rows",
    "zeros",
]
