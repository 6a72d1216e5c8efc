"""What is proved of the flow and its iterates, and closed forms between Gaussians."""

from __future__ import annotations

from parabolic_ma.analysis import gaussian, theory

__all__ = ["gaussian", "theory"]
