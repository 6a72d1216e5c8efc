"""The measures that transport problems are made of."""

from parabolic_ma.measures.gaussian import Gaussian, GaussianMixture
from parabolic_ma.measures.grid_density import GridDensity
from parabolic_ma.measures.missing import MissingPotential
from parabolic_ma.measures.potential import Potential
from parabolic_ma.measures.protocol import Measure
from parabolic_ma.measures.samples import Samples
from parabolic_ma.measures.standardised import Standardised
from parabolic_ma.measures.uniform import Uniform

__all__ = [
    "Gaussian",
    "GaussianMixture",
    "GridDensity",
    "Measure",
    "MissingPotential",
    "Potential",
    "Samples",
    "Standardised",
    "Uniform",
]
