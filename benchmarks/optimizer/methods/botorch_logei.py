"""Build the plain loop of BoTorch's tutorials: SingleTaskGP, LogEI, one candidate at a time.

In double precision in the unit cube, categories one-hot. It starts with scrambled Sobol points:
twice as many as there are parameters, but 5 to 10. Then every ask fits anew and maximises LogEI over
the best observed value, from 10 starts out of 512 points. Integers are relaxed and rounded. Up to
six combinations of categories are searched one by one, from 4 starts out of 256 points each; more
are relaxed, and the largest coordinate decides.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from importlib import import_module

from benchmarks.optimizer.methods.method import Peer
from benchmarks.optimizer.space import (
    Configuration,
    Parameter,
    Type,
    Value,
    unit_to_value,
    value_to_unit,
)

MAX_COMBINATIONS = 6


class BotorchLogEi(Peer):
    """Fit and maximise, at every ask."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        super().__init__(space, seed=seed, evaluations=evaluations)
        warnings.simplefilter("ignore")
        self._torch = import_module("torch")
        self._torch.manual_seed(seed)
        self._torch.set_default_dtype(self._torch.float64)
        d = len(self.space)
        sobol = self._torch.quasirandom.SobolEngine(d, scramble=True, seed=seed)
        self._start = sobol.draw(max(5, min(2 * d, 10))).tolist()
        self._points: list[list[float]] = []
        self._values: list[float] = []

    def suggest(self) -> tuple[dict[str, Value], object]:
        """Propose what is left of the start, then the maximum of LogEI."""
        if self._start or len(self._values) < 2:  # noqa: PLR2004 - a spread needs two
            u = self._start.pop(0)
            proposed = [unit_to_value(each, x) for each, x in zip(self.space, u, strict=True)]
        else:
            proposed = self._decode(self._maximum())
        return {each.name: x for each, x in zip(self.space, proposed, strict=True)}, True

    def observe(self, configuration: Configuration, handle: object, value: float) -> None:
        """Add an observation; BoTorch maximises."""
        del handle
        self._points.append(self._encode(configuration))
        self._values.append(-value)

    def _maximum(self) -> list[float]:
        torch = self._torch
        models = import_module("botorch.models")
        transforms = import_module("botorch.models.transforms")
        acquisition = import_module("botorch.acquisition")
        optim = import_module("botorch.optim")
        x = torch.tensor(self._points)
        y = torch.tensor(self._values).unsqueeze(-1)
        gp = models.SingleTaskGP(x, y, outcome_transform=transforms.Standardize(m=1))
        mll = import_module("gpytorch.mlls").ExactMarginalLogLikelihood(gp.likelihood, gp)
        import_module("botorch.fit").fit_gpytorch_mll(mll)
        score = acquisition.LogExpectedImprovement(gp, best_f=y.max())
        bounds = torch.stack([torch.zeros(x.shape[1]), torch.ones(x.shape[1])])
        fixed = self._combinations()
        if fixed:
            found, _ = optim.optimize_acqf_mixed(
                score, bounds, q=1, num_restarts=4, raw_samples=256, fixed_features_list=fixed
            )
        else:
            found, _ = optim.optimize_acqf(score, bounds, q=1, num_restarts=10, raw_samples=512)
        maximum: list[float] = found[0].tolist()
        return maximum

    def _combinations(self) -> list[dict[int, float]]:
        """Give the fixed coordinates of each combination of categories; empty to relax them."""
        column, choices = 0, []
        for parameter in self.space:
            count = len(parameter.values)
            if parameter.type is Type.CATEGORICAL:
                choices.append([_one_hot(column, count, chosen) for chosen in range(count)])
            column += count or 1
        combined = [
            {index: value for part in parts for index, value in part.items()}
            for parts in itertools.islice(itertools.product(*choices), MAX_COMBINATIONS + 1)
        ]
        return combined if choices and len(combined) <= MAX_COMBINATIONS else []

    def _encode(self, configuration: Configuration) -> list[float]:
        point: list[float] = []
        for parameter in self.space:
            value = configuration[parameter.name]
            if parameter.type is Type.CATEGORICAL:
                point += [float(value == each) for each in parameter.values]
            else:
                point.append(min(max(value_to_unit(parameter, value), 0.0), 1.0))
        return point

    def _decode(self, point: list[float]) -> list[Value]:
        values: list[Value] = []
        for parameter in self.space:
            if parameter.type is Type.CATEGORICAL:
                count = len(parameter.values)
                hot, point = point[:count], point[count:]
                values.append(parameter.values[hot.index(max(hot))])
            else:
                values.append(unit_to_value(parameter, point[0]))
                point = point[1:]
        return values


def _one_hot(column: int, count: int, chosen: int) -> dict[int, float]:
    return {column + index: float(index == chosen) for index in range(count)}
