"""The ten lines: a normal distribution moved onto two modes.

Run as `python examples/01_two_modes.py [CELLS_PER_AXIS]`.
"""

# %% The problem: two measures.
import sys

import parabolic_ma as pma

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 256

problem = pma.TransportProblem(
    reference=pma.Gaussian(mean=[0, 0], cov=1.0),
    target=pma.GaussianMixture(means=[[3, 0], [-3, 0]], covs=0.25),
)

# %% The Brenier map between them, with its error estimate.
solution = pma.solve(problem, pma.GridSolver(shape=(cells, cells)))
print(solution.summary())

# %% Use it: new points, densities, and back.
x = solution.sample(10_000, rng=0)
print("mean of |x1|:", abs(x[:, 0]).mean(), " round trip:",
      abs(solution.map(solution.map.inverse(x[:100])) - x[:100]).max())  # fmt: skip

# %% Keep it.
solution.save("two_modes.h5")
solution.plot("two_modes.png")
