"""The median rule: a table worked by hand, and every decision against the definition."""

import math
import statistics

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tunesmith_core.stopping import MedianRule, median


def test_a_table_worked_by_hand() -> None:
    # Minimise. Values of the trials that have ended, and their averages up to each epoch:
    #   a  4 2 3    4  3    3
    #   b  8 8 2    8  8    6
    #   c  2 2      2  2
    # The medians are 4, 3 and 4.5.
    rule = MedianRule(maximise=False)
    for trial, values in {"a": (4, 2, 3), "b": (8, 8, 2), "c": (2, 2)}.items():
        for value in values:
            rule.report(trial, value)
    assert rule.median(1) is None, "a trial that has not ended is no measure"
    for trial in "abc":
        rule.end(trial)
    assert [rule.median(epoch) for epoch in (1, 2, 3, 4)] == [4, 3, 4.5, None]
    assert rule.report("d", 4.0) is None  # equal is not worse
    verdict = rule.report("d", 3.1)
    assert verdict == median.Verdict(epoch=2, value=3.1, median=3, entries=3)
    assert str(verdict) == (
        "at epoch 2 its objective, 3.1, was worse than 3, the median of the averages up to there "
        "of the 3 training jobs that have ended"
    )
    assert rule.report("d", 4.5) is None  # itself, and not its average
    assert rule.report("d", 99.0) is None  # nobody has got so far
    assert rule.report("e", 4.1) is not None


def test_the_greater_the_better() -> None:
    rule = MedianRule(maximise=True)
    for trial, value in (("a", 0.5), ("b", 0.7)):
        rule.report(trial, value)
        rule.end(trial)
    assert rule.report("c", 0.6) is None
    assert rule.report("d", 0.59) is not None


def test_one_trial_is_no_measure() -> None:
    rule = MedianRule(maximise=False)
    rule.report("a", 1.0)
    rule.end("a")
    assert rule.report("b", 2.0) is None


def test_what_is_forgotten_counts_no_more() -> None:
    rule = MedianRule(maximise=False)
    for trial in "abc":
        rule.report(trial, 1.0)
    for trial in "ab":
        rule.end(trial)
    assert rule.report("d", 2.0) is not None
    rule.forget("d")
    assert rule.report("d", 1.0) is None, "it begins with its first epoch"
    rule.forget("c")
    rule.end("c")
    rule.forget("nobody")
    rule.end("nobody")
    assert rule.report("e", 2.0) is not None


def test_there_is_a_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(median, "LAST_EPOCH", 3)
    rule = MedianRule(maximise=False)
    for trial in "ab":
        for _ in range(5):
            rule.report(trial, 1.0)
        rule.end(trial)
    said = [rule.report("c", 9.0) for _ in range(5)]
    assert [each is not None for each in said] == [True, True, True, False, False]


_VALUES = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf])
)


@given(
    curves=st.lists(st.lists(_VALUES, max_size=6), max_size=8),
    judged=st.lists(_VALUES, max_size=7),
    maximise=st.booleans(),
)
def test_decisions_follow_the_definition(
    curves: list[list[float]], judged: list[float], *, maximise: bool
) -> None:
    rule = MedianRule(maximise=maximise)
    for number, curve in enumerate(curves):
        for value in curve:
            rule.report(number, value)
        rule.end(number)
    for epoch, value in enumerate(judged, start=1):
        averages = []
        for curve in curves:
            total = 0.0
            for each in curve[:epoch]:
                total += each
            if len(curve) >= epoch and math.isfinite(total / epoch):
                averages.append(total / epoch)
        expected = False
        if len(averages) >= 2:
            middle = statistics.median(averages)
            expected = value < middle if maximise else value > middle
        assert (rule.report("judged", value) is not None) == expected
