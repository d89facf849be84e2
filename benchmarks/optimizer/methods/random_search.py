"""Propose at random, uniformly in each range's scaling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.optimizer.space import Configuration, Parameter, Value, unit_to_value


class RandomSearch:
    """Propose at random, and learn nothing."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        del evaluations
        self._space = tuple(space)
        self._rng = np.random.default_rng(seed)

    def ask(self) -> dict[str, Value]:
        """Propose a configuration."""
        u = self._rng.random(len(self._space))
        return {
            parameter.name: unit_to_value(parameter, float(each))
            for parameter, each in zip(self._space, u, strict=True)
        }

    def tell(self, configuration: Configuration, value: float) -> None:
        """Learn nothing."""
