"""The flow is not metastable where Langevin diffusion is: all mass starts in one of two modes.

Langevin has to cross the barrier, at the rate of its spectral gap 5.6e-5; the flow moves mass
along the Brenier map, with the gap 0.428. Both by their gaps (dotted): KL falls as exp(-2 gap t).

Run as `python examples/09_metastability.py [CELLS]`.
"""

# %% The flow from the left mode, with the grid on the target's side, where its map is smooth.
import sys

import numpy as np
from matplotlib import figure, rcParams
from scipy.linalg import eigh_tridiagonal

import parabolic_ma as pma
from parabolic_ma.plotting import palette, views

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 800
target = pma.GaussianMixture([-2.0, 2.0], [0.16, 0.16])
problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), target)
times = [0.5, 1.0, 2.0, 4.0]
flow = pma.GridFlow(cells, save_at=[*times, 16.0], side="target", target_box=[(-6.0, 6.0)])
solution = pma.solve(problem, flow, initial=pma.Affine(0.4, [-2.0]))

# %% Two diffusions reversible for the target, by finite volumes: eigenvalues, eigenvectors.
h = 12.0 / cells
faces = np.linspace(-6.0, 6.0, cells + 1)[1:-1]
x = np.linspace(-6.0, 6.0, 2 * cells + 1)[1::2]
mass = np.exp(-target.potential(x))


def diffusion(conductance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = np.append(conductance, 0.0) + np.append(0.0, conductance)
    roots = np.sqrt(mass[1:] * mass[:-1])
    return eigh_tridiagonal(total / mass / h**2, -conductance / roots / h**2)


rates, modes = diffusion(np.exp(-target.potential(faces)))
sides = problem.reference.potential(solution.map.inverse(faces))
gaps = rates[1], diffusion(np.exp(-sides))[0][1]

# %% Langevin from the same start, exact in time.
t = np.linspace(0.0, 16.0, 161)
start = np.exp(-pma.Gaussian([-2.0], 0.16).potential(x))
parts = modes.T @ (start / np.sqrt(mass))
