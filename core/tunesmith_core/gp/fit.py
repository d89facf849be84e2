"""Find the hyperparameters that explain the observations best: L-BFGS on the log posterior."""

from typing import Protocol

import numpy as np
from scipy.optimize import minimize

from tunesmith_core.gp.priors import Prior
from tunesmith_core.space.scaling import F64


class Posterior(Protocol):
    """Say how likely hyperparameters are, as `gp.likelihood.Likelihood` does."""

    @property
    def prior(self) -> Prior:
        """Give what is believed beforehand."""
        ...

    def negative_log_posterior(self, theta: F64, /) -> tuple[float, F64]:
        """Give -ln p at a vector of hyperparameters (size,), and its gradient."""
        ...


def fit(likelihood: Posterior, starts: list[F64], *, max_evaluations: int) -> F64:
    """Climb from each start, and give the best vector of hyperparameters found (size,).

    Cost: at most ``max_evaluations`` likelihoods for each start.
    """
    prior = likelihood.prior
    bounds = np.column_stack([prior.lower, prior.upper])
    best, best_value = starts[0], np.inf
    for start in starts:
        found = minimize(
            likelihood.negative_log_posterior,
            np.clip(start, prior.lower, prior.upper),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={
                "maxfun": max_evaluations,
                "maxiter": max_evaluations,
                "ftol": 1e-6,
                "gtol": 1e-3,
            },
        )
        if found.fun < best_value:
            best, best_value = found.x, found.fun
    return best
