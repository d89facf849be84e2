"""Adapt Tunesmith's own optimiser: the same engine as in the service, in process."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.optimizer.space import Configuration, Parameter, Type, Value
from tunesmith_core import space as spaces
from tunesmith_core.objective import Goal
from tunesmith_core.optimizer import Optimizer


class Ours:
    """Ask and tell `tunesmith_core`."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        del evaluations
        self._optimizer = Optimizer(search_space(space), seed=seed, goal=Goal.MINIMIZE)

    def ask(self) -> dict[str, Value]:
        """Ask for one suggestion."""
        (suggestion,) = self._optimizer.ask()
        return dict(suggestion)

    def tell(self, configuration: Configuration, value: float) -> None:
        """Tell a value."""
        self._optimizer.tell(configuration, value)


def search_space(parameters: Sequence[Parameter]) -> spaces.SearchSpace:
    """Make a search space of the product's own."""
    return spaces.SearchSpace(tuple(_range(each) for each in parameters))


def _range(parameter: Parameter) -> spaces.Parameter:
    if parameter.type is Type.CATEGORICAL:
        return spaces.Categorical(name=parameter.name, values=parameter.values)
    scaling = spaces.Scaling(parameter.scaling.value)
    if parameter.type is Type.INTEGER:
        lo, hi = int(parameter.lo), int(parameter.hi)
        return spaces.Integer(name=parameter.name, lo=lo, hi=hi, scaling=scaling)
    return spaces.Continuous(name=parameter.name, lo=parameter.lo, hi=parameter.hi, scaling=scaling)
