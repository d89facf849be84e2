"""Successive halving: a table worked by hand, and every decision against the definition."""

import math
from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tunesmith_core.stopping.halving import FEWEST, HalvingRule, Verdict


def run(rule: HalvingRule, trial: str, values: Sequence[float]) -> Verdict | None:
    """Report values until the trial is stopped."""
    for resource, value in enumerate(values, start=1):
        verdict = rule.report(trial, value, resource=resource)
        if verdict is not None:
            return verdict
    return None


def test_a_table_worked_by_hand() -> None:
    # Minimise; rungs at 1, 2 and 4 of 8 values; one of two goes on, at or below the median.
    rule = HalvingRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    assert rule.rungs == 3
    assert run(rule, "a", [5, 4, 3, 3, 3, 3, 3, 3]) is None, "alone at its rungs"
    # 6 is above the median of 5 and 6.
    verdict = run(rule, "b", [6.0])
    assert verdict == Verdict(resource=1, value=6, rung=1, rank=2, entries=2, threshold=5.5)
    assert str(verdict) == (
        "at rung 1, resource 1, its objective, 6, was number 2 of 2; it would have gone on with 5.5"
    )
    # 5 is the median of 5, 5 and 6; then 4.5 is above the median of 4 and 4.5.
    verdict = run(rule, "c", [5, 4.5])
    assert verdict is not None
    assert (verdict.rung, verdict.rank, verdict.entries, verdict.threshold) == (2, 2, 2, 4.25)
    # Between rungs nothing is judged: 99 is emitted at the third value.
    assert run(rule, "d", [1, 1, 99, 1, 99, 99, 99, 99]) is None


def test_the_greater_the_better() -> None:
    rule = HalvingRule(maximise=True, min_resource=1, max_resource=8, eta=2)
    assert run(rule, "a", [0.5]) is None
    assert run(rule, "b", [0.6]) is None
    verdict = run(rule, "c", [0.4])
    assert verdict is not None
    assert verdict.threshold == 0.5


def test_beyond_its_full_resource_a_trial_is_stopped_and_not_at_it() -> None:
    rule = HalvingRule(maximise=False, max_resource=3)
    assert run(rule, "a", [1, 1, 1]) is None
    verdict = rule.report("a", 1.0, resource=4)
    assert verdict is not None
    assert verdict.rung == 0
    assert str(verdict) == "it went on beyond its full resource, to 4"


def test_a_trial_of_a_higher_bracket_is_not_judged_at_the_first_rungs_but_counts_there() -> None:
    rule = HalvingRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    for trial in "ab":
        run(rule, trial, [1, 1])
    rule.begin("patient", bracket=1)
    assert rule.report("patient", 9.0, resource=1) is None
    verdict = rule.report("patient", 9.0, resource=2)
    assert verdict is not None
    assert verdict.rung == 2
    judged = run(rule, "next", [5.0])
    assert judged is not None
    assert judged.entries == 4


def test_rungs_are_fractions_of_a_trials_own_schedule() -> None:
    rule = HalvingRule(maximise=False, max_resource=300, eta=3)  # 10, 30 and so on
    rule.begin("short", full=30)  # 1, 3 and so on
    rule.begin("long", full=300)
    assert [rule.report("short", 1.0, resource=r) for r in (1, 2, 3)] == [None] * 3
    for resource in range(1, 10):
        assert rule.report("long", 2.0, resource=resource) is None
    verdict = rule.report("long", 2.0, resource=10)
    assert verdict is not None
    assert (verdict.rung, verdict.entries) == (1, 2)


def test_no_schedule_is_so_short_that_the_least_resource_does_not_hold() -> None:
    rule = HalvingRule(maximise=False, min_resource=10, max_resource=90, eta=3)  # 10 and 30
    rule.begin("long", full=90)
    for resource in range(1, 11):
        assert rule.report("long", 1.0, resource=resource) is None
    rule.begin("short", full=18)  # not 2 and 6
    for resource in range(1, 10):
        assert rule.report("short", 2.0, resource=resource) is None
    assert rule.report("short", 2.0, resource=10) is not None
    rule.begin("shortest", full=9)
    assert [rule.report("shortest", 9.0, resource=r) for r in range(1, 10)] == [None] * 9


