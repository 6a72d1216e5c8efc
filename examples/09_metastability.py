"""The flow is not metastable where Langevin diffusion is: all mass starts in one of two modes.

Langevin has to cross the barrier, at the rate of its spectral gap 5.6e-5; the flow moves mass
along the Brenier map, with the gap 0.428. In the end KL falls as exp(-2 gap t), dotted.

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
x, h = (np.arange(cells) + 0.5) * 12.0 / cells - 6.0, 12.0 / cells
reference, target = pma.Gaussian([0.0], 1.0), pma.GaussianMixture([-2.0, 2.0], [0.16, 0.16])
t = np.linspace(0.0, 12.0, 49)
flow = pma.GridFlow(cells, save_at=t, side="target", target_box=[(-6.0, 6.0)])
solution = pma.solve(pma.TransportProblem(reference, target), flow, initial=pma.Affine(0.4, [-2]))
kl = solution.history["kl"][np.searchsorted(solution.history["t"], t)]


# %% Diffusions reversible for the target, by finite volumes: their rates and modes.
def diffusion(conductance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    out = (np.append(conductance, 0.0) + np.append(0.0, conductance)) / h**2
    return eigh_tridiagonal(out / mass, -conductance / np.sqrt(mass[1:] * mass[:-1]) / h**2)


mass, faces = np.exp(-target.potential(x)), x[:-1] + 0.5 * h
rates, modes = diffusion(np.exp(-target.potential(faces)))
gaps = rates[1], diffusion(np.exp(-reference.potential(solution.map.inverse(faces))))[0][1]

# %% Langevin from the same start, exact in time; it needs ten thousands of units.
start = modes.T @ (np.exp(-pma.Gaussian([-2.0], 0.16).potential(x)) / np.sqrt(mass))
langevin = (start * np.exp(-np.outer([*t, 3e4, 6e4], rates))) @ modes.T * np.sqrt(mass)
stuck = h * np.sum(langevin * np.log(np.maximum(langevin, 1e-300) / mass), axis=1)
slopes = np.log(stuck[-2] / stuck[-1]) / 6e4, np.log(kl[24] / kl[-1]) / 12.0
print("Gaps, and half the slopes of log KL in the end:", *np.array([gaps, slopes]))

# %% Draw KL in time, and both models on their way.
rcParams.update(views.STYLE)
picture = figure.Figure(figsize=(10.4, 4.2), dpi=110, layout="constrained")
left, right = picture.subplots(1, 2)
for values, gap, colour in (stuck[:49], gaps[0], "k"), (kl, gaps[1], "C1"):
    left.semilogy(t, values, colour, t, 0.5 * np.exp(-2.0 * gap * t), f"{colour}:")
left.set(title="KL(ρ | μ): Langevin above, flow below", xlabel="t", ylim=(3e-5, 2.0))
right.fill_between(x, mass, color=palette.FAINT, alpha=0.3, linewidth=0, label="target")
right.plot(x, langevin[48], "k", linewidth=3.0, label="Langevin, t = 12")
for k, colour in zip((2, 6, 12, 48), palette.blend(4), strict=True):
    log_density, name = flow.at(solution, t[k]).log_prob(x), f"flow, t = {t[k]:g}"
    right.plot(x, np.exp(log_density), color=colour, label=name)
right.set(title="Densities", xlim=(-4.0, 4.0))
right.legend()
picture.savefig("metastability.png")
