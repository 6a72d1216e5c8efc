"""A ring of eight normal distributions, a usual test of samplers that forget modes.

Run as `python examples/05_ring_of_eight.py [CELLS_PER_AXIS]`.
"""

# %% Eight components of standard deviation 0.5 on a circle of radius 3.
import sys

import numpy as np

import parabolic_ma as pma

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 256
angles = 2 * np.pi * np.arange(8) / 8
centres = 3.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
target = pma.GaussianMixture(means=centres, covs=0.25)
problem = pma.TransportProblem(reference=pma.Gaussian([0, 0], 1.0), target=target)

# %% Solve.
solution = pma.solve(problem, pma.GridSolver(shape=(cells, cells)))
print(solution.summary())

# %% Every mode gets its eighth of the samples.
x = solution.sample(100_000, rng=2)
nearest = np.argmin(((x[:, None, :] - centres) ** 2).sum(axis=2), axis=1)
print("share of each mode:", np.bincount(nearest, minlength=8) / len(x))

# %% The model's density against the target's.
difference = solution.log_prob(x) + target.potential(x)
print(f"KL(model | target) by {len(x)} samples: {difference.mean():.2e}")

# %% Keep it.
solution.save("ring_of_eight.h5")
solution.plot("ring_of_eight.png")