def test_values_that_are_left_out_enter_the_rungs_that_were_passed() -> None:
    rule = HalvingRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    run(rule, "a", [1, 1, 1, 1])
    verdict = rule.report("jumps", 2.0, resource=5)
    assert verdict is not None
    assert verdict.rung == 1
    after = run(rule, "c", [1, 1, 1, 3])
    assert after is not None
    assert (after.rung, after.entries) == (3, 3)


def test_what_is_forgotten_counts_no_more_and_what_has_ended_does() -> None:
    rule = HalvingRule(maximise=False, min_resource=1, max_resource=8, eta=2)
    for trial in "abc":
        rule.report(trial, 1.0, resource=1)
    rule.end("a")
    rule.forget("b")
    rule.forget("never seen")
    verdict = run(rule, "d", [2.0])
    assert verdict is not None
    assert verdict.entries == 3
    rule.begin("c")  # it begins anew
    verdict = run(rule, "e", [3.0])
    assert verdict is not None
    assert verdict.entries == 3


def test_values_that_are_no_numbers_are_worse_than_all() -> None:
    rule = HalvingRule(maximise=True, min_resource=1, max_resource=8, eta=2)
    assert run(rule, "a", [math.nan]) is None
    assert run(rule, "b", [-5.0]) is None
    for value in (math.nan, math.inf, -math.inf):
        verdict = run(rule, f"bad {value}", [value])
        assert verdict is not None
        assert verdict.rank >= 2


@pytest.mark.parametrize(
    ("least", "most", "eta", "levels"),
    [
        (1, 81, 3, 4),
        (1, 1, 3, 0),
        (None, 300, 10, 2),
        (None, 20, 4, 3),
        (5, 5, 2, 0),
        (1, 3, 1.1, 2),
    ],
)
def test_rungs_lie_below_the_full_resource(
    least: int | None, most: int, eta: float, levels: int
) -> None:
    rule = HalvingRule(maximise=False, min_resource=least, max_resource=most, eta=eta)
    assert rule.rungs == levels


@pytest.mark.parametrize(
    ("least", "most", "eta"), [(0, 9, 3.0), (1, 0, 3.0), (1, 9, 1.0), (1, 9, math.nan)]
)
def test_numbers_out_of_range_are_refused(least: int, most: int, eta: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        HalvingRule(maximise=False, min_resource=least, max_resource=most, eta=eta)


values = st.floats(-10, 10) | st.just(math.nan)


@given(
    curves=st.lists(st.lists(values, min_size=1, max_size=9), min_size=1, max_size=12),
    maximise=st.booleans(),
    eta=st.sampled_from([2.0, 3.0, 4.0]),
)
def test_every_decision_is_that_of_the_definition(
    curves: list[list[float]], *, maximise: bool, eta: float
) -> None:
    rule = HalvingRule(maximise=maximise, min_resource=1, max_resource=9, eta=eta)
    levels = [level for k in range(9) if (level := round(eta**k)) < 9]
    entered: dict[int, list[float]] = {level: [] for level in levels}
    for trial, curve in enumerate(curves):
        for resource, value in enumerate(curve, start=1):
            expected = False
            if resource in entered:
                loss = -value if maximise else value
                entered[resource].append(loss if math.isfinite(loss) else math.inf)
                at = entered[resource]
                with np.errstate(invalid="ignore"):
                    quantile = float(np.quantile(at, 1 / eta, method="linear"))
                if math.isnan(quantile):  # between a number and infinity, or two infinities
                    quantile = float(np.quantile(at, 1 / eta, method="lower"))
                if math.isinf(quantile):
                    quantile = float(np.quantile(at, 1 / eta, method="lower"))
                finite = [each for each in at if math.isfinite(each)]
                quantile = min(quantile, max(finite, default=math.inf))
                expected = len(at) >= FEWEST and at[-1] > quantile + 1e-12
            verdict = rule.report(trial, value, resource=resource)
            close = verdict is not None and abs(verdict.threshold - verdict.value) < 1e-9
            assert (verdict is not None) == expected or close
            if verdict is not None:
                break
