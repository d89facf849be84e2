"""The same fit and ask by BoTorch over GPyTorch, on the same card, where both are installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tunesmith_core.space.scaling import F64

EVALUATIONS = 30
VALUE_TOLERANCE, SLOPE_TOLERANCE = 1e-6, 1e-3
"""As `tunesmith_core.gp.fit` has them; GPyTorch's likelihood is one observation's share of ours."""

CANDIDATES, STARTS, ROUNDS = 512, 6, 25
CHOLESKY = 20_000
"""GPyTorch factors exactly up to so many observations; by default it iterates above 800."""


def peer(x: F64, y: F64, known: int) -> Callable[[], None]:
    """Make a model, and give what takes in one more observation, fits it anew and asks it once.

    The fit goes on from the one before, as ours does, and ends by the same rules; the search has as
    many candidates and starts. Everything is double, on the card.

    Args:
        x: (n, d) points.
        y: (n,) values, minimised.
        known: With how many of them the model begins.

    Raises:
        ImportError: BoTorch or GPyTorch isn't installed.
    """
    torch: Any = import_module("torch")
    gpytorch: Any = import_module("gpytorch")
    models: Any = import_module("botorch.models")
    fit: Any = import_module("botorch.optim.fit")
    acquisition: Any = import_module("botorch.acquisition")
    optim: Any = import_module("botorch.optim")
    there = {"dtype": torch.float64, "device": "cuda"}
    points, values = torch.tensor(x, **there), torch.tensor(-y, **there).unsqueeze(-1)
    d, more = x.shape[1], iter(range(known + 1, len(x) + 1))
    kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=d))
    model = models.SingleTaskGP(
        points[:known], values[:known], covar_module=kernel, outcome_transform=None
    ).to(**there)
    likelihood = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    bounds = torch.stack([torch.zeros(d, **there), torch.ones(d, **there)])

    fitting = {
        "maxiter": EVALUATIONS,
        "maxfun": EVALUATIONS,
        "ftol": VALUE_TOLERANCE,
        "gtol": SLOPE_TOLERANCE / known,
    }

    def fit_and_ask() -> None:
        n = next(more)
        model.set_train_data(points[:n], values[:n, 0], strict=False)
        with warnings.catch_warnings(), gpytorch.settings.max_cholesky_size(CHOLESKY):
            warnings.simplefilter("ignore")
            # What fit_gpytorch_mll calls, without its repeats from other starts.
            likelihood.train()
            fit.fit_gpytorch_mll_scipy(likelihood, options=fitting)
            likelihood.eval()
            score = acquisition.LogExpectedImprovement(model, best_f=values[:n].max())
            optim.optimize_acqf(
                score,
                bounds,
                q=1,
                num_restarts=STARTS,
                raw_samples=CANDIDATES,
                options={"maxiter": ROUNDS},
            )
        torch.cuda.synchronize()

    return fit_and_ask


def give_back() -> None:
    """Give the memory that PyTorch keeps in store back to the card."""
    import_module("torch").cuda.empty_cache()
