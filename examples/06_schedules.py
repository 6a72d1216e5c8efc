"""How fast every schedule of steps gets there (solid), against the rates that are proved (dotted).

The first step of `Harmonic`, M / lambda, is ten thousand times the limit of explicit steps on this
grid and more: a step is one linear system of `SemiImplicit(order=1)` instead, which has no limit.

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
    gap = weight @ (s.map.conjugate(x) - s.map.conjugate(s.map(y)) - y * (x - s.map(y)))
    return s, (s.history["kl_average"][-1], s.history["kl"][:-1].mean(), s.kl, gap / weight.sum())


# %% Runs of K steps for every K; values down to 1e-12, where rounding begins.
rcParams.update({**views.STYLE, "axes.ymargin": 0.33})
picture = figure.Figure(figsize=(15.0, 6.0), dpi=80, layout="constrained")
for row, kind in zip(picture.subplots(2, 5), ("log-concave", "bimodal"), strict=True):
    means = [0.4, 1.4] if kind == "log-concave" else [-1.1, 1.1]
    exact, _ = run(means, pma.Adaptive(), y, t_final=60.0)
    h, M = exact.history, exact.history["max_eigenvalue"].max()
    bound = h["bregman_difference"][1:].sum() / h["t"][1:]
    row[4].loglog(h["t"][1:], h["kl"][1:], "k.-", h["t"][1:], bound, "k:")
    row[4].set(title="Adaptive: KL and B₀ / t", ylim=(1e-9, 9.0), xlabel="t")
    rules = pma.Constant(0.1), pma.InverseSqrt(), pma.Harmonic(M), pma.LogOverK(M)
    for name, colour, rule in zip(proved, palette.blend(4), rules, strict=True):
        values = np.array([run(means, rule, exact.map(y), steps=int(k))[1] for k in K]).T
        for ax, title, v, rate in zip(row, names, values, proved[name], strict=False):
            if rate:
                k, use, guide = np.log2(K), v > 1e-12, rates[rate] * v[0] / rates[rate][0]
                ax.semilogy(k[use], v[use], "o-", color=colour, label=f"{name}, {rate}")
                ax.semilogy(k, guide, ":", color=colour)
                a, b = (np.polyfit(k[use], np.log2(u[use]), 1)[0] for u in (v, guide))
                print(f"{kind}, {title}, {name}: slope {a:.2f}, proved {rate} {b:.2f}")
                ax.set(title=f"{title}, {kind}", xlabel="log₂ K")
                ax.legend(loc="upper right")
picture.savefig("schedules.png")
