"""Old Faithful: a generative model of 272 eruptions.

The target is a kernel density estimate of the data, the reference the normal distribution with
the data's mean and covariance. The map turns normal random numbers into eruptions; its inverse
turns an eruption into a normal score, far from zero if the eruption is unusual.

Run as `python examples/02_old_faithful.py [CELLS_PER_AXIS]`.
"""

# %% Data: minutes of eruption, minutes of waiting for the next one.
import sys

import parabolic_ma as pma
from parabolic_ma import datasets

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 256
eruptions = datasets.old_faithful()

# %% Solve.
target = pma.Samples(eruptions)
problem = pma.TransportProblem(reference=pma.Gaussian.fitted(target), target=target)
solution = pma.solve(problem, pma.GridSolver(shape=(cells, cells)))
print(solution.summary())

# %% New eruptions: the share of short ones is that of the data.
generated = solution.sample(100_000, rng=1)
print("shorter than 3 min:", (generated[:, 0] < 3).mean(), " data:", (eruptions[:, 0] < 3).mean())

# %% Normal scores: which observed eruption is the most unusual?
reference = problem.reference
scores = reference.potential(solution.map.inverse(eruptions))
print("most unusual eruption:", eruptions[scores.argmax()])

# %% Keep it.
solution.save("old_faithful.h5")
solution.plot("old_faithful.png")
