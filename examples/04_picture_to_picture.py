"""From one picture to another: both densities rough, neither log-concave.

The brightness of the cameraman flows into the astronaut with the least effort.

Run as `python examples/04_picture_to_picture.py [CELLS_PER_AXIS]`.
"""

# %% Two grey pictures.
import sys

import parabolic_ma as pma
from parabolic_ma import datasets

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 128
camera = pma.GridDensity.from_image(datasets.picture("camera", 128))
astronaut = pma.GridDensity.from_image(datasets.picture("astronaut", 128))

# %% Solve. Cells of the grid get the mass of the target over the image of each cell, exactly, so
# that nothing is lost between the pixels.
problem = pma.TransportProblem(reference=camera, target=astronaut)
solution = pma.solve(problem, pma.GridSolver(shape=(cells, cells)))
print(solution.summary())

# %% The other way round costs the same.
back = pma.solve(problem.swap(), pma.GridSolver(shape=(cells, cells)))
print(f"W2 squared there {solution.w2_squared:.6f}, back {back.w2_squared:.6f}")

# %% Keep it.
solution.save("picture_to_picture.h5")
solution.plot("picture_to_picture.png")
