"""What a comparison found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["METRICS", "Comparison"]

METRICS = ("map_rmse", "l2_uvp", "kl", "kl_reverse", "sliced_w2", "energy_distance", "c2st")
"""The figures of a comparison, in order."""


@dataclass(frozen=True)
class Comparison:
    """How far a candidate is from the truth. A figure that cannot be computed is None.

    Read every figure beside its noise level: a candidate whose figure is no larger cannot be told
    from the truth by that figure with so many points.
    """

    map_rmse: float | None = None
    """L2(reference) distance of the two maps."""
    l2_uvp: float | None = None
    """Its square in percent of the target's total variance: 0 for the same map, 100 for one that
    sends all points to the mean."""
    kl: float | None = None
    """KL(truth | candidate), in nats; ``inf`` where the candidate leaves out points."""
    kl_reverse: float | None = None
    """KL(candidate | truth), in nats."""
    sliced_w2: float | None = None
    """Sliced Wasserstein-2 distance; on the line W2 itself."""
    energy_distance: float | None = None
    """Root of ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``."""
    c2st: float | None = None
    """Accuracy of a classifier between both samples: 1/2 is the best, 1 the worst."""
    noise: Mapping[str, float] = field(default_factory=dict)
    """The level of each figure at which it says nothing, by name. Of sliced_w2, energy_distance and
    c2st the figure for two samples of the truth; of the KL divergences the standard error of the
    mean; of the map's figures what the truth's ``certificate.map_error`` makes of them. A level
    that is not known is left out."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a figure is None or infinite, or what it leaves out, by name; ``"<name> noise"`` for a
    noise level."""
    candidate: str = ""
    """What the candidate was taken for."""
    classifier: str = ""
    """What c2st was computed with."""
    n: int = 0
    """Points drawn of each side."""
    seed: int | None = None
    """The seed given; None if a generator was given, or nothing."""

    def figures(self) -> dict[str, float | None]:
        """All figures by name, in order; None for one that could not be computed."""
        return {name: getattr(self, name) for name in METRICS}

    def __str__(self) -> str:
        lines = [
            f"Comparison of {self.candidate or 'a candidate'} with the truth, {self.n} points",
            f"  {'figure':<16} {'value':>11} {'noise':>11}",
        ]
        for name, value in self.figures().items():
            level = self.noise.get(name)
            cells = "".join(f" {_number(x):>11}" for x in (value, level))
            remark = self.reasons.get(name, "")
            if name == "c2st" and value is not None:
                remark = "; ".join(filter(None, [self.classifier, remark]))
            lines.append(f"  {name:<16}{cells}" + (f"  ({remark})" if remark else ""))
        return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if math.isfinite(value) else str(value)
