"""Turns: every definition once a round, and the same ones however they are asked for."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith_core.designs.random import RandomDesign
from tunesmith_core.designs.turns import Turns
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.randomness import MAX_SEED
from tunesmith_core.space import Continuous, Integer, SearchSpace


def turns(sizes: list[int | None], seed: int) -> Turns:
    """Make turns of definitions with so many configurations each; None: as many as one likes."""
    spaces = [
        SearchSpace(
            (
                Continuous(name="x", lo=0, hi=1)
                if size is None
                else Integer(name="n", lo=1, hi=size),
            )
        )
        for size in sizes
    ]
    return Turns([RandomDesign(space, seed) for space in spaces], seed)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, MAX_SEED))
def test_every_definition_has_one_trial_a_round(definitions: int, seed: int) -> None:
    shared = turns([None] * definitions, seed)
    for number in range(5):
        first = number * definitions
        round_ = [shared.choice(k)[0] for k in range(first, first + definitions)]
        assert sorted(round_) == list(range(definitions))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 99))
def test_each_definition_has_its_own_design_s_configurations_and_is_passed_over_at_its_end(
    sizes: list[int], seed: int
) -> None:
    shared = turns(list(sizes), seed)
    choices = [shared.choice(k) for k in range(sum(sizes))]
    for which, size in enumerate(sizes):
        design = RandomDesign(SearchSpace((Integer(name="n", lo=1, hi=size),)), seed)
        own = [configuration for each, configuration in choices if each == which]
        assert own == [design.configuration(k) for k in range(size)]
    # While there is something left of each, nobody is a round behind.
    for k in range(len(choices)):
        given_so_far = Counter(which for which, _ in choices[: k + 1])
        unfinished = [given_so_far[which] for which in range(len(sizes))]
        for which, size in enumerate(sizes):
            if unfinished[which] < size:
                assert max(unfinished) - unfinished[which] <= 1
    for _ in range(2):
        with pytest.raises(SpaceExhausted) as refusal:
            shared.choice(sum(sizes))
        assert refusal.value.suggested == sum(sizes)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, MAX_SEED))
def test_a_choice_does_not_depend_on_what_was_asked_before(asked: list[int], seed: int) -> None:
    sizes = [None, 3, None, 7]
    shared = turns(sizes, seed)
    for k in asked:
        assert shared.choice(k) == turns(sizes, seed).choice(k)


def test_which_one_begins_follows_from_the_seed_and_changes_with_the_round() -> None:
    firsts = Counter(turns([None] * 3, seed).choice(0)[0] for seed in range(300))
    assert min(firsts.values()) > 60
    shared = turns([None] * 3, 5)
    later = Counter(shared.choice(3 * number)[0] for number in range(300))
    assert min(later.values()) > 60


def test_without_definitions_there_is_nothing() -> None:
    with pytest.raises(SpaceExhausted):
        turns([], 0).choice(0)


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="they count from 0"):
        turns([None], 0).choice(-1)
    with pytest.raises(ValueError, match="it must be in"):
        Turns([], -1)
