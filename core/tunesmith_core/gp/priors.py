r"""Say what is believed of the hyperparameters before there are observations.

All are normal on the logarithms, so the log density is a parabola:

- length-scales: a level that all numeric coordinates share, and each one's own distance from it.
  Most objectives vary about as fast along one coordinate as along another, so that a coordinate is
  not taken to be without effect just because few observations say nothing of it. Categorical
  coordinates share a level of their own: close to an optimum numeric length-scales become short,
  which does not mean that one value of a category says nothing of another. The coordinate that
  says which search a result is from has a length-scale of its own. All others grow with
  :math:`\tfrac12 \ln d`, which keeps the surrogate's complexity about the same in any dimension.
  Source of that: Hvarfner, Hellsten & Nardi 2024, "Vanilla Bayesian Optimization Performs Great in
  High Dimensions", section 4. Independent length-scales, as they have them, were measured worse.
- warping exponents: mean 0, the identity; close to it where a scaling was declared, and free to
  become nearly logarithmic where it is to be learned. Source: Snoek et al. 2014, section 3.
- noise variance: in units of the signal's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.gp.parameters import Layout
from tunesmith_core.space.scaling import F64

MIN_LS, MAX_LS = 0.03, 1000.0
"""Bounds of length-scales, per edge of the unit cube: shorter ones explain anything."""

MAX_NOISE = 10.0
"""The largest noise variance, in units of the signal's."""


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Hold means, standard deviations and bounds of the logarithms, each (size,).

    Attributes:
        groups: Indices of length-scales that share a level, and what that takes off their
            precision.
        mean: Means.
        deviation: Standard deviations; of the length-scales, from the shared level.
        lower: Lower bounds.
        upper: Upper bounds.
    """

    groups: tuple[tuple[NDArray[np.intp], float], ...]
    mean: F64
    deviation: F64
    lower: F64
    upper: F64

    def log_density(self, theta: F64) -> tuple[float, F64]:
        """Give the log density, up to a constant, and its gradient (size,).

        Cost: linear in the size of ``theta``.
        """
        z = theta - self.mean
        pull = z / self.deviation**2
        for group, shared in self.groups:
            # Woodbury: the inverse of s² I + t² 1 1^T.
            pull[group] -= z[group].sum() * shared
        return -0.5 * float(z @ pull), -pull


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSettings:
    """Hold the numbers of the prior; the defaults are those measured best.

    Attributes:
        ls_mean: Mean of the length-scales' logarithms in one dimension.
        ls_common: Standard deviation of the level that they share.
        ls_deviation: Standard deviation of each one from the level.
        categorical_ls_deviation: The same of categorical coordinates.
        warp_deviation: Standard deviation of the exponents' logarithms.
        learned_warp_deviation: The same where the scaling is to be learned.
        task_ls_deviation: Standard deviation of the logarithm of the task's length-scale.
        noise_mean: Mean of the noise variance's logarithm.
        noise_deviation: Its standard deviation.
        noise_lower: The least noise variance; less makes the covariance singular.
    """

    ls_mean: float = -0.25
    ls_common: float = 1.0
    ls_deviation: float = 0.7
    categorical_ls_deviation: float = 1.0
    warp_deviation: float = 0.1
    learned_warp_deviation: float = 0.75
    task_ls_deviation: float = 1.0
    noise_mean: float = -7.0
    noise_deviation: float = 2.0
    noise_lower: float = 1e-7


def prior_of(layout: Layout, settings: PriorSettings) -> Prior:
    """Lay the prior out for a space."""
    d, w = layout.dimensions, len(layout.warped)
    ls_mean = settings.ls_mean + 0.5 * np.log(max(d, 1))
    categorical = layout.categorical
    own = np.where(categorical, settings.categorical_ls_deviation, settings.ls_deviation)
    means = np.full(d, ls_mean)
    grouped = np.arange(d) != layout.task
    if layout.task >= 0:
        own[layout.task] = settings.task_ls_deviation
        means[layout.task] = np.log(layout.task_ls)
    warp = np.where(layout.unscaled, settings.learned_warp_deviation, settings.warp_deviation)
    widest = 4.0 * warp
    return Prior(
        groups=tuple(
            (group, _shared_precision(own[group[0]], settings.ls_common, len(group)))
            for group in (np.flatnonzero(categorical & grouped), np.flatnonzero(~categorical))
            if len(group)
        ),
        mean=np.concatenate([means, np.zeros(2 * w), [settings.noise_mean]]),
        deviation=np.concatenate([own, warp, warp, [settings.noise_deviation]]),
        lower=np.concatenate(
            [np.full(d, np.log(MIN_LS)), -widest, -widest, [np.log(settings.noise_lower)]]
        ),
        upper=np.concatenate([np.full(d, np.log(MAX_LS)), widest, widest, [np.log(MAX_NOISE)]]),
    )


def _shared_precision(own: float, common: float, count: int) -> float:
    return common**2 / (own**2 * (own**2 + count * common**2))
