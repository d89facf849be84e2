"""Adapt Syne Tune's asynchronous successive halving, of which the rule stops runs.

The scheduler is asked and told without Syne Tune's tuner or simulator. It is by its own defaults: one
of three goes on, the first rung is the first value, one bracket. A trial's resource is its number of
values; in AlexNet's pool many runs end before the longest. Its search is random, so that it draws a
number, which names one of the runs that are left.

Its BOHB would fit in here, too, but needs some two minutes for a replay.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.fidelity.pools import Pool


class Asha:
    """Ask and tell the scheduler.

    Args:
        pool: What is drawn from.
        seed: Of the scheduler, and of the global generators, from which it draws some numbers.
        grace_period: Where the first rung lies.
    """

    def __init__(self, pool: Pool, *, seed: int, grace_period: int = 1) -> None:
        logging.disable(logging.WARNING)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the library's own way
        self._make_trial = import_module("syne_tune.backend.trial_status").Trial
        self._stop = import_module("syne_tune.optimizer.scheduler").SchedulerDecision.STOP
        uniform = import_module("syne_tune.config_space").uniform
        self._scheduler = import_module("syne_tune.optimizer.baselines").ASHA(
            config_space={"place": uniform(0.0, 1.0)},
            metric="value",
            time_attr="resource",
            max_t=pool.longest,
            grace_period=grace_period,
            random_seed=seed,
        )
        self._trial: Any = None
        self._result: dict[str, object] = {}

    def ask(self, remaining: Sequence[int]) -> int:
        """Say which run begins."""
        configuration = self._scheduler.suggest().config
        place = min(int(configuration["place"] * len(remaining)), len(remaining) - 1)
        run = remaining[place]
        now = datetime.now(UTC)
        self._trial = self._make_trial(trial_id=run, config=configuration, creation_time=now)
        self._scheduler.on_trial_add(self._trial)
        return run

    def report(self, run: int, resource: int, value: float) -> bool:
        """Report a value, and learn whether the trial should stop."""
        del run
        self._result = {"value": value, "resource": resource}
        return bool(self._scheduler.on_trial_result(self._trial, self._result) == self._stop)

    def end(self, run: int, *, stopped: bool) -> None:
        """Tell the scheduler what its own tuner would."""
        del run
        if stopped:
            self._scheduler.on_trial_remove(self._trial)
        else:
            self._scheduler.on_trial_complete(self._trial, self._result)


def from_30th(pool: Pool, *, seed: int) -> Asha:
    """Put the first rung where the server puts it, which is not the library's default."""
    return Asha(pool, seed=seed, grace_period=math.ceil(pool.longest / 30))
