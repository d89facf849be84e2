"""The replay of recorded runs: every value is paid for, and none counts beyond the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.fidelity.methods.nearest import nearest
from benchmarks.fidelity.pools import Pool, Run
from benchmarks.fidelity.replay import Improvement, regret_at, replay, since


class Scripted:
    """Take runs in an order, and stop some of them after so many values."""

    def __init__(self, order: Sequence[int], stops: dict[int, int] | None = None) -> None:
        self._order = iter(order)
        self._stops = stops or {}
        self.seen: list[tuple[int, int, float]] = []
        self.ended: list[tuple[int, bool]] = []

    def ask(self, remaining: Sequence[int]) -> int:
        run = next(self._order)
        assert list(remaining) == sorted(remaining)
        return run

    def report(self, run: int, resource: int, value: float) -> bool:
        self.seen.append((run, resource, value))
        return self._stops.get(run) == resource

    def end(self, run: int, *, stopped: bool) -> None:
        self.ended.append((run, stopped))


def pool(*curves: Sequence[float], budgets: Sequence[float], costs: float = 1.0) -> Pool:
    """Give a pool of runs whose values cost the same; a regret of 1 is 1."""
    runs = [
        Run(configuration={}, values=curve, costs=[costs] * len(curve), full=len(curve))
        for curve in curves
    ]
    return Pool(
        name="by hand",
        kind="by hand",
        parameters=(),
        runs=runs,
        points=np.zeros((len(runs), 0)),
        budgets=budgets,
        unit=1.0,
        longest=max(map(len, curves)),
    )


def test_a_stopped_run_costs_what_it_has_spent_and_the_rest_goes_to_others() -> None:
    method = Scripted([1, 0, 2], stops={1: 2})
    outcome = replay(pool([5, 4, 3], [9, 8, 0], [7, 7, 2], budgets=(2, 5)), method)
    # 9 and 8 of the second run, then the first one whole; its last value is within the budget of 5.
    assert method.seen == [(1, 1, 9), (1, 2, 8), (0, 1, 5), (0, 2, 4), (0, 3, 3)]
    assert method.ended == [(1, True), (0, False)]
    assert [tuple(each) for each in outcome.improvements] == [
        (1, 9),
        (2, 8),
        (3, 5),
        (4, 4),
        (5, 3),
    ]
    assert [regret_at(outcome.improvements, budget) for budget in (0.5, 2, 5)] == [np.inf, 8, 3]
    assert (outcome.begun, outcome.stopped, outcome.used_up_at) == (3, 1, None)


def test_a_value_beyond_the_budget_is_neither_counted_nor_reported() -> None:
    method = Scripted([0])
    outcome = replay(pool([3, 2, 1], budgets=(4,), costs=1.5), method)
    assert method.seen == [(0, 1, 3), (0, 2, 2)]
    assert method.ended == []
    assert [tuple(each) for each in outcome.improvements] == [(1.5, 2), (3.0, 1)]
    assert outcome.used_up_at is None


def test_a_pool_that_is_used_up_is_reported_with_what_was_spent() -> None:
    outcome = replay(pool([3, 2], [1, 0], budgets=(2, 9)), Scripted([0, 1], stops={0: 1}))
    assert outcome.used_up_at == 3
    assert regret_at(outcome.improvements, 9) == 0


def test_no_run_is_begun_twice() -> None:
    with pytest.raises(ValueError, match="run 0 is not among the 1 that are left"):
        replay(pool([3], [1], budgets=(9,)), Scripted([0, 0]))


def test_early_improvements_are_left_out_and_what_is_read_later_stays() -> None:
    improvements = [Improvement(1, 9), Improvement(2, 8), Improvement(4, 7)]
    assert since(improvements, 3) == improvements[1:]
    assert since(improvements, 0.5) == improvements
    assert since(improvements, 4) == improvements[2:]


def test_the_nearest_run_is_one_that_is_left() -> None:
    points = np.array([[0.0, 0.0], [0.2, 0.0], [1.0, 1.0]])
    assert nearest(points, [0, 1, 2], [0.15, 0.0]) == 1
    assert nearest(points, [0, 2], [0.15, 0.0]) == 0
