"""Adapt HEBO with its defaults: a warped Gaussian process and the MACE ensemble of acquisitions."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from importlib import import_module

import numpy as np

from benchmarks.optimizer.methods.method import Peer
from benchmarks.optimizer.space import Configuration, Parameter, Type, Value


class Hebo(Peer):
    """Suggest and observe."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        super().__init__(space, seed=seed, evaluations=evaluations)
        warnings.simplefilter("ignore")
        self._pandas = import_module("pandas")
        # It draws from the global generators.
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - HEBO's own
        import_module("torch").manual_seed(seed)
        designs = import_module("hebo.design_space.design_space")
        described = designs.DesignSpace().parse([_range(parameter) for parameter in self.space])
        optimizer = import_module("hebo.optimizers.hebo").HEBO
        self._optimizer = optimizer(described, scramble_seed=seed)

    def suggest(self) -> tuple[dict[str, Value], object]:
        """Ask for one suggestion."""
        frame = self._optimizer.suggest(n_suggestions=1)
        row = frame.iloc[0]
        return {each.name: _plain(each, row[each.name]) for each in self.space}, frame

    def observe(self, configuration: Configuration, handle: object, value: float) -> None:
        """Observe."""
        frame = handle if handle is not None else self._pandas.DataFrame([dict(configuration)])
        self._optimizer.observe(frame, np.array([[value]]))


def _range(parameter: Parameter) -> dict[str, object]:
    if parameter.type is Type.CATEGORICAL:
        return {"name": parameter.name, "type": "cat", "categories": list(parameter.values)}
    if parameter.type is Type.INTEGER:
        kind = "pow_int" if parameter.log else "int"
        bounds: tuple[float, float] = (int(parameter.lo), int(parameter.hi))
    else:
        kind = "pow" if parameter.log else "num"
        bounds = (parameter.lo, parameter.hi)
    return {"name": parameter.name, "type": kind, "lb": bounds[0], "ub": bounds[1]}


def _plain(parameter: Parameter, value: object) -> Value:
    """Make a numpy scalar a value within its range: a power may be an ulp outside."""
    if parameter.type is Type.CATEGORICAL:
        return str(value)
    number = min(max(float(str(value)), parameter.lo), parameter.hi)
    return round(number) if parameter.type is Type.INTEGER else number
