"""One picture in the colours of another: optimal transport of palettes, in three dimensions.

Every pixel is a point in the space of colours; the Brenier map of the two clouds of points gives a
cup of coffee the colours of a cat with the least change, and its inverse the other way round.

Run as `python examples/16_colour_transfer.py [CELLS_PER_AXIS]`.
"""

# %% Two pictures. Turned to their principal axes, from dark to light first, the long thin clouds of
# colours lie along the axes of the grid; a turn changes no distance.
import sys

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import parabolic_ma as pma
from parabolic_ma import datasets

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 48
pictures = [datasets.colour_picture(name) for name in ("coffee", "chelsea")]
pixels = np.concatenate([p.reshape(-1, 3) for p in pictures])
turn = np.linalg.eigh(np.cov(pixels.T))[1][:, ::-1]
turn *= np.sign(turn.sum(axis=0))
coffee, cat = np.split((pixels - pixels.mean(axis=0)) @ turn, 2)

# %% Neither palette is log-concave, so the sharp problem is approached through blurred ones, each
# result being the start of the next.
solution = None
for blur in (1.0, 0.6, 0.4, 0.3):
    palettes = (pma.Samples(colours, bandwidth=blur) for colours in (coffee, cat))
    problem = pma.TransportProblem(*palettes)
    solver = pma.GridSolver(shape=(cells, cells, cells), side="target")
    solution = pma.solve(problem, solver, initial=solution)
    print(f"bandwidth {blur}: W2 squared {solution.w2_squared:.4f}, {solution.message}")

# %% The map recolours the one picture and its inverse the other.
moved = [solution.map(coffee), solution.map.inverse(cat)]
clouds = [coffee, moved[0], cat, moved[1]]
colours = [np.clip(c @ turn.T + pixels.mean(axis=0), 0.0, 1.0) for c in clouds]
titles = ("coffee", "in the colours of chelsea", "chelsea", "in the colours of coffee")

# %% Pictures above, their palettes below: lightness and the second principal axis.
mpl.rc("font", size=9)
figure = Figure(figsize=(10, 4.8), dpi=84, layout="constrained")
panels = figure.subplots(2, 4, height_ratios=(1.0, 0.72), sharex="row", sharey="row").T
for axes, cloud, colour, title in zip(panels, clouds, colours, titles, strict=True):
    axes[0].imshow(colour.reshape(pictures[0].shape))
    axes[0].set_title(title, loc="left")
    axes[0].set_axis_off()
    axes[1].scatter(*cloud[::4, :2].T, s=2, c=colour[::4])
    axes[1].set(xticks=[], yticks=[], facecolor="#d8dade")
figure.savefig("colour_transfer.png")
