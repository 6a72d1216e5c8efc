"""What every gradient of a convex function obeys, for grid maps of every kind."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parabolic_ma.grid import Box, Grid
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.solution import GridPotential

BOX = Box((-1.0, 2.0), (2.0, 3.5))
SHAPE = (30, 41)  # unequal, and the cells are rectangles
KINDS = [
    (dim, boundary, side)
    for dim in (1, 2)
    for boundary in ("box", "free", "periodic")
    for side in ("reference", "target")
]
every_kind = pytest.mark.parametrize(("dim", "boundary", "side"), KINDS)
unit_points = {d: arrays(np.float64, (12, d), elements=st.floats(-0.4, 1.4)) for d in (1, 2)}

# The Hessians below lie between 0.2 and 4, so a condition number of 20 and numbers of size 10:
# an inverse that is right to rounding is right to 20 * 10 * 2^-52 * (some 20 operations).
INVERSE = 1e-11


@cache
def grid_map(dim: int, boundary: str, side: str) -> GridMap:
    grid = Grid(Box(BOX.lower[:dim], BOX.upper[:dim]), SHAPE[:dim])
    points = grid.points()
    unit = (points - grid.box.lower) / grid.box.widths
    matrix = np.array([[1.5, 0.3], [0.3, 0.8]])[:dim, :dim]
    center, image = np.array([0.2, 2.5])[:dim], np.array([1.0, -2.0])[:dim]
    if boundary == "free":
        # A soft kink well inside: psi is convex, its mixed derivative at the faces is small.
        z = 2.0 * (points - grid.box.center).sum(axis=-1)
        correction = 0.2 * np.logaddexp(z, -z)
    else:
        matrix = np.diag(np.diag(matrix))
        waves = np.pi * unit * (2 if boundary == "periodic" else 1)
        size = 0.02 if boundary == "box" else 0.005
        correction = size * (np.cos(waves).prod(axis=-1) + 0.5 * np.cos(2 * waves).sum(axis=-1))
    return GridMap(
        GridPotential(grid, correction.reshape(grid.shape), matrix, center, image, boundary), side
    )


def own_points(mapping: GridMap, unit: np.ndarray) -> np.ndarray:
    box = mapping.grid_potential.grid.box
    return np.array(box.lower) + unit * box.widths


def reference_points(mapping: GridMap, unit: np.ndarray) -> np.ndarray:
    points = own_points(mapping, unit)
    return points if mapping.side == "reference" else mapping.own(points)


@every_kind
@given(data=st.data())
def test_inverse_undoes_the_map(dim: int, boundary: str, side: str, data: st.DataObject) -> None:
    mapping = grid_map(dim, boundary, side)
    y = reference_points(mapping, data.draw(unit_points[dim]))
    np.testing.assert_allclose(mapping.inverse(mapping(y)), y, atol=INVERSE)


@every_kind
@given(data=st.data())
def test_jacobian_against_differences(
    dim: int, boundary: str, side: str, data: st.DataObject
) -> None:
    mapping = grid_map(dim, boundary, side)
    step = 1e-5
    unit = data.draw(unit_points[dim])
    # The continued map has a kink at the face: no difference across it.
    for face in (0.0, 1.0):
        unit = np.where(np.abs(unit - face) < 1e-3, face + 1e-3, unit)
    y = reference_points(mapping, unit)
    columns = [(mapping(y + step * e) - mapping(y - step * e)) / (2 * step) for e in np.eye(dim)]
    determinant = np.linalg.det(np.stack(columns, axis=-1))
    assert np.all(determinant > 0)
    # The second derivative of T is at most 20 and jumps at knots by at most its size: 20 step.
    np.testing.assert_allclose(mapping.log_abs_det_jacobian(y), np.log(determinant), atol=40 * step)
    there = mapping.own(mapping(y)) if side == "target" else mapping.inverse(mapping(y))
    np.testing.assert_allclose(there, y, atol=INVERSE)


@every_kind
@given(data=st.data())
def test_maps_are_monotone(dim: int, boundary: str, side: str, data: st.DataObject) -> None:
    mapping = grid_map(dim, boundary, side)
    a = reference_points(mapping, data.draw(unit_points[dim]))
    b = reference_points(mapping, data.draw(unit_points[dim]))
    assert np.all(((mapping(a) - mapping(b)) * (a - b)).sum(axis=-1) >= -1e-12)


@every_kind
@given(data=st.data())
def test_fenchel_young(dim: int, boundary: str, side: str, data: st.DataObject) -> None:
    mapping = grid_map(dim, boundary, side)
    unit = data.draw(unit_points[dim])
    if boundary == "free" and dim == 2:
        # Beyond a free face the continued map is not exactly a gradient.
        unit = np.clip(unit, 0.0, 1.0)
    y = reference_points(mapping, unit)
    x = mapping(y)
    psi, phi = mapping.potential(y), mapping.conjugate(x)
    rounding = 1e-12  # of terms up to 20
    np.testing.assert_allclose(psi + phi, (x * y).sum(axis=-1), atol=rounding)
    assert np.all(psi[:, None] + phi >= y @ x.T - rounding)
