"""The NumPy backend: every kernel of the protocol in whole-array arithmetic, to be read.

It is the reference that the compiled backends are tested against; solves take two to ten times as
long as with them.
"""

from __future__ import annotations

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
from parabolic_ma.backends.numpy_reference.krylov import axpy, cell_masses, dots, norm_weight
from parabolic_ma.backends.numpy_reference.multigrid import (
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
from parabolic_ma.backends.numpy_reference.soft import soft_conjugate_rows
from parabolic_ma.backends.numpy_reference.transfer import average_log, interpolate

__all__ = [
    "add_correction",
    "apply_nine",
    "average_log",
    "average_log_1d",
    "axpy",
    "cell_images",
    "cell_images_1d",
    "cell_masses",
    "chebyshev",
    "coarsen_rows",
    "convexify",
    "dense_matrix",
    "dots",
    "factorise",
    "fields",
    "fields_1d",
    "fill_ghosts",
    "fill_ghosts_1d",
    "flow_coefficients",
    "flow_coefficients_1d",
    "flow_rate",
    "flow_rate_1d",
    "flow_rows",
    "gradient_norm",
    "gradient_norm_1d",
    "inner_row",
    "inner_row_1d",
    "interpolate",
    "interpolate_1d",
    "linearise",
    "linearise_1d",
    "linearise_cells",
    "linearise_cells_1d",
    "norm_weight",
    "outflow",
    "prolong_add",
    "quantiles_1d",
    "residual",
    "restrict",
    "running_sums",
    "running_sums_1d",
    "soft_conjugate_rows",
    "solve_dense",
    "solve_flow_1d",
    "solve_rows_1d",
    "upwind_rows",
]
