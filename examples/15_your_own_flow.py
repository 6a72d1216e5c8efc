"""Your own model on the ground truth: a spline flow of zuko beside maps of this package.

Run as `python examples/15_your_own_flow.py [STEPS]`. Needs zuko.
"""

# %% The truth is a grid solution; every model learns from the same ten thousand points.
import sys

import torch
import zuko
from matplotlib import figure, rcParams

import parabolic_ma as pma
from parabolic_ma.plotting import palette, views

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
problem = pma.catalog.load("ring")
truth = pma.solve(problem, pma.GridSolver((256, 256)))
points = problem.target.sample(10_000, rng=1)

# %% The flow as its documentation has it, trained by Adam.
torch.manual_seed(0)
flow = zuko.flows.NSF(2, transforms=3, hidden_features=(64, 64))
adam = torch.optim.Adam(flow.parameters(), lr=2e-3)
data = torch.from_numpy(points).float()
for _ in range(25 * steps):
    adam.zero_grad()
    loss = -flow().log_prob(data[torch.randint(len(data), (512,))]).mean()
    loss.backward()
    adam.step()

# %% The normal fit, and two networks of this package.
learned = pma.TransportProblem(problem.reference, pma.Samples(points))
models = {
    "normal fit": torch.distributions.MultivariateNormal(data.mean(0), torch.cov(data.T)),
    "zuko NSF": flow,
    "likelihood": pma.solve(learned, pma.NeuralFlow(steps=steps, threads=1)),
    "semidual": pma.solve(learned, pma.NeuralFlow(method="semidual", steps=steps, threads=1)),
    "data again": problem.target.sample(10_000, rng=2),
}
found = {name: pma.compare(model, truth, n=5_000) for name, model in models.items()}

# %% One table: a figure that is not there, such as the map of a flow that is none, is a dash.
columns = ("kl", "kl_reverse", "sliced_w2", "c2st", "l2_uvp")
print(f"{'':12}" + "".join(f"{name:>12}" for name in columns))
for name, result in found.items():
    cells = [getattr(result, column) for column in columns]
    print(f"{name:12}" + "".join(f"{'-' if x is None else f'{x:.4f}':>12}" for x in cells))

# %% Draw three of them; the dotted line is what the truth's own points have.
rcParams.update(views.STYLE)
picture = figure.Figure(figsize=(11.0, 3.0), dpi=100, layout="constrained")
for ax, name in zip(picture.subplots(1, 3, sharey=True), ("kl", "sliced_w2", "c2st"), strict=True):
    ax.barh(list(found), [getattr(r, name) or 0.0 for r in found.values()], color=palette.TARGET)
    ax.axvline(found["zuko NSF"].noise[name], color=palette.INK, linestyle=":")
    ax.set_title({"kl": "KL(truth | model)", "sliced_w2": "sliced W2", "c2st": "C2ST"}[name])
picture.savefig("your_own_flow.png")
