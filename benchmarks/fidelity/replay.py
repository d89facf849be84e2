"""Replay a method on a pool until the budget is spent, to the last value accounted for.

Runs go on one at a time, and none is begun twice. A stopped run costs what it has spent until then.
A value counts from the moment at which all that was spent, its own cost included, is within the
budget. Regret is the best value seen less the best of the whole pool.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.fidelity.methods.method import Method
from benchmarks.fidelity.pools import Pool


class Improvement(NamedTuple):
    """Hold a moment at which the regret fell.

    Attributes:
        spent: Until then, in the unit of the budgets.
        regret: From then on, in the pool's unit.
    """

    spent: float
    regret: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Say what became of one replay.

    Attributes:
        improvements: In the order of time.
        begun: How many runs were begun.
        stopped: How many of these were stopped.
        used_up_at: What was spent when no run was left and the last had ended; None: the budget was
            spent before.
    """

    improvements: Sequence[Improvement]
    begun: int
    stopped: int
    used_up_at: float | None


def replay(pool: Pool, method: Method) -> Outcome:
    """Spend the largest budget of a pool."""
    remaining = list(range(len(pool.runs)))
    improvements: list[Improvement] = []
    limit = pool.budgets[-1]
    lowest = pool.lowest
    best = math.inf
    spent = 0.0
    stopped = 0
    while remaining and spent <= limit:
        place = method.ask(remaining)
        del remaining[_index(remaining, place)]
        run = pool.runs[place]
        is_stopped = False
        for resource, (value, cost) in enumerate(zip(run.values, run.costs, strict=True), start=1):
            spent += cost
            if spent > limit:
                break
            if value < best:
                best = value
                improvements.append(Improvement(spent, (best - lowest) / pool.unit))
            is_stopped = method.report(place, resource, value)
            if is_stopped:
                stopped += 1
                break
        else:
            method.end(place, stopped=False)
        if is_stopped:
            method.end(place, stopped=True)
    return Outcome(
        improvements=improvements,
        begun=len(pool.runs) - len(remaining),
        stopped=stopped,
        used_up_at=spent if spent <= limit else None,
    )


def regret_at(improvements: Sequence[Improvement], budget: float) -> float:
    """Give the regret that a budget leaves; infinite before the first value."""
    within = [regret for spent, regret in improvements if spent <= budget]
    return within[-1] if within else math.inf


def since(improvements: Sequence[Improvement], spent: float) -> Sequence[Improvement]:
    """Leave out those before a moment, but for the last of them: what is read later needs no more."""
    before = sum(each.spent <= spent for each in improvements)
    return improvements[max(0, before - 1) :]


def _index(rising: Sequence[int], wanted: int) -> int:
    """Find a run among those that are left.

    Raises:
        ValueError: The method named one that was begun before, or that there is not.
    """
    index = bisect_left(rising, wanted)
    if index == len(rising) or rising[index] != wanted:
        raise ValueError(f"run {wanted} is not among the {len(rising)} that are left")
    return index
