"""Bayesian inference: the posterior of the bioassay experiment, with its evidence.

The posterior is known up to a constant, which the solver finds: log Z = -2.7287843 by quadrature.
Expectations are integrals over the reference of functions of T(y), here by Gauss-Hermite points.

Run as `python examples/03_bioassay.py [CELLS_PER_AXIS]`.
"""

# %% The posterior: minus its log density, up to a constant.
import sys

import numpy as np
from bioassay_model import gradient, potential

import parabolic_ma as pma

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 256
target = pma.Potential(potential, dim=2, gradient=gradient)
problem = pma.TransportProblem(reference=pma.Gaussian.fitted(target), target=target)

# %% Solve: the map, and the evidence. The posterior is log-concave, as a normal distribution is;
# not saying so (log_concave=True) puts the grid on its side: the evidence is plain quadrature.
solution = pma.solve(problem, pma.GridSolver(shape=(cells, cells)))
print(solution.summary())
print(f"log evidence {solution.log_evidence:.7f}, known -2.7287843")

# %% Posterior means and standard deviations by 60 x 60 quadrature points of the reference. Neither
# is further off than the maps are from each other, which the certificate estimates.
nodes, weights = np.polynomial.hermite_e.hermegauss(60)
z = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
w = np.outer(weights, weights).ravel() / weights.sum() ** 2
y = problem.reference.mean + z @ np.linalg.cholesky(problem.reference.cov).T
x = solution.map(y)
mean = w @ x
sd = np.sqrt(w @ (x - mean) ** 2)
print("means", mean, "known", [1.314707, 11.635556])
print("sds  ", sd, "known", [1.102076, 5.773096])
print("estimated error of the map", solution.certificate.map_error)

# %% Keep it.
solution.save("bioassay.h5")
solution.plot("bioassay.png")
