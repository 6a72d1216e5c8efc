"""The transport problem."""

from __future__ import annotations

import numpy as np
import pytest

from parabolic_ma.measures import Gaussian, Uniform
from parabolic_ma.problem import TransportProblem
from parabolic_ma.status import InputError


def test_swap_exchanges_the_roles():
    reference, target = Gaussian([0, 0], 1.0), Uniform([(0, 1), (0, 1)])
    problem = TransportProblem(reference, target)
    assert problem.dim == 2
    swapped = problem.swap()
    assert swapped.reference is target
    assert swapped.target is reference


@pytest.mark.parametrize(
    ("reference", "target", "message"),
    [
        (Gaussian(0, 1), Gaussian([0, 0], 1), "the reference has dimension 1 and the target 2"),
        (np.zeros((5, 2)), Gaussian(0, 1), r"reference must be a measure .*, got ndarray; wrap po"),
        (Gaussian(0, 1), lambda x: x, r"target must be a measure .*, got function; wrap points"),
        (Gaussian, Gaussian(0, 1), "reference must be a measure, got the class Gaussian; make one"),
    ],
)
def test_refusals(reference, target, message):
    with pytest.raises(InputError, match=message):
        TransportProblem(reference, target)
