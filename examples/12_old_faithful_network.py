"""Old Faithful by a network: the likelihood of the eruptions themselves, no density estimate.

Run as `python examples/12_old_faithful_network.py [STEPS]`.
"""

# %% 272 eruptions: a seventh is held out to tell when to stop. Six pieces are enough for two modes.
import sys

import numpy as np

import parabolic_ma as pma
from parabolic_ma import datasets

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
data = pma.Samples(datasets.old_faithful())
problem = pma.TransportProblem(pma.Gaussian.fitted(data), data)
solver = pma.NeuralFlow(method="likelihood", width=6, steps=steps, held_out=0.15, batch=128)
solution = pma.solve(problem, solver)
print(solution.summary())

# %% What the likelihood is worth: against the fitted normal distribution, on all the data.
gain = np.mean(solution.log_prob(data.points) + problem.reference.potential(data.points))
print(f"{gain:.3f} nats an eruption better than a normal distribution")

# %% Beside the grid's map to the kernel density estimate, whose modes are wider by the kernel.
grid = pma.solve(problem, pma.GridSolver((128, 128)))
print(pma.compare(solution, grid, n=4_000))

# %% Keep it.
solution.save("old_faithful_network.h5")
solution.plot("old_faithful_network.png")
