"""Sinkhorn's iterates approach the flow as epsilon falls, with t = k epsilon.

The potential after k full sweeps is that of the flow up to O(epsilon), and twice that of epsilon
less that of two epsilon up to O(epsilon squared).

Run as `python examples/08_sinkhorn_limit.py [CELLS]`.
"""

# %% The flow until t = 0.5; on a finer grid, because Sinkhorn's sums are exact to rounding.
import sys

import numpy as np
from matplotlib import figure, rcParams

import parabolic_ma as pma
from parabolic_ma.plotting import palette, views

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 512
target = pma.GaussianMixture([-1.0, 1.0], [0.3, 0.3], [0.4, 0.6])
problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), target)
stepper, start = pma.SemiImplicit(rtol=1e-7, atol=1e-10), pma.Identity(1)
flow = pma.solve(
    problem, pma.GridFlow(8 * cells, stepper, t_final=0.5, side="reference"), initial=start
)

# %% Sinkhorn's potentials at the same time, less their means.
y, weight = np.polynomial.hermite_e.hermegauss(80)
epsilons = 0.1 / 2.0 ** np.arange(5)
runs = [
    pma.solve(problem, pma.SinkhornFlow(cells, e, round(0.5 / e), side="reference"), initial=start)
    for e in epsilons
]
values = np.array([s.map.potential(y) for s in [*runs, flow]])
values -= np.average(values, axis=1, weights=weight)[:, None]
sinkhorn, exact = values[:-1], values[-1]
errors = [np.sqrt(np.average((u - exact) ** 2, weights=weight)) for u in sinkhorn]
twice = 2.0 * sinkhorn[1:] - sinkhorn[:-1]
second = [np.sqrt(np.average((u - exact) ** 2, weights=weight)) for u in twice]
print("errors    ", errors, "ratios", np.divide(errors[:-1], errors[1:]))
print("Richardson", second, "ratios", np.divide(second[:-1], second[1:]))

# %% Draw the errors and the densities at t = 0.5.
rcParams.update(views.STYLE)
picture = figure.Figure(figsize=(10.4, 4.2), dpi=110, layout="constrained")
a, b = picture.subplots(1, 2)
a.loglog(epsilons, errors, "o-", color=palette.REFERENCE, label="ψ(ε), slope 1 dotted")
a.loglog(epsilons[1:], second, "s-", color=palette.TARGET, label="2 ψ(ε) − ψ(2ε), slope 2 dotted")
a.loglog(epsilons, errors[0] * epsilons / 0.1, "k:")
a.loglog(epsilons[1:], second[0] * (epsilons[1:] / 0.05) ** 2, "k:")
a.set(title="Distance of the potential from the flow's", xlabel="ε")
a.legend()
x = np.linspace(-3.0, 3.0, 400)
for s, colour in zip(runs[:3], palette.blend(3), strict=True):
    b.plot(x, np.exp(s.log_prob(x)), color=colour, label=f"ε = {s.solver.epsilon:g}")
b.plot(x, np.exp(flow.log_prob(x)), "k--", label="flow")
b.fill_between(x, np.exp(-target.potential(x)), color=palette.TARGET, alpha=0.2, linewidth=0)
b.set(title="Densities at t = 0.5, over the target")
b.legend()
picture.savefig("sinkhorn_limit.png")
