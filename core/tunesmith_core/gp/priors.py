r"""Say what is believed of the hyperparameters before there are observations.

All are normal on the logarithms, so the log density is a parabola:

- length-scales: mean :math:`\sqrt 2 + \tfrac12 \ln d`, standard deviation :math:`\sqrt 3`, which
  keeps the surrogate's complexity about the same in any dimension.
  Source: Hvarfner, Hellsten & Nardi 2024, "Vanilla Bayesian Optimization Performs Great in High
  Dimensions", section 4.
- warping exponents: mean 0, the identity. Source: Snoek et al. 2014, section 3.
- noise variance: in units of the signal's.
"""

from dataclasses import dataclass

import numpy as np

from tunesmith_core.gp.parameters import Layout
from tunesmith_core.space.scaling import F64


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Hold means, standard deviations and bounds of the logarithms, each (size,)."""

    lengths: int
    shared: float
    mean: F64
    deviation: F64
    lower: F64
    upper: F64

    def log_density(self, theta: F64) -> tuple[float, F64]:
        """Give the log density, up to a constant, and its gradient (size,)."""
        z = theta - self.mean
        pull = z / self.deviation**2
        d = self.lengths
        total = z[:d].sum()
        # Woodbury: the inverse of s² I + t² 1 1^T.
        pull[:d] -= total * self.shared
        return -0.5 * float(z @ pull), -pull


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSettings:
    """Hold the numbers of the prior; the defaults are those measured best."""

    ls_mean: float = -0.25
    ls_common: float = 1.0
    ls_deviation: float = 1.0
    warp_deviation: float = 0.1
    noise_mean: float = -7.0
    noise_deviation: float = 2.0
    noise_lower: float = 1e-7


def prior_of(layout: Layout, settings: PriorSettings) -> Prior:
    """Lay the prior out for a space."""
    d, w = layout.dimensions, len(layout.warped)
    ls_mean = settings.ls_mean + 0.5 * np.log(max(d, 1))
    own, common = settings.ls_deviation**2, settings.ls_common**2
    return Prior(
        lengths=d,
        shared=common / (own * (own + d * common)) if d else 0.0,
        mean=np.concatenate([np.full(d, ls_mean), np.zeros(2 * w), [settings.noise_mean]]),
        deviation=np.concatenate(
            [
                np.full(d, settings.ls_deviation),
                np.full(2 * w, settings.warp_deviation),
                [settings.noise_deviation],
            ]
        ),
        lower=np.concatenate(
            [np.full(d, np.log(0.01)), np.full(2 * w, -1.5), [np.log(settings.noise_lower)]]
        ),
        upper=np.concatenate([np.full(d, np.log(1000.0)), np.full(2 * w, 1.5), [np.log(10.0)]]),
    )
