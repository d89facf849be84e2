"""Trials that were stopped: their handicap by a table, and that a search is not misled by them."""

import math

import numpy as np
import pytest

from tunesmith_core.designs.quasi_random import QuasiRandomDesign
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
    unfinished.put(0, [1, 4], is_stopped=False)
    unfinished.put(1, [2, 1], is_stopped=False)
    unfinished.put(2, [3], is_stopped=True)
    unfinished.put(3, [], is_stopped=False)
    unfinished.put(4, [5, 9], is_stopped=True)
    results = np.array([9, 4, 3, math.nan, 9])
    np.testing.assert_array_equal(unfinished.comparable(results), [9, 4, 7, math.nan, 13])
    # Of the first three as if there were no more: the median of 8 and 2.
    np.testing.assert_array_equal(unfinished.comparable(results[:3]), [9, 4, 8])
    assert results[2] == 3, "what is given is left as it is"


def test_what_improves_leaves_stopped_trials_as_they_are() -> None:
    unfinished = Unfinished()
    unfinished.put(0, [3, 2], is_stopped=False)
    unfinished.put(1, [4], is_stopped=True)
    unfinished.put(2, [math.nan], is_stopped=True)
    results = np.array([1, 4, math.nan])
    np.testing.assert_array_equal(unfinished.comparable(results), results)


def test_without_anybody_who_went_on_there_is_nothing_to_compare_with() -> None:
    unfinished = Unfinished()
    unfinished.put(0, [4], is_stopped=True)
    np.testing.assert_array_equal(unfinished.comparable(np.array([5.0])), [5.0])


def test_what_goes_on_after_all_is_known_anew() -> None:
    unfinished = Unfinished()
    unfinished.put(0, [1, 2], is_stopped=False)
    unfinished.put(1, [2], is_stopped=True)
    np.testing.assert_array_equal(unfinished.comparable(np.array([4.0, 2.0])), [4, 5])
    unfinished.put(1, [2, 3], is_stopped=False)
    np.testing.assert_array_equal(unfinished.comparable(np.array([4.0, 6.0])), [4, 6])


def test_a_correction_replaces_what_was_told() -> None:
    results = [({"x": x, "y": 0.5}, 2 * x) for x in (0.1, 0.3, 0.5, 0.7, 0.9)]
    corrected, told = Optimizer(SPACE, seed=1), Optimizer(SPACE, seed=1)
    for configuration, value in results:
        corrected.tell(configuration, 5 - value, rungs=[5.0], is_stopped=True)
        told.tell(configuration, value)
    for configuration, value in results:
        corrected.correct(configuration, value)
    np.testing.assert_array_equal(corrected.values, told.values)
    assert corrected.ask(3) == told.ask(3)
    with pytest.raises(KeyError, match="not told"):
        told.correct({"x": 0.2, "y": 0.2}, 1.0)


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


@pytest.mark.parametrize("is_stopped", [True, False])
def test_one_of_three_is_spread_out_once_a_trial_was_stopped(*, is_stopped: bool) -> None:
    design = QuasiRandomDesign(SPACE, 4)
    spread_out = [design.configuration(k) for k in range(40)]
    optimizer = Optimizer(SPACE, seed=4)
    places = []
    for place in range(24):
        (asked,) = optimizer.ask()
        optimizer.tell(asked, _bowl(asked), rungs=[_bowl(asked)], is_stopped=is_stopped)
        places += [place] if asked in spread_out else []
    assert places == [*range(6), *(range(6, 24, 3) if is_stopped else ())]
    if is_stopped:
        optimizer.set_pending([])
        promised = optimizer.promise(best=1.0, slope=1.0)  # the 25th, whichever way it is asked for
        assert [promised.configuration] == optimizer.ask()
        assert promised.configuration in spread_out


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
