"""Take the runs that our model proposes, and stop them by Hyperband's rule: as the server does both.

The nearest run that is left stands for what is proposed, and its own configuration is what the optimiser
learns of. As in the server without a seed, hyperparameters are fitted at most once an ask. The first
proposals are those of the optimiser's design, one after the other: it knows nothing of what stands for
them, and would propose the first of them again. Later ones of the design are not asked for: any run
stands for one, as runs were drawn from the same ranges.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from benchmarks.fidelity.methods.halving import Halving
from benchmarks.fidelity.methods.nearest import nearest
from benchmarks.fidelity.pools import Pool
from benchmarks.optimizer.methods.ours import search_space
from benchmarks.optimizer.space import value_to_unit
from tunesmith_core.designs.quasi_random import QuasiRandomDesign
from tunesmith_core.optimizer import Optimizer, Settings


class Model(Halving):
    """Ask the optimiser, and tell it what came of the runs.

    Args:
        pool: What is drawn from.
        seed: Of the suggestions.
    """

    def __init__(self, pool: Pool, *, seed: int) -> None:
        super().__init__(pool, seed=seed)
        self._pool = pool
        self._optimizer = Optimizer(search_space(pool.parameters), seed=seed)
        self._settings = Settings()
        self._design = QuasiRandomDesign(self._optimizer.space, seed)
        self._rng = random.Random(seed)  # noqa: S311 - seeded, and nothing is secret
        self._asked = 0
        self._last = math.nan

    def ask(self, remaining: Sequence[int]) -> int:
        """Say which run begins."""
        if self._asked < self._settings.initial:
            asked = self._design.configuration(self._asked)
        elif self._optimizer.is_spreading:
            return self._rng.choice(remaining)
        else:
            (asked,) = self._optimizer.ask(growth=self._settings.fit.growth)
            self._optimizer.set_pending([])
        self._asked += 1
        pool = self._pool
        wanted = [value_to_unit(each, asked[each.name]) for each in pool.parameters]
        return nearest(pool.points, remaining, wanted)

    def report(self, run: int, resource: int, value: float) -> bool:
        """Ask the rule."""
        self._last = value
        return super().report(run, resource, value)

    def end(self, run: int, *, stopped: bool) -> None:
        """Tell the optimiser where it ended, and what it had at its rungs."""
        configuration = self._pool.runs[run].configuration
        rungs = self._rule.entries(run)
        self._optimizer.tell(configuration, self._last, rungs=rungs, is_stopped=stopped)
        super().end(run, stopped=stopped)
