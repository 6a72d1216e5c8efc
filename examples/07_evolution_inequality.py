"""The evolution variational inequality of every mirror step, KL(ρ | μ) at most its right side.

Towards two modes (left) the bound is nearly attained: a stable step is short, and the loss is
proportional to it. At first it is below the error of the differences, which has either sign; then
second derivatives spread and it is not. Between Gaussians (right) there is none at any length.

Run as `python examples/07_evolution_inequality.py [CELLS]`.
"""

# %% Mirror steps of the stable length towards two modes.
import sys

import numpy as np
from matplotlib import figure, rcParams

import parabolic_ma as pma
from parabolic_ma.analysis import gaussian, inequalities
from parabolic_ma.plotting import palette, views

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 256
target = pma.GaussianMixture([-1.4, 1.4], [0.4, 0.4])
problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), target)
flow = pma.GridFlow(cells, pma.ExplicitEuler(), t_final=1.5, side="reference", tail_mass=1e-6)
h = pma.solve(problem, flow, initial=pma.Identity(1)).history
left, right = h["evi_left"][1:], h["evi_right"][1:]

# %% Steps of 0.2 between Gaussians, everything in closed form.
nu, mu = pma.Gaussian([0.0], 1.0), pma.Gaussian([1.0], 0.36)
psi, sides = gaussian.Quadratic(np.eye(1), np.zeros(1), 0.0), []
for _ in range(30):
    after, model = gaussian.mirror_step(nu, mu, psi, 0.2), gaussian.model(nu, psi)
    fall = gaussian.bregman(nu, mu, psi) - gaussian.bregman(nu, mu, after)
    speed, low = gaussian.squared_velocity(nu, mu, psi), float(after.matrix[0, 0])
    kl, reverse = gaussian.kl(model, mu), gaussian.kl(mu, model)
    sides.append(inequalities.evi_sides(kl, 0.0, reverse, fall, 0.2, speed, low))
    psi = after
slack = np.array([s.slack for s in sides])
print(f"two modes: slack {np.min(right - left):.1e} to {np.max(right - left):.1e}")
print(f"Gaussians: largest slack {np.abs(slack).max():.1e}")

# %% Draw both.
rcParams.update(views.STYLE)
picture = figure.Figure(figsize=(10.4, 4.2), dpi=110, layout="constrained")
for ax, x, a, b, name in zip(
    picture.subplots(1, 2), (h["t"][1:], 0.2 * np.arange(1, 31)), (left, [s.left for s in sides]),
    (right, [s.right for s in sides]), ("Two modes", "Gaussians"), strict=True,
):  # fmt: skip
    gap = np.subtract(b, a)
    ax.semilogy(x, a, color=palette.TARGET, label="left: KL(ρ | μ)", linewidth=3.0)
    ax.semilogy(x, b, "--", color=palette.INK, label="right: bound")
    ax.semilogy(x, np.where(gap > 0, gap, np.nan), ".", color=palette.GOOD, label="slack", ms=3)
    ax.semilogy(x, np.where(gap < 0, -gap, np.nan), "v", color=palette.BAD, label="−slack", ms=3)
    ax.set(title=name, xlabel="t", ylim=(max(ax.get_ylim()[0], 1e-18), None))
    ax.legend(loc="upper right")
picture.savefig("evolution_inequality.png")
