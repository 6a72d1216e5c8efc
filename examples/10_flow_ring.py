"""A movie of the flow: a normal distribution becomes a ring of eight.

Run as `python examples/10_flow_ring.py [CELLS_PER_AXIS]`.
"""

# %% Eight components of standard deviation 0.5 on a circle of radius 3.
import sys

import numpy as np

import parabolic_ma as pma
from parabolic_ma.plotting.flows import plot_flow

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 128
angles = 2 * np.pi * np.arange(8) / 8
target = pma.GaussianMixture(3.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.25)
problem = pma.TransportProblem(pma.Gaussian([0, 0], 1.0), target)

# %% Follow the flow, with 25 frames of the movie: more of them where it is fast, at first.
pace = pma.at_times(4.0 * (np.arange(25) / 24) ** 2)
flow = pma.GridFlow((cells, cells), t_final=4.0, save_at=pace)
movie = pma.Movie("flow_ring.gif", pace, fps=8)
solution = pma.solve(problem, flow, initial=pma.Identity(2), trackers=[movie])
print(solution.summary())

# %% What the theory says of it: divergences, the inequality, bounds of the evidence, densities.
plot_flow(solution, "flow_ring.png")

# %% Keep it, with the maps of all these times.
solution.save("flow_ring.h5")
