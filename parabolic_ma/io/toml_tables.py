"""The tables that a problem in TOML is made of; `parabolic_ma.io.toml` makes measures of them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "Count",
    "GaussianMixtureTable",
    "GaussianTable",
    "GridDensityTable",
    "MeasureTable",
    "MissingTable",
    "Numbers",
    "Pairs",
    "PotentialTable",
    "ProblemTable",
    "SamplesTable",
    "StandardisedTable",
    "Table",
    "TabulatedTable",
    "UniformTable",
]

Numbers: TypeAlias = float | list[float | list[float]]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Pairs: TypeAlias = list[tuple[float, float]]


class Table(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """A TOML table whose ``kind`` says what it is."""


class GaussianTable(Table, frozen=True, tag="gaussian"):
    """A normal distribution."""

    mean: Numbers | None = None
    cov: Numbers | None = None
    fitted: bool = False


class GaussianMixtureTable(Table, frozen=True, tag="gaussian_mixture"):
    """A mixture of normal distributions; ``covs`` are variances or matrices."""

    means: list[float | list[float]]
    covs: float | list[float | list[float | list[float]]]
    weights: list[float] | None = None


class UniformTable(Table, frozen=True, tag="uniform"):
    """The uniform distribution on a box."""

    box: Pairs


class GridDensityTable(Table, frozen=True, tag="grid_density"):
    """A density at cell centres, from numbers, a file or a picture."""

    values: list[float | list[float]] | None = None
    path: str | None = None
    key: str | None = None
    image: str | None = None
    stored: str | None = None
    box: Pairs | None = None
    floor: float | UnsetType = UNSET


class SamplesTable(Table, frozen=True, tag="samples"):
    """Data."""

    points: list[float | list[float]] | None = None
    path: str | None = None
    columns: list[str | int] | None = None
    key: str | None = None
    stored: str | None = None
    weights: list[float] | str | None = None
    bandwidth: Numbers | None = None


class PotentialTable(Table, frozen=True, tag="potential"):
    """A Python function, minus the log density."""

    function: str
    dim: int
    gradient: str | None = None
    normalized: bool = False
    box: Pairs | None = None
    framework: Literal["numpy", "torch"] = "numpy"
    log_concave: bool | None = None


class TabulatedTable(Table, frozen=True, tag="tabulated"):
    """What a potential becomes in a solution file."""

    stored: str
    stored_box: str
    box: Pairs | None = None
    normalized: bool = False
    log_concave: bool | None = None
    origin: str | None = None


class MissingTable(Table, frozen=True, tag="missing"):
    """What a potential in more than three dimensions becomes in a solution file."""

    dim: Count
    normalized: bool = False
    log_concave: bool | None = None
    box: Pairs | None = None
    origin: str = ""


class StandardisedTable(Table, frozen=True, tag="standardised"):
    """Another measure in shifted and scaled coordinates."""

    measure: MeasureTable
    mean: list[float] | None = None
    cov: Numbers | None = None
    shift: list[float] | None = None
    scale: list[list[float]] | None = None


MeasureTable: TypeAlias = (
    GaussianTable
    | GaussianMixtureTable
    | UniformTable
    | GridDensityTable
    | SamplesTable
    | PotentialTable
    | TabulatedTable
    | MissingTable
    | StandardisedTable
)


class ProblemTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The two measures."""

    reference: MeasureTable
    target: MeasureTable
