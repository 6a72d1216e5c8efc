"""Bioassay experiment (Racine et al., 1986): a logistic regression with two parameters.

Four groups of five animals got a dose (log g/ml); 0, 1, 3 and 5 of them died. The prior on the
intercept alpha and the slope beta is flat.
"""

import numpy as np

from parabolic_ma import datasets

DOSE, ANIMALS, DEATHS = datasets.bioassay().T


def potential(x: np.ndarray) -> np.ndarray:
    """Minus the log likelihood at ``x = (alpha, beta)``, shape ``(n, 2)`` to ``(n,)``."""
    eta = x[:, :1] + x[:, 1:] * DOSE
    return np.sum(ANIMALS * np.logaddexp(0.0, eta) - DEATHS * eta, axis=1)


def gradient(x: np.ndarray) -> np.ndarray:
    """Gradient of the potential, shape ``(n, 2)``."""
    eta = x[:, :1] + x[:, 1:] * DOSE
    excess = ANIMALS * 0.5 * (1.0 + np.tanh(0.5 * eta)) - DEATHS
    return np.stack([excess.sum(axis=1), excess @ DOSE], axis=1)
