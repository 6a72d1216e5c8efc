"""Two moons from samples: one network gives samples, exact densities and codes.

Run as `python examples/14_two_moons.py [STEPS]`.
"""

# %% Ten thousand points of two interleaved half circles.
import sys

import numpy as np
from matplotlib import figure, rcParams

import parabolic_ma as pma
from parabolic_ma.plotting import palette, views

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
rng = np.random.default_rng(1)
angle = rng.uniform(0.0, np.pi, 10_000)
moon = np.stack([np.cos(angle), np.sin(angle)], axis=1)
moon[::2] = [1.0, 0.5] - moon[::2]
points = 2.0 * (moon - [0.5, 0.25]) + 0.2 * rng.standard_normal(moon.shape)

# %% Fit the exact likelihood; a tenth of the points tells when to stop.
problem = pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.Samples(points))
solution = pma.solve(problem, pma.NeuralFlow(width=48, steps=steps, threads=1))
print(solution.message)

# %% Codes of the points are normal if the map is right.
codes = solution.map.inverse(points)
print("codes: mean", codes.mean(axis=0), "covariance", np.cov(codes.T).ravel())

# %% Draw samples, the density, and the codes.
rcParams.update(views.STYLE)
picture = figure.Figure(figsize=(13.0, 4.4), dpi=100, layout="constrained")
a, b, c = picture.subplots(1, 3)
a.scatter(*points[:3000].T, s=2, color=palette.FAINT, label="data")
a.scatter(*solution.sample(3000, rng=2).T, s=2, color=palette.TARGET, label="samples")
a.legend(markerscale=5)
mesh = np.stack(np.meshgrid(*[np.linspace(-3.6, 3.6, 200)] * 2), axis=-1)
density = np.exp(solution.log_prob(mesh.reshape(-1, 2))).reshape(200, 200)
b.pcolormesh(*mesh.transpose(2, 0, 1), density, cmap=palette.ramp("target"), rasterized=True)
upper = np.arange(len(points)) % 2 == 1
for part, colour in ((upper, palette.REFERENCE), (~upper, palette.TARGET)):
    c.scatter(*codes[part][:1500].T, s=2, color=colour)
for ax, title in ((a, "Points"), (b, "Density"), (c, "Codes S(x) of both moons")):
    ax.set(title=title, aspect="equal", xlim=(-3.6, 3.6), ylim=(-3.6, 3.6))
picture.savefig("two_moons.png")
