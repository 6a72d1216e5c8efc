"""How fast every schedule of steps gets there (solid), against the rates that are proved (dotted).

The first step of `Harmonic`, M / lambda, is thousands of times the limit of the explicit scheme on
this grid: a step is one linear system of `SemiImplicit(order=1)` instead, which has no limit.

Run as `python examples/06_schedules.py [CELLS]`.
"""

# %% What is proved of KL of the average, mean KL of the iterates, KL and B of the last one.
import sys

import numpy as np
from matplotlib import figure, rcParams

import parabolic_ma as pma
from parabolic_ma.plotting import palette, views

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
K = 2 ** np.arange(4, 10)
rates = {"1/K": 1 / K, "1/√K": K**-0.5, "log K/√K": np.log(K) / K**0.5, "log K/K": np.log(K) / K}
proved = {"Constant": ("1/K", "", "", ""), "InverseSqrt": ("1/√K", "", "log K/√K", "")}
proved |= {"Harmonic": ("", "log K/K", "log K/K", "log K/K"), "LogOverK": ("", "", "", "log K/K")}
names = "KL of the average", "Mean KL", "KL of the last", "B of the last"
y, weight = np.polynomial.hermite_e.hermegauss(60)


# %% A run, and these figures of it: the Bregman divergence by x, the map to the target at y.
def run(means: list[float], schedule: object, x: np.ndarray, **end: float) -> tuple:
    mixture = pma.GaussianMixture(means, [0.3, 0.3], [0.35, 0.65])
    problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), mixture)  # lambda = 1
    flow = pma.GridFlow(cells, pma.SemiImplicit(order=1), schedule, **end, side="reference")
    s = pma.solve(problem, flow, initial=pma.Identity(1))
    gap = s.map.conjugate(x) - s.map.conjugate(s.map(y)) - y * (x - s.map(y))
    mean, last = s.history["kl"][:-1].mean(), np.average(gap, weights=weight)
    return s, (s.history["kl_average"][-1], mean, s.kl, last)


# %% A log-concave target above, a bimodal one below; runs of K steps for every K.
rcParams.update(views.STYLE)
picture = figure.Figure(figsize=(15.0, 6.0), dpi=80, layout="constrained")
for row, kind in zip(picture.subplots(2, 5), ("log-concave", "bimodal"), strict=True):
    means = {"log-concave": [0.4, 1.4], "bimodal": [-1.1, 1.1]}[kind]
    exact, _ = run(means, pma.Adaptive(), y, t_final=60.0)
    h, t = exact.history, exact.history["t"][1:]
    row[4].loglog(h["t"], h["kl"], "k.-", t, h["bregman_difference"][1:].sum() / t, "k:")
    row[4].set(title="Adaptive: KL and B₀ / t", ylim=(1e-9, 9.0), xlabel="t")
    row[0].set_ylabel(kind)
    M = h["max_eigenvalue"].max()
    rules = pma.Constant(0.1), pma.InverseSqrt(), pma.Harmonic(M), pma.LogOverK(M)
    for colour, rule in zip(palette.blend(4), rules, strict=True):
        values = np.array([run(means, rule, exact.map(y), steps=int(k))[1] for k in K]).T
        name = type(rule).__name__
        for ax, title, v, rate in zip(row, names, values, proved[name], strict=False):
            if rate:
                k, use, guide = np.log2(K), v > 1e-12, rates[rate] * v[0] / rates[rate][0]
                ax.semilogy(k[use], v[use], "o-", color=colour, label=f"{name}, {rate}")
                ax.semilogy(k, guide, ":", color=colour)
                a, b = (np.polyfit(k[use], np.log2(u[use]), 1)[0] for u in (v, guide))
                print(f"{kind}, {title}, {name}: slope {a:.2f}, proved {rate} {b:.2f}")
                ax.set(title=title, xlabel="log₂ K")
                ax.legend(loc="lower left")
picture.savefig("schedules.png")
