"""Search several spaces for one best value: each trial goes where the most is expected of it.

Each definition, an algorithm with a search space of its own, has an optimiser of its own. All
measure the same kind of objective, so that their expected improvements, on the best value that any
of them has found and in the objective's own unit, can be compared. The largest has the next trial.

Source of the idea: the combined choice of an algorithm and its hyperparameters, Thornton et al. 2013,
"Auto-WEKA"; there in one model over all, here in one for each, as they need have no parameter in
common.
"""

import contextlib
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.objective import slope_of, warped
from tunesmith_core.optimizer import Optimizer, Promise
from tunesmith_core.space.ranges import Configuration
from tunesmith_core.space.scaling import F64

START = 3
"""So many trials each definition has before they are compared."""

Choice: TypeAlias = tuple[str | None, Configuration]
"""A definition's name, and a configuration of its space."""


class Portfolio:
    """Ask for the next trials of several definitions.

    Results are told to the optimisers, and pending configurations set there. With one definition it
    asks its optimiser, and does nothing else.

    Not safe for use from several threads at once.

    Args:
        optimizers: By the definition's name, None for one without; at least one. All have the same
            goal.
    """

    def __init__(self, optimizers: Mapping[str | None, Optimizer]) -> None:
        if not optimizers:
            raise ValueError("a portfolio needs at least one definition")
        self.optimizers = dict(optimizers)

    def ask(
        self, count: int = 1, *, quasi_random: bool = False, growth: int | None = None
    ) -> list[Choice]:
        """Suggest new configurations, which are pending from then on.

        Args:
            count: How many; each is chosen with those before it pending.
            quasi_random: As in `Optimizer.ask`; definitions take turns.
            growth: As in `Optimizer.ask`.

        Returns:
            ``count`` choices; fewer if no more are left.

        Raises:
            SpaceExhausted: None is left in any space.

        Cost: for each one, that of `Optimizer.ask` for each definition.
        """
        if len(self.optimizers) == 1:
            ((name, optimizer),) = self.optimizers.items()
            asked = optimizer.ask(count, quasi_random=quasi_random, growth=growth)
            return [(name, configuration) for configuration in asked]
        choices: list[Choice] = []
        while len(choices) < count:
            try:
                choices.append(self._choose(quasi_random=quasi_random, growth=growth))
            except SpaceExhausted:
                if choices:
                    break
                raise
        return choices

    def _choose(self, *, quasi_random: bool, growth: int | None) -> Choice:
        values = np.concatenate([each.values for each in self.optimizers.values()])
        known = {name: each.known for name, each in self.optimizers.items()}
        # Trials that were stopped, or rest, don't say what a definition comes to.
        can_compare = not any(each.is_unfinished for each in self.optimizers.values())
        by_turns = quasi_random or not can_compare or not np.isfinite(values).any()
        for name in sorted(known, key=lambda name: known[name]):
            if by_turns or known[name] < START:
                with contextlib.suppress(SpaceExhausted):
                    (configuration,) = self.optimizers[name].ask(
                        quasi_random=quasi_random, growth=growth
                    )
                    return name, configuration
        promises = self._promises(values, growth)
        if not promises:
            raise SpaceExhausted(sum(known.values()))
        best = max(promises, key=lambda name: (promises[name].log_gain, -known[name]))
        configuration = promises[best].configuration
        self.optimizers[best].hold(configuration)
        return best, configuration

    def _promises(self, values: F64, growth: int | None) -> dict[str | None, Promise]:
        """Ask each definition that has a configuration left what it promises."""
        if not np.isfinite(values).any():
            return {}
        best, slope = float(np.nanmin(values)), slope_of(values, warped(values))
        promises = {}
        for name, optimizer in self.optimizers.items():
            with contextlib.suppress(SpaceExhausted):
                promises[name] = optimizer.promise(best=best, slope=slope, growth=growth)
        return promises
