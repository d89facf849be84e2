"""Promotion at rungs: a table worked by hand, and every decision against the definition."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tunesmith_core.stopping.halving import Verdict
from tunesmith_core.stopping.promotion import Candidate, Pause, PromotionRule


def reach(rule: PromotionRule, trial: str, resource: int, value: float) -> bool:
    """Report a value at a resource; tell whether the trial is paused there."""
    return isinstance(rule.report(trial, value, resource=resource), Pause)


def names(rule: PromotionRule, ready: str, *, is_last: bool = False) -> list[str]:
    return [f"{each.trial}{each.rung}" for each in rule.promotable(ready=ready, is_last=is_last)]


def test_a_table_worked_by_hand() -> None:
    # Minimise; rungs at 1, 2 and 4 of 8 values; one of two goes on.
    rule = PromotionRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    assert rule.report("a", 5.0, resource=1) == Pause(
        resource=1, value=5.0, rung=1, rank=1, entries=1, threshold=None
    )
    assert names(rule, "a") == []
    pause = rule.report("b", 6.0, resource=1)
    assert pause == Pause(resource=1, value=6.0, rung=1, rank=2, entries=2, threshold=5.0)
    assert str(pause) == "at rung 1, resource 1, its objective, 6, was number 2 of 2"
    assert names(rule, "ab") == ["a1"], "the better of two"
    assert names(rule, "b") == [], "one that has not come to rest yet does not go on"
    rule.resume("a")
    assert names(rule, "ab") == []
    # Two of four may go on: a has, and now one of the others.
    assert not reach(rule, "c", 1, 4.0), "the best of three"
    assert reach(rule, "d", 1, 7.0)
    assert names(rule, "bd") == []
    assert reach(rule, "a", 2, 4.5)
    assert not reach(rule, "c", 2, 3.0), "better than a: it has earned to go on at once"
    assert reach(rule, "c", 4, 3.0)
    assert names(rule, "abcd") == []
    assert names(rule, "abcd", is_last=True) == ["c3"], "the highest rung first"


def test_the_highest_rung_comes_first_and_then_the_best() -> None:
    rule = PromotionRule(maximise=True, min_resource=1, max_resource=8, eta=2)
    for trial, value in zip("abcdefgh", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), strict=True):
        rule.report(trial, value, resource=1)
    # Each of b to h was the best when it came: only a had to wait, and waits.
    assert names(rule, "abcdefgh") == []
    rule = PromotionRule(maximise=True, min_resource=1, max_resource=8, eta=2)
    for trial, value in zip("abcdef", (0.8, 0.7, 0.6, 0.5, 0.4, 0.3), strict=True):
        assert reach(rule, trial, 1, value)
    assert names(rule, "abcdef") == ["a1", "b1", "c1"]
    for trial, value in (("a", 0.8), ("b", 0.7)):
        rule.resume(trial)
        assert reach(rule, trial, 2, value)
    assert names(rule, "abcdef") == ["a2", "c1"]


def test_what_fails_counts_no_more_and_what_ends_does() -> None:
    rule = PromotionRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    for trial, value in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True):
        assert reach(rule, trial, 1, value)
    assert names(rule, "abcd") == ["a1", "b1"]
    rule.end("a")
    assert names(rule, "abcd") == ["b1"]
    rule.forget("b")
    assert names(rule, "abcd") == [], "a is one of the one and a half of three"
    rule.forget("c")
    rule.forget("nobody")
    rule.end("nobody")
    rule.resume("nobody")


def test_one_that_has_diverged_never_goes_on() -> None:
    rule = PromotionRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    for trial in "abcd":
        assert reach(rule, trial, 1, math.nan)
    assert names(rule, "abcd") == []
    assert names(rule, "abcd", is_last=True) == []


def test_nobody_is_paused_at_the_full_resource_and_who_goes_beyond_is_stopped() -> None:
    rule = PromotionRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    rule.begin("short", full=2)  # rungs at 1, 1 and 1: it waits at the last of them
    pause = rule.report("short", 1.0, resource=1)
    assert isinstance(pause, Pause)
    assert pause.rung == 3
    rule.resume("short")
    assert rule.report("short", 1.0, resource=2) is None
    assert rule.report("short", 1.0, resource=3) == Verdict(resource=3, value=1.0)


def test_what_a_trial_emits_on_its_way_out_tells_nothing() -> None:
    rule = PromotionRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    assert reach(rule, "a", 1, 5.0)
    assert rule.report("a", 1.0, resource=2) is None
    rule.resume("a")
    pause = rule.report("a", 4.0, resource=3)
    assert isinstance(pause, Pause)
    assert (pause.rung, pause.resource) == (2, 3)


def test_without_a_number_the_first_rung_lies_where_that_of_the_stopping_variant_does() -> None:
    rule = PromotionRule(maximise=False, max_resource=60)
    assert not reach(rule, "a", 1, 1.0)
    assert reach(rule, "a", 2, 1.0)


@pytest.mark.parametrize(("least", "most", "eta"), [(0, 9, 3.0), (1, 0, 3.0), (1, 9, 1.0)])
def test_numbers_out_of_range_are_refused(least: int, most: int, eta: float) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        PromotionRule(maximise=False, min_resource=least, max_resource=most, eta=eta)


_VALUES = st.one_of(st.integers(0, 6).map(float), st.just(math.nan))


@given(
    values=st.lists(_VALUES, min_size=1, max_size=20),
    maximise=st.booleans(),
    eta=st.sampled_from([2.0, 3.0, 4.0]),
)
def test_who_may_go_on_from_a_rung_follows_the_definition(
    values: list[float], *, maximise: bool, eta: float
) -> None:
    rule = PromotionRule(maximise=maximise, min_resource=1, max_resource=100, eta=eta)
    waiting: list[int] = []
    for number, value in enumerate(values):
        if isinstance(rule.report(number, value, resource=1), Pause):
            waiting.append(number)
    scores = [math.inf if math.isnan(v) else (-v if maximise else v) for v in values]
    quota = math.floor(len(scores) / eta)
    worst = sorted(scores)[quota - 1] if quota else -math.inf
    able = [n for n in waiting if scores[n] <= worst and scores[n] < math.inf]
    able.sort(key=lambda n: scores[n])
    found = rule.promotable(ready=frozenset(waiting))
    assert found == [Candidate(trial=n, rung=1) for n in able]
