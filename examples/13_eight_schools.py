"""Eight schools: a posterior in ten dimensions, its evidence, and a check by importance sampling.

Run as `python examples/13_eight_schools.py [STEPS]`.
"""

# %% Effects theta = mu + tau theta_trans; the network works in (theta_trans, mu, log tau).
import sys

import numpy as np
from matplotlib import figure, rcParams

import parabolic_ma as pma
from parabolic_ma.plotting import palette, views
from parabolic_ma.posteriors import posterior

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
schools = posterior("eight_schools")
problem = schools.problem()

# %% Fit. The target is known up to a constant, which is the evidence.
solution = pma.solve(problem, pma.NeuralFlow(steps=steps, threads=1))
bounds = solution.certificate
print(solution.message)
print(f"log evidence {solution.log_evidence:.4f} +- {bounds.log_evidence_error:.4f}")
print(f"  between {bounds.log_evidence_lower:.4f} and {bounds.log_evidence_upper:.4f}")
print(f"  by quadrature {schools.log_evidence:.4f}")

# %% Draws of the effects, with the weights that would correct them.
z = solution.sample(100_000, rng=1)
draws = schools.constrain(problem.target.to_original(z))
log_weight = -problem.target.potential(z) - solution.log_prob(z)
weight = np.exp(log_weight - log_weight.max())
weight /= weight.sum()
names = [*(f"theta {k}" for k in "ABCDEFGH"), "mu", "tau"]
for name, x, mean, sd in zip(names, draws.T, schools.means, schools.sds, strict=True):
    print(f"{name}: {x.mean():.3f} (weighted {weight @ x:.3f}, exact {mean:.3f})", end=", ")
    print(f"deviation {x.std():.3f} (exact {sd:.3f})")

# %% Draw the effects, and the funnel of school A.
rcParams.update(views.STYLE)
picture = figure.Figure(figsize=(11.0, 4.4), dpi=100, layout="constrained")
left, right = picture.subplots(1, 2, width_ratios=[1.2, 1.0])
places, low, high = np.arange(10), *np.quantile(draws, [0.05, 0.95], axis=0)
left.vlines(places, low, high, color=palette.TARGET, linewidth=6, alpha=0.4)
left.plot(places, draws.mean(axis=0), "o", color=palette.TARGET, label="network")
left.plot(places, schools.means, "_", color=palette.INK, markersize=16, label="quadrature")
left.set_xticks(places, names, rotation=45, ha="right")
left.set_title("Means, and 90 % of the draws")
left.legend()
right.scatter(draws[:4000, 0], np.log(draws[:4000, -1]), s=2, color=palette.REFERENCE, alpha=0.4)
right.set(
    title="Effect of school A against log tau", xlabel="theta A", xlim=(-20, 40), ylim=(-3, 4)
)
picture.savefig("eight_schools.png")
