"""Replay a stopping rule over recorded curves: what it would have stopped, saved and cost.

Curves in, report out. The rule is told of each value as a server would tell it: in the order of
their times, or as so many trials at a time would emit them; and of a trial that it stops nothing
more. What a replay cannot know: which trials would have started in the time that a stop frees, and
how a trial would have gone on that was stopped in the record itself.

A trial's result is the last value that it emitted, as it is for a tuning job. A trial that is
stopped, by the rule or in the record, has none and can't be the best one, unless it had done all
that it was to do.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith_core.stopping.curves import Curve, Ending
from tunesmith_core.stopping.halving import Verdict
from tunesmith_core.stopping.judges import FellBehind, Judge

TOP_FRACTION = 0.1
"""The share of the trials with a result that counts as the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Hold what was spent without the rule, and what is spent with it.

    Attributes:
        total: Without the rule.
        spent: With it, at most ``total``.
    """

    total: float
    spent: float

    @property
    def saved(self) -> float:
        """Give what the rule saves."""
        return self.total - self.spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Tell of a trial that would have been stopped.

    Attributes:
        curve: Of the trial.
        finding: Why.
        values_saved: How many values it would not have emitted.
        seconds_saved: How much less it would have run; None: times are not known.
        place: The place of its result among all results, from 1, the best; None: it has no result.
    """

    curve: Curve
    finding: FellBehind
    values_saved: int
    seconds_saved: float | None
    place: int | None

    @property
    def reached(self) -> float:
        """Give the last value that it emitted in the record."""
        return self.curve.values[-1]

    @property
    def has_done_all(self) -> bool:
        """Tell whether it was stopped beyond its full resource, so that its result counts."""
        return _has_done_all(self.finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Name a trial and its result."""

    trial: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Hold what a rule would have done to recorded trials.

    Attributes:
        trials: How many there are.
        maximise: Larger values are better; else smaller ones.
        stops: Those that would have been stopped, in the order of their stops.
        values: Values emitted.
        seconds: The time for which all trials ran, together; None: it is not known.
        span_s: The time from the first beginning to the last end where so many run at a time; None:
            it is not known.
        best: The best result without the rule; None: there is no result.
        best_with: The best result with it; None: no trial with one is left.
        top: How many trials are among the top: a tenth of those with a result, rounded up.
        top_stopped: How many of them would have been stopped.
        cut: How many trials were stopped in the record itself before they had done all that they
            were to do, so that their curves are short.
        failed: How many failed in the record.
        more: How many more trials would have fitted into what is saved, if they are like these.
    """

    trials: int
    maximise: bool
    stops: tuple[Stop, ...]
    values: Spending
    seconds: Spending | None
    span_s: Spending | None
    best: Best | None
    best_with: Best | None
    top: int
    top_stopped: int
    cut: int
    failed: int
    more: int

    @property
    def regret(self) -> float | None:
        """Give by how much the best result is worse with the rule; None: there is none to compare."""
        if self.best is None or self.best_with is None:
            return None
        loss = self.best_with.value - self.best.value
        return 0.0 - loss if self.maximise else loss

    @property
    def best_stop(self) -> Stop | None:
        """Give the stop that costs the best trial its result; None: it keeps one."""
        return self._stop_of_best(has_done_all=False)

    @property
    def best_late_stop(self) -> Stop | None:
        """Give the stop of the best trial beyond its full resource; None: there is no such."""
        return self._stop_of_best(has_done_all=True)

    def _stop_of_best(self, *, has_done_all: bool) -> Stop | None:
        best = None if self.best is None else self.best.trial
        stops = (stop for stop in self.stops if stop.has_done_all is has_done_all)
        return next((stop for stop in stops if stop.curve.trial == best), None)


def replay(
    curves: Sequence[Curve],
    judges: Mapping[str | None, Judge[FellBehind]],
    *,
    maximise: bool,
    slots: int | None = None,
) -> Report:
    """Replay a rule over recorded curves; a function of its arguments, if the judges are new.

    Args:
        curves: What trials emitted, in the order of their launch, at least one.
        judges: The rule for each definition.
        maximise: Larger values are better; else smaller ones.
        slots: So many trials at a time, at least 1: the next one begins when one ends or is stopped.
            Each runs for its own time, without its rests, where all times are known, else for the
            same at each value. None: each begins when it began, and rests when it rested.

    Raises:
        ValueError: There is no curve, a curve's members don't fit each other, ``slots`` is below 1,
            or absent where a beginning is not known.

    Cost: O(log n) for each value, with n trials, beside the rule's own.
    """
    _check(curves, slots)
    timed = all(curve.elapsed_s for curve in curves)
    played = _play(curves, judges, slots=slots, timed=timed)
    placed = _places(curves, maximise=maximise)
    stops = tuple(
        _stop(curves[number], finding, played.stopped_at[number], placed.get(number), timed=timed)
        for number, finding in played.findings.items()
    )
    values_total = sum(len(curve.values) for curve in curves)
    values = Spending(
        total=values_total, spent=values_total - sum(stop.values_saved for stop in stops)
    )
    seconds, span_s = None, None
    if timed:
        total = math.fsum(curve.ran_s[-1] for curve in curves)
        saved = math.fsum(stop.seconds_saved or 0.0 for stop in stops)
        seconds = Spending(total=total, spent=total - saved)
        if slots is not None:
            without = _play(curves, {}, slots=slots, timed=timed)
            span_s = Spending(total=without.ended_at, spent=played.ended_at)
    lost = {number for number, why in played.findings.items() if not _has_done_all(why)}
    ranked = list(placed)
    left = [number for number in ranked if number not in lost]
    top = ranked[: math.ceil(TOP_FRACTION * len(ranked))]
    return Report(
        trials=len(curves),
        maximise=maximise,
        stops=stops,
        values=values,
        seconds=seconds,
        span_s=span_s,
        best=_best(curves[ranked[0]]) if ranked else None,
        best_with=_kept(curves, left, played.stopped_at, maximise=maximise),
        top=len(top),
        top_stopped=len(lost.intersection(top)),
        cut=sum(curve.ending is Ending.STOPPED and not curve.is_whole for curve in curves),
        failed=sum(curve.ending is Ending.FAILED for curve in curves),
        more=_more(seconds if seconds is not None and seconds.spent > 0 else values, len(curves)),
    )


@dataclass(slots=True, kw_only=True)
class _Played:
    """Hold what happened, by the number of each curve.

    Attributes:
        findings: Why trials were stopped, in the order of their stops.
        stopped_at: At which of its values each was, from 0.
        ended_at: When the last one ended.
    """

    findings: dict[int, FellBehind] = field(default_factory=dict)
    stopped_at: dict[int, int] = field(default_factory=dict)
    ended_at: float = 0.0


def _play(
    curves: Sequence[Curve],
    judges: Mapping[str | None, Judge[FellBehind]],
    *,
    slots: int | None,
    timed: bool,
) -> _Played:
    """Tell the judges of all values in their order; without judges all trials go on."""
    played = _Played()
    # What comes next of each trial that runs: when, whether it is its end, whose, its number.
    # Values go before ends of the same time, as a server takes them in.
    agenda: list[tuple[float, bool, int, int]] = []
    began: dict[int, float] = {}
    times: dict[int, tuple[float, ...]] = {}
    waiting = iter(range(len(curves)))

    def begin(number: int, at: float) -> None:
        began[number] = at
        times[number] = _times(curves[number], rests=slots is None, timed=timed)
        heapq.heappush(agenda, (at + times[number][0], False, number, 0))

    for number in waiting if slots is None else _next(waiting, slots):
        begin(number, curves[number].began_s or 0.0 if slots is None else 0.0)
    while agenda:
        at, is_end, number, place = heapq.heappop(agenda)
        curve = curves[number]
        judge = judges.get(curve.definition)
        if not is_end:
            finding = None if judge is None else _judged(judge, curve, number, place)
            if finding is None:
                is_last = place + 1 == len(curve.values)
                following_at = began[number] + times[number][place + 1]
                heapq.heappush(agenda, (following_at, is_last, number, place + 1))
                continue
            played.findings[number] = finding
            played.stopped_at[number] = place
        if judge is not None:
            has_failed = is_end and curve.ending is Ending.FAILED
            (judge.forget if has_failed else judge.end)(number)
        played.ended_at = at
        for following in _next(waiting, 1):
            begin(following, at)
    return played


def _judged(judge: Judge[FellBehind], curve: Curve, number: int, place: int) -> FellBehind | None:
    if place == 0:
        judge.begin(number, index=curve.index, full=curve.full)
    return judge.report(number, curve.values[place], step=curve.steps[place])


def _next(waiting: Iterator[int], count: int) -> Iterator[int]:
    for _ in range(count):
        number = next(waiting, None)
        if number is None:
            return
        yield number


def _times(curve: Curve, *, rests: bool, timed: bool) -> tuple[float, ...]:
    """Give when, since its beginning, a trial's values come and, last, its end."""
    if not timed:
        count = len(curve.values)
        return (*(place + 1.0 for place in range(count)), float(count))
    return curve.clock_s if rests else curve.ran_s


def _has_done_all(finding: FellBehind) -> bool:
    return isinstance(finding, Verdict) and not finding.rung


def _places(curves: Sequence[Curve], *, maximise: bool) -> dict[int, int]:
    """Give the place, from 1, of each curve that has a result, the best first."""
    results = [
        (-result if maximise else result, number)
        for number, curve in enumerate(curves)
        if (result := curve.result) is not None
    ]
    return {number: place for place, (_, number) in enumerate(sorted(results), start=1)}


def _stop(curve: Curve, finding: FellBehind, place: int, rank: int | None, *, timed: bool) -> Stop:
    return Stop(
        curve=curve,
        finding=finding,
        values_saved=len(curve.values) - place - 1,
        seconds_saved=curve.ran_s[-1] - curve.ran_s[place] if timed else None,
        place=rank,
    )


def _best(curve: Curve) -> Best:
    return Best(trial=curve.trial, value=curve.values[-1])


def _kept(
    curves: Sequence[Curve],
    left: Sequence[int],
    stopped_at: Mapping[int, int],
    *,
    maximise: bool,
) -> Best | None:
    """Give the best result of the trials that keep theirs; one stopped late has that of its stop."""
    kept = [
        Best(trial=curves[number].trial, value=curves[number].values[stopped_at.get(number, -1)])
        for number in left
    ]
    finite = [each for each in kept if math.isfinite(each.value)]
    sign = -1.0 if maximise else 1.0
    return min(finite, key=lambda each: sign * each.value, default=None)


def _more(spending: Spending, trials: int) -> int:
    """Give how many more trials would have fitted, each with the mean of what these spend."""
    return math.floor(spending.saved * trials / spending.spent)


def _check(curves: Sequence[Curve], slots: int | None) -> None:
    if not curves:
        raise ValueError("there is no curve to replay")
    if slots is not None and slots < 1:
        raise ValueError(f"{slots} trials at a time: at least 1")
    for curve in curves:
        counts = {len(curve.values), len(curve.steps), len(curve.elapsed_s) or len(curve.values)}
        if counts != {len(curve.values)} or not curve.values:
            raise ValueError(f"the curve of {curve.trial} needs a step, and a time, for each value")
        if curve.elapsed_s and curve.lasted_s < curve.elapsed_s[-1]:
            raise ValueError(f"{curve.trial} ended before its last value")
        if curve.running_s and len(curve.running_s) != len(curve.values) + 1:
            raise ValueError(f"{curve.trial} needs how long it ran at each value and at its end")
        if slots is None and (curve.began_s is None or not curve.elapsed_s):
            raise ValueError(f"when {curve.trial} began is not known: say how many ran at a time")
