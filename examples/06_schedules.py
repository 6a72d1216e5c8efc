"""How fast every schedule of steps gets there (solid), against the rates that are proved (dotted).

The first step of `Harmonic`, M / lambda, is thousands of times the limit of the explicit scheme on
this grid: a step is one linear system of `SemiImplicit(order=1)` instead, which has no limit.

Run as `python examples/06_schedules.py [CELLS]`.
"""

# %% A run of its own for every number of steps K; what is proved, by panel.
import sys

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import parabolic_ma as pma
from parabolic_ma.plotting import palette, views

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
K, y = 2 ** np.arange(4, 10), np.linspace(-6.0, 6.0, 4001)
weight = np.exp(-0.5 * y**2) / np.exp(-0.5 * y**2).sum()
rates = {"1/K": 1 / K, "1/√K": K**-0.5, "log K/√K": np.log(K) / K**0.5, "log K/K": np.log(K) / K}
claims = [("KL(average of ρ | μ)", "Constant", "1/K"), ("KL(average of ρ | μ)", "InverseSqrt", "1/√K")]
mpl.rcParams.update(views.STYLE)
figure = Figure(figsize=(14.0, 7.0), dpi=90, layout="constrained")
panels = figure.subplots(2, 4)
for ax, title in zip(panels[0], ("", "", "", "")): pass
