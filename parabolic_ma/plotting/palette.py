"""Colours: perceptually uniform ramps of one hue, safe for colour-blind readers.

The two sides keep their hue everywhere, blue for the reference and orange for the target: a pair
that every common form of colour blindness tells apart. Ramps are straight lines of lightness in
OKLab (B. Ottosson, 2020), so that equal steps of density are equal steps to the eye.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parabolic_ma.typing import Array

__all__ = ["BAD", "FAINT", "GOOD", "INK", "REFERENCE", "TARGET", "blend", "photograph", "ramp"]

INK = "#1f2430"
FAINT = "#8a90a0"
REFERENCE = "#2b6cb0"
TARGET = "#c4621a"
GOOD = "#1b7f6b"
BAD = "#b3261e"

# Hue (radians) and largest chroma in OKLCh of the ramp of each side.
_HUES = {"reference": (4.40, 0.115), "target": (0.95, 0.130)}


def _srgb(lightness: Array, chroma: Array, hue: Array | float) -> Array:
    """Turn OKLCh into sRGB in [0, 1], shape ``(n, 3)``."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _colormap(name: str, colours: Array) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(colours, name=name)


def ramp(side: str) -> Any:
    """White to the hue of ``side`` ("reference" or "target"), as a matplotlib colormap."""
    hue, chroma = _HUES[side]
    s = np.linspace(0.0, 1.0, 256)
    return _colormap(f"pma_{side}", _srgb(1.0 - 0.42 * s, chroma * np.sin(0.5 * np.pi * s), hue))


def photograph(side: str) -> Any:
    """Dark to light with a tint of the hue of ``side``: for pictures, where bright means much."""
    hue, chroma = _HUES[side]
    s = np.linspace(0.0, 1.0, 256)
    return _colormap(
        f"pma_{side}_picture",
        _srgb(0.18 + 0.80 * s, 0.55 * chroma * np.sin(np.pi * s) + 0.01, hue),
    )


def blend(n: int) -> Array:
    """``n`` colours from the reference's blue through violet and rose to orange, ``(n, 3)``.

    Lightness rises steadily, so that the order survives in grey and for colour-blind readers.
    """
    s = np.linspace(0.0, 1.0, n)
    (first, _), (last, _) = _HUES["reference"], _HUES["target"]
    hue = first + s * (last + 2.0 * np.pi - first)
    return _srgb(0.54 + 0.20 * s, np.full(n, 0.125), hue)
