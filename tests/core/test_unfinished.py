"""Trials that were stopped: their handicap by a table, and that a search is not misled by them."""

import math

import numpy as np

from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space import Configuration, Continuous, Scaling, SearchSpace
from tunesmith_core.unfinished import Unfinished

SPACE = SearchSpace(
    tuple(Continuous(name=name, lo=0, hi=1, scaling=Scaling.LINEAR) for name in "xy")
)


def test_a_table_worked_by_hand() -> None:
    # At rungs 1 and 2, and at the end; in brackets where a trial was stopped.
    #   a   1   4   9     from rung 1 on it became 8 worse, from rung 2 on 5
    #   b   2   1   4     2 and 3
    #   c  (3)            the median of 8, 2, and of e 4: 4 worse
    #   d   nan           failed
    #   e   5  (9)        the median of 5 and 3: 4 worse
    unfinished = Unfinished()
    unfinished.add([1, 4], is_stopped=False)
    unfinished.add([2, 1], is_stopped=False)
    unfinished.add([3], is_stopped=True)
    unfinished.add([], is_stopped=False)
    unfinished.add([5, 9], is_stopped=True)
    results = np.array([9, 4, 3, math.nan, 9])
    np.testing.assert_array_equal(unfinished.comparable(results), [9, 4, 7, math.nan, 13])
    # Of the first three as if there were no more: the median of 8 and 2.
    np.testing.assert_array_equal(unfinished.comparable(results[:3]), [9, 4, 8])
    assert results[2] == 3, "what is given is left as it is"


def test_what_improves_leaves_stopped_trials_as_they_are() -> None:
    unfinished = Unfinished()
    unfinished.add([3, 2], is_stopped=False)
    unfinished.add([4], is_stopped=True)
    unfinished.add([math.nan], is_stopped=True)
    results = np.array([1, 4, math.nan])
    np.testing.assert_array_equal(unfinished.comparable(results), results)


def test_without_anybody_who_went_on_there_is_nothing_to_compare_with() -> None:
    unfinished = Unfinished()
    unfinished.add([4], is_stopped=True)
    np.testing.assert_array_equal(unfinished.comparable(np.array([5.0])), [5.0])


def test_a_search_is_not_misled_where_values_become_worse() -> None:
    """Trials begin at a tenth of where they end; the worse half is stopped at the beginning."""
    assert _typical_excess(says_stopped=True) < 0.3 * _typical_excess(says_stopped=False)


def test_suggestions_come_from_what_was_told_not_from_when() -> None:
    rng = np.random.default_rng(5)
    one_by_one, at_once = Optimizer(SPACE, seed=1), Optimizer(SPACE, seed=1)
    for _ in range(24):
        x, y, value = rng.random(3)
        is_stopped = bool(value > 0.5)
        rungs = [value / 2] if is_stopped else [value / 2, value / 3]
        one_by_one.ask()
        one_by_one.set_pending([])
        for optimizer in (one_by_one, at_once):
            optimizer.tell({"x": x, "y": y}, value, rungs=rungs, is_stopped=is_stopped)
    assert one_by_one.ask() == at_once.ask()


def _bowl(configuration: Configuration) -> float:
    """Give a value from 1 on, least at (0.8, 0.3)."""
    x, y = float(configuration["x"]), float(configuration["y"])
    return 1 + 10 * ((x - 0.8) ** 2 + (y - 0.3) ** 2)


def _typical_excess(*, says_stopped: bool) -> float:
    """Give the median of what 14 trials of a model would have come to, less the least value."""
    optimizer = Optimizer(SPACE, seed=3)
    ended: list[float] = []
    for _ in range(20):
        (asked,) = optimizer.ask()
        value = _bowl(asked)
        is_stopped = bool(ended) and value > float(np.median(ended))
        ended.append(value)
        reached = 0.1 * value if is_stopped else value
        if says_stopped:
            optimizer.tell(asked, reached, rungs=[0.1 * value], is_stopped=is_stopped)
        else:
            optimizer.tell(asked, reached)
    return float(np.median(ended[6:])) - 1
