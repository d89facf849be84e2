"""Adapt Tunesmith's own optimiser: the same engine as in the service, in process."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from benchmarks.optimizer.space import Configuration, Parameter, Type, Value


class Ours:
    """Ask and tell `tunesmith_core`."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        del evaluations
        spaces = import_module("tunesmith_core.space")
        goal = import_module("tunesmith_core.objective").Goal.MINIMIZE
        optimizer = import_module("tunesmith_core.optimizer").Optimizer
        parameters = tuple(_range(spaces, parameter) for parameter in space)
        self._optimizer = optimizer(spaces.SearchSpace(parameters), seed=seed, goal=goal)

    def ask(self) -> dict[str, Value]:
        """Ask for one suggestion."""
        (suggestion,) = self._optimizer.ask()
        return dict(suggestion)

    def tell(self, configuration: Configuration, value: float) -> None:
        """Tell a value."""
        self._optimizer.tell(configuration, value)


def _range(spaces: object, parameter: Parameter) -> object:
    """Make a range of the product's own."""
    kinds = {
        Type.CONTINUOUS: "Continuous",
        Type.INTEGER: "Integer",
        Type.CATEGORICAL: "Categorical",
    }
    make = getattr(spaces, kinds[parameter.type])
    if parameter.type is Type.CATEGORICAL:
        return make(name=parameter.name, values=parameter.values)
    scaling = getattr(spaces, "Scaling")(parameter.scaling.value)  # noqa: B009 - an untyped module
    return make(name=parameter.name, lo=parameter.lo, hi=parameter.hi, scaling=scaling)
