"""Grid and network on the same problems: their maps, their densities, their error against time.

Run as `python examples/11_grid_and_network.py [STEPS]`.
"""

# %% Four peaks on the line and a ring of eight in the plane; the finest grid is the truth.
import sys

import numpy as np
from matplotlib import figure, rcParams

import parabolic_ma as pma
from parabolic_ma.plotting import palette, views

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60
solver = pma.NeuralFlow(method="variational", steps=steps, threads=1)
sizes = {"mix1_sd": (256, 1024, 4096, 16384), "ring": (64, 128, 256, 512)}


# %% Solve on grids, and by a network that is looked at now and then.
def study(name):
    problem = pma.catalog.load(name)
    y = problem.reference.sample(20_000, rng=1)
    pma.solve(problem, pma.GridSolver((64,) * problem.dim))  # loads the kernels
    *grids, truth = [pma.solve(problem, pma.GridSolver((n,) * problem.dim)) for n in sizes[name]]
    looks, state = [], solver.init(problem)
    for k in range(1, steps + 1):
        state = solver.step(problem, state)
        if k % max(steps // 12, 1) == 0:
            looks.append(solver.finish(problem, state, pma.Status.CONVERGED))
    x, runs = truth.map(y), [*grids, *looks]
    off = [np.linalg.norm(s.map(y) - x) / np.sqrt(len(y)) for s in runs]
    spent = [s.history["seconds"][-1] for s in runs]
    return truth, looks[-1], (spent[:3], off[:3]), (spent[3:], off[3:])


# %% Draw them; on the ring the images of the circles |y| = 1, 2, 3.
rcParams.update(views.STYLE)
picture = figure.Figure(figsize=(12.6, 7.4), dpi=90, layout="constrained")
line = np.linspace(-3.5, 3.5, 1500)
circle = np.exp(2j * np.pi / 7 * line).view(float).reshape(-1, 2)
mesh = np.stack(np.meshgrid(*[np.linspace(-5, 5, 160)] * 2), axis=-1)
for name, (a, b, c) in zip(sizes, picture.subplots(2, 3), strict=True):
    *found, first, second = study(name)
    marks = (("grid", "-", palette.INK, first), ("network", "--", palette.TARGET, second))
    for s, (label, style, colour, curve) in zip(found, marks, strict=True):
        if name == "mix1_sd":
            a.plot(line, s.map(line), style, color=colour)
            b.plot(2.5 * line, np.exp(s.log_prob(2.5 * line)), style, color=colour)
        else:
            for r in (1, 2, 3):
                a.plot(*s.map(r * circle).T, style, color=colour)
            rho = np.exp(s.log_prob(mesh.reshape(-1, 2))).reshape(160, 160)
            b.contour(*mesh.transpose(2, 0, 1), rho, 6, colors=colour, linestyles=style)
        c.loglog(*curve, "o-", color=colour, label=f"{label}, to {curve[1][-1]:.0e}")
    for ax, what in zip((a, b, c), ("map", "density", "L2 error by seconds"), strict=True):
        ax.set_title(f"{name}: {what}")
    c.legend()
picture.savefig("grid_and_network.png")
