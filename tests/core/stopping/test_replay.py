"""Replays of stopping rules: tables worked by hand, and what holds for every record."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tunesmith_core.stopping.curves import Curve, Ending
from tunesmith_core.stopping.halving import Verdict
from tunesmith_core.stopping.judges import FellBehind, HalvingJudge, Judge, MedianJudge
from tunesmith_core.stopping.median import BehindMedian
from tunesmith_core.stopping.replay import Best, Spending, replay


def curves(*values: Sequence[float], elapsed: bool = False) -> list[Curve]:
    """Give curves called a, b, …, of a value a step and, if wanted, two seconds each."""
    return [
        Curve(
            trial="abcdefghijklmnopqrstuvwxyz"[number],
            index=number + 1,
            values=tuple(each),
            steps=tuple(range(1, len(each) + 1)),
            elapsed_s=tuple(2.0 * step for step in range(1, len(each) + 1)) if elapsed else (),
            lasted_s=2.0 * len(each) + 1 if elapsed else 0.0,
        )
        for number, each in enumerate(values)
    ]


def halving() -> Mapping[str | None, Judge[FellBehind]]:
    """Judge at 1, 2 and 4 of 8 values; one of two goes on, at or below the median."""
    return {None: HalvingJudge(maximise=False, min_resource=1, max_resource=8, eta=2)}


class Scripted:
    """Stop the trials that a test names by index, at a step each; remember all that was told."""

    def __init__(self, stops: Mapping[int, int] | None = None) -> None:
        self.stops = dict(stops or {})
        self.index: dict[Hashable, int] = {}
        self.full: dict[Hashable, int | None] = {}
        self.told: list[tuple[int, float]] = []
        self.ended: list[int] = []
        self.forgotten: list[int] = []

    def begin(self, trial: Hashable, *, index: int, full: int | None) -> None:
        assert trial not in self.index
        self.index[trial] = index
        self.full[trial] = full

    def report(self, trial: Hashable, value: float, *, step: int) -> FellBehind | None:
        index = self.index[trial]
        self.told.append((index, value))
        if self.stops.get(index) != step:
            return None
        return Verdict(resource=step, value=value, rung=1, rank=2, entries=2, threshold=0.0)

    def end(self, trial: Hashable) -> None:
        self.ended.append(self.index[trial])

    def forget(self, trial: Hashable) -> None:
        self.forgotten.append(self.index[trial])


def test_a_table_of_halving_worked_by_hand() -> None:
    record = curves(
        [5, 4, 3, 3, 3, 3, 3, 3],  # alone at its rungs
        [6, 1, 1, 1, 1, 1, 1, 1],  # 6 is above 5.5, the median of 5 and 6
        [5, 4.5, 2, 2, 2, 2, 2, 2],  # 5 is the median of 5, 5, 6; 4.5 is above that of 4, 4.5
        [1, 1, 99, 1, 99, 99, 99, 99],  # nothing is judged between rungs, and not at the end
    )
    report = replay(record, halving(), maximise=False, slots=1)
    b, c = report.stops
    assert (b.curve.trial, b.values_saved, b.seconds_saved) == ("b", 7, None)
    assert (b.reached, b.place) == (1, 1)
    assert b.finding == Verdict(resource=1, value=6, rung=1, rank=2, entries=2, threshold=5.5)
    assert (c.curve.trial, c.values_saved, c.reached, c.place) == ("c", 6, 2, 2)
    assert c.finding == Verdict(resource=2, value=4.5, rung=2, rank=2, entries=2, threshold=4.25)
    assert report.values == Spending(total=32, spent=19)
    assert (report.best, report.best_with) == (Best(trial="b", value=1), Best(trial="a", value=3))
    assert report.regret == 2
    assert report.best_stop is b
    assert (report.top, report.top_stopped) == (1, 1)
    assert report.more == 2  # 13 values saved, 19 / 4 a trial
    assert (report.seconds, report.span_s) == (None, None)


def test_a_table_of_the_median_worked_by_hand() -> None:
    record = curves([0.5, 0.7], [0.7, 0.9], [0.5, 0.95], [0.6, 0.5], elapsed=True)
    judges: dict[str | None, Judge[FellBehind]] = {None: MedianJudge(maximise=True)}
    report = replay(record, judges, maximise=True, slots=1)
    # c: 0.5 is below 0.6, the median of 0.5 and 0.7. It has ended, and counts for d: 0.6 is above
    # the median of 0.5, 0.5, 0.7; 0.5 is below 0.7, that of the averages 0.6 and 0.8.
    c, d = report.stops
    assert c.finding == BehindMedian(resource=1, value=0.5, rank=2, entries=3, threshold=0.6)
    assert (c.values_saved, c.seconds_saved, c.reached, c.place) == (1, 3.0, 0.95, 1)
    assert d.finding.resource == 2
    assert d.finding.threshold == pytest.approx(0.7)
    assert (d.values_saved, d.seconds_saved) == (0, 1.0)
    assert report.seconds == Spending(total=20, spent=16)
    assert report.span_s == Spending(total=20, spent=16)
    assert report.regret == pytest.approx(0.05)
    assert report.more == 1


def test_values_come_in_the_order_of_their_times() -> None:
    record = [
        Curve(trial="a", index=1, values=(5, 5), steps=(1, 2), elapsed_s=(10, 20), lasted_s=20),
        Curve(trial="b", index=2, values=(6, 6), steps=(1, 2), elapsed_s=(2, 4), lasted_s=5),
    ]
    timed = [replace(record[0], began_s=100.0), replace(record[1], began_s=101.0)]
    judge = Scripted()
    replay(timed, {None: judge}, maximise=False)
    assert judge.told == [(2, 6), (2, 6), (1, 5), (1, 5)]
    assert judge.ended == [2, 1]
    # What a rule finds depends on it: who comes first goes on.
    assert replay(timed, halving(), maximise=False).stops == ()
    (stop,) = replay(record, halving(), maximise=False, slots=1).stops
    assert stop.curve.trial == "b"


def test_a_rest_is_no_time_that_a_trial_ran_and_values_come_by_the_clock() -> None:
    a, b = curves([5, 5], [6, 6], elapsed=True)
    # a runs for 2 s, rests for 100, and runs for another 3.
    a = replace(a, elapsed_s=(2.0, 104.0), lasted_s=105.0, running_s=(2.0, 4.0, 5.0))
    record = [replace(a, began_s=0.0), replace(b, began_s=10.0)]
    judge = Scripted({1: 1})
    report = replay(record, {None: judge}, maximise=False)
    assert report.seconds == Spending(total=10, spent=7)
    assert report.stops[0].seconds_saved == 3
    judge = Scripted()
    replay(record, {None: judge}, maximise=False)
    assert judge.told == [(1, 5), (2, 6), (2, 6), (1, 5)]
    # So many at a time is a question of places, which a rest leaves to others.
    at_once = replay(record, {None: Scripted()}, maximise=False, slots=1)
    assert at_once.span_s == Spending(total=10, spent=10)


def test_a_value_comes_before_an_end_of_the_same_time() -> None:
    first = Curve(
        trial="a", index=1, values=(1,), steps=(1,), elapsed_s=(1,), lasted_s=2, began_s=0
    )
    second = replace(first, trial="b", index=2, elapsed_s=(2,))
    judge = Scripted()
    replay([first, second], {None: judge}, maximise=False)
    assert [each for each, _ in judge.told] == [1, 2]
    assert judge.ended == [1, 2]


def test_the_next_trial_begins_when_one_ends_or_is_stopped() -> None:
    record = curves(*([[1.0] * 3] * 3), elapsed=True)  # 7 s each
    without = replay(record, {None: Scripted()}, maximise=False, slots=2)
    assert without.span_s == Spending(total=14, spent=14)
    judge = Scripted({2: 1})
    report = replay(record, {None: judge}, maximise=False, slots=2)
    # b is stopped after 2 s; c begins then.
    assert report.span_s == Spending(total=14, spent=9)
    assert [index for index, _ in judge.told] == [1, 2, 1, 3, 1, 3, 3]
    assert judge.ended == [2, 1, 3]


def test_failed_trials_count_until_they_fail_and_are_no_result() -> None:
    a, b, c = curves([1, 1], [0, 0], [2, math.nan])
    judge = Scripted({3: 1})
    record = [a, replace(b, ending=Ending.FAILED), c]
    report = replay(record, {None: judge}, maximise=False, slots=1)
    assert (judge.ended, judge.forgotten) == ([1, 3], [2])
    assert report.best == Best(trial="a", value=1)
    assert (report.failed, report.top, report.top_stopped) == (1, 1, 0)
    assert report.stops[0].place is None


def test_trials_that_the_record_stopped_are_no_result_and_told() -> None:
    a, b = curves([3, 3], [1])
    record = [a, replace(b, ending=Ending.STOPPED)]
    report = replay(record, {None: Scripted()}, maximise=False, slots=1)
    assert report.cut == 1
    assert report.best == Best(trial="a", value=3)
    assert report.regret == 0


def test_trials_that_the_record_stopped_beyond_their_full_resource_are_whole() -> None:
    a, b, c = curves([3, 3], [1, 1], [0, 0])
    record = [
        a,
        replace(b, ending=Ending.STOPPED, full=2),
        replace(c, ending=Ending.FAILED, full=2),
    ]
    report = replay(record, {None: Scripted()}, maximise=False, slots=1)
    assert report.cut == 0
    assert report.best == Best(trial="b", value=1)
    short = [a, replace(b, ending=Ending.STOPPED, full=3)]
    assert replay(short, {None: Scripted()}, maximise=False, slots=1).cut == 1


def test_a_trial_beyond_its_full_resource_keeps_its_result() -> None:
    a, b = curves([3, 2, 1], [9, 9])
    judge = HalvingJudge(maximise=False, min_resource=1, max_resource=2)
    report = replay([a, b], {None: judge}, maximise=False, slots=1)
    assert [(s.curve.trial, s.has_done_all) for s in report.stops] == [("a", True), ("b", False)]
    assert report.best_stop is None
    assert report.best_late_stop is report.stops[0]
    assert (report.best, report.best_with) == (Best(trial="a", value=1), Best(trial="a", value=1))
    assert report.top_stopped == 0


def test_without_a_result_there_is_no_regret() -> None:
    report = replay(curves([math.inf]), {None: Scripted()}, maximise=False, slots=1)
    assert (report.best, report.best_with, report.regret, report.best_stop) == (None,) * 4
    lost = replay(curves([1.0]), {None: Scripted({1: 1})}, maximise=False, slots=1)
    assert (lost.best_with, lost.regret) == (None, None)


def test_trials_are_compared_with_those_of_their_definition() -> None:
    a, b = curves([1, 1], [9, 9])
    record = [replace(a, definition="x"), replace(b, definition="y", full=2)]
    x, y = Scripted(), Scripted()
    replay(record, {"x": x, "y": y}, maximise=False, slots=1)
    assert x.told == [(1, 1), (1, 1)]
    assert y.told == [(2, 9), (2, 9)]
    assert list(y.full.values()) == [2]


@pytest.mark.parametrize(
    ("record", "slots", "said"),
    [
        ([], 1, "no curve"),
        (curves([1.0]), 0, "at least 1"),
        (curves([1.0]), None, "when a began is not known"),
        ([replace(curves([1.0])[0], steps=())], 1, "needs a step"),
        ([replace(curves([1.0], elapsed=True)[0], elapsed_s=(1.0, 2.0))], 1, "a time"),
        ([replace(curves([1.0], elapsed=True)[0], lasted_s=1.0)], 1, "ended before"),
        ([replace(curves([1.0], elapsed=True)[0], running_s=(1.0,))], 1, "how long it ran"),
    ],
)
def test_what_is_no_record_is_refused(record: list[Curve], slots: int | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replay(record, halving(), maximise=False, slots=slots)


# --- what holds for every record --------------------------------------------------------------

_VALUES = st.floats(-10, 10) | st.sampled_from([math.nan, math.inf, 0.0])


@st.composite
def records(draw: st.DrawFn) -> list[Curve]:
    count = draw(st.integers(1, 8))
    record = curves(
        *[draw(st.lists(_VALUES, min_size=1, max_size=9)) for _ in range(count)], elapsed=True
    )
    return [
        replace(each, began_s=draw(st.integers(0, 20)), ending=draw(st.sampled_from(Ending)))
        for each in record
    ]


def rule(name: str, *, maximise: bool) -> Judge[FellBehind]:
    if name == "median":
        return MedianJudge(maximise=maximise)
    return HalvingJudge(maximise=maximise, min_resource=1, max_resource=9, eta=2)


class Overheard:
    """Pass on to a rule, and remember what it was told."""

    def __init__(self, judge: Judge[FellBehind]) -> None:
        self._judge = judge
        self.told: list[tuple[Hashable, int]] = []
        self.stopped: list[Hashable] = []
        self.over: list[Hashable] = []

    def begin(self, trial: Hashable, *, index: int, full: int | None) -> None:
        self._judge.begin(trial, index=index, full=full)

    def report(self, trial: Hashable, value: float, *, step: int) -> FellBehind | None:
        assert trial not in self.over, "told of a trial that is over"
        self.told.append((trial, step))
        finding = self._judge.report(trial, value, step=step)
        if finding is not None:
            self.stopped.append(trial)
        return finding

    def end(self, trial: Hashable) -> None:
        self.over.append(trial)
        self._judge.end(trial)

    def forget(self, trial: Hashable) -> None:
        self.over.append(trial)
        self._judge.forget(trial)


@given(
    record=records(),
    name=st.sampled_from(["median", "halving"]),
    maximise=st.booleans(),
    slots=st.none() | st.integers(1, 4),
)
def test_what_is_spent_and_what_is_saved_is_all_there_is(
    record: list[Curve], name: str, *, maximise: bool, slots: int | None
) -> None:
    judge = Overheard(rule(name, maximise=maximise))
    report = replay(record, {None: judge}, maximise=maximise, slots=slots)
    assert report.values.total == sum(len(curve.values) for curve in record)
    assert report.values.spent == len(judge.told), "nothing is told after a stop, all is before"
    assert report.values.saved == sum(stop.values_saved for stop in report.stops)
    assert Counter(judge.over) == Counter(range(len(record)))
    stopped = [stop.curve.index - 1 for stop in report.stops]
    assert judge.stopped == stopped
    for number, curve in enumerate(record):
        steps = [step for trial, step in judge.told if trial == number]
        assert steps == list(curve.steps[: len(steps)])
    assert report.seconds is not None
    saved = sum(stop.seconds_saved or 0.0 for stop in report.stops)
    assert report.seconds.saved == pytest.approx(saved)
    assert report.regret is None or report.regret >= 0
    if report.best_stop is None and report.best is not None:
        assert report.regret == 0


@given(record=records(), slots=st.none() | st.integers(1, 4))
def test_a_rule_that_never_stops_saves_nothing(record: list[Curve], slots: int | None) -> None:
    report = replay(record, {None: Scripted()}, maximise=False, slots=slots)
    assert report.stops == ()
    assert report.values.saved == 0
    assert report.seconds is not None
    assert report.seconds.saved == 0
    assert report.span_s is None or report.span_s.saved == 0
    assert (report.more, report.top_stopped) == (0, 0)
    assert report.best == report.best_with


@given(record=records(), stops=st.dictionaries(st.integers(1, 8), st.integers(1, 9)))
def test_one_trial_at_a_time_takes_as_long_as_all_together(
    record: list[Curve], stops: dict[int, int]
) -> None:
    report = replay(record, {None: Scripted(stops)}, maximise=False, slots=1)
    assert report.span_s is not None
    assert report.seconds is not None
    assert report.span_s.spent == pytest.approx(report.seconds.spent)
    assert report.span_s.total == pytest.approx(report.seconds.total)
