"""Trials of several definitions whose designs do not learn: rounds, and who begins them."""

from __future__ import annotations

import pytest

from tunesmith_core.designs.design import Design
from tunesmith_core.designs.grid import GridDesign
from tunesmith_core.designs.random import RandomDesign
from tunesmith_core.designs.turns import Turns
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.space.ranges import Categorical, Continuous, SearchSpace

WIDE = SearchSpace((Continuous(name="x", lo=0.0, hi=1.0),))


def values(count: int) -> SearchSpace:
    return SearchSpace((Categorical(name="kind", values=tuple(map(str, range(count)))),))


def grids(*counts: int, seed: int = 3) -> Turns:
    return Turns([GridDesign(values(count), seed) for count in counts], seed)


def test_every_round_has_each_definition_once() -> None:
    turns = Turns([RandomDesign(WIDE, 3) for _ in range(4)], 3)
    for start in range(0, 40, 4):
        assert sorted(turns.choice(k)[0] for k in range(start, start + 4)) == [0, 1, 2, 3]


def test_who_begins_differs_and_follows_the_seed() -> None:
    def order(seed: int) -> list[int]:
        turns = Turns([RandomDesign(WIDE, seed) for _ in range(3)], seed)
        return [turns.choice(k)[0] for k in range(60)]

    assert order(3) == order(3) != order(4)
    assert set(order(3)[::3]) == {0, 1, 2}


def test_a_trial_is_the_next_of_its_own_design() -> None:
    designs: list[Design] = [RandomDesign(WIDE, 3), GridDesign(values(20), 3)]
    turns = Turns(designs, 3)
    given = [0, 0]
    for k in range(20):
        which, configuration = turns.choice(k)
        assert configuration == designs[which].configuration(given[which])
        given[which] += 1


def test_a_trial_does_not_depend_on_which_were_asked_for_before() -> None:
    late, whole = grids(2, 5), grids(2, 5)
    expected = [whole.choice(k) for k in range(7)]
    assert [late.choice(k) for k in (6, 0, 3)] == [expected[k] for k in (6, 0, 3)]


def test_one_that_is_used_up_is_passed_over_until_none_is_left() -> None:
    turns = grids(1, 4, 2)
    tried = [turns.choice(k) for k in range(7)]
    assert sorted(which for which, _ in tried[:3]) == [0, 1, 2]
    assert sorted(which for which, _ in tried[3:5]) == [1, 2]
    assert [which for which, _ in tried[5:]] == [1, 1]
    assert len({(which, *configuration.values()) for which, configuration in tried}) == 7
    with pytest.raises(SpaceExhausted, match="7"):
        turns.choice(7)
    assert turns.choice(0) == tried[0]


def test_there_is_no_trial_before_the_first() -> None:
    with pytest.raises(ValueError, match="-1"):
        grids(2, 2).choice(-1)
