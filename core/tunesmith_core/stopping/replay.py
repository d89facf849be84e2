"""Replay a stopping rule over recorded curves: what it would have stopped, saved and cost.

Curves in, report out. The rule is told of each value as a server would tell it: in the order of
their times, or as so many trials at a time would emit them; and of a trial that it stops nothing
more. What a replay cannot know: which trials would have started in the time that a stop frees, and
how a trial would have gone on that was stopped in the record itself.

A trial's result is the last value that it emitted, as it is for a tuning job. A trial that is
stopped has none and can't be the best one, unless it had done all that it was to do.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith_core.stopping.halving import Verdict
from tunesmith_core.stopping.judges import FellBehind, Judge

TOP_FRACTION = 0.1
"""The share of the trials with a result that counts as the top."""


class Ending(enum.StrEnum):
    """Say how a trial ended in the record."""

    COMPLETED = "Completed"
    STOPPED = "Stopped"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Hold what a trial emitted of its objective, in order.

    Attributes:
        trial: Its name, its own among the curves.
        index: Its launch index, from 1.
        values: The values, at least one, in the metric's own unit.
        steps: What it had spent at each value, rising, from 1.
        elapsed_s: The time since its beginning at each value, not falling; empty: not known.
        lasted_s: The time from its beginning to its end, if those are known.
        began_s: When it began, on a clock that all trials share; None: not known.
        full: With so many steps it has done what it was to do; None: nothing says.
        ending: How it ended.
        definition: Whose it is; trials are compared with those of the same definition.
    """

    trial: str
    index: int
    values: tuple[float, ...]
    steps: tuple[int, ...]
    elapsed_s: tuple[float, ...] = ()
    lasted_s: float = 0.0
    began_s: float | None = None
    full: int | None = None
    ending: Ending = Ending.COMPLETED
    definition: str | None = None

    @property
    def result(self) -> float | None:
        """Give the last value of a trial that did all it was to do, if that is a number."""
        last = self.values[-1]
        return last if self.ending is Ending.COMPLETED and math.isfinite(last) else None


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
        seconds_saved: How much sooner it would have ended; None: times are not known.
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
        seconds: The time of all trials together; None: it is not known.
        span_s: The time from the first beginning to the last end where so many run at a time; None:
            it is not known.
        best: The best result without the rule; None: there is no result.
        best_with: The best result with it; None: no trial with one is left.
        top: How many trials are among the top: a tenth of those with a result, rounded up.
        top_stopped: How many of them would have been stopped.
        cut: How many trials were stopped in the record itself, so that their curves are short.
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
        """Give the stop that costs the best trial its result; None: it goes on to its end."""
        best = None if self.best is None else self.best.trial
        return next((s for s in self.stops if s.curve.trial == best and not s.has_done_all), None)


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
            Each takes its own time where all times are known, else the same for each value. None:
            each begins when it began.

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
        total = math.fsum(curve.lasted_s for curve in curves)
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
        cut=sum(curve.ending is Ending.STOPPED for curve in curves),
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
    waiting = iter(range(len(curves)))

    def begin(number: int, at: float) -> None:
        began[number] = at
        heapq.heappush(agenda, (at + _elapsed(curves[number], 0, timed), False, number, 0))

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
                spent = _lasted(curve, timed) if is_last else _elapsed(curve, place + 1, timed)
                heapq.heappush(agenda, (began[number] + spent, is_last, number, place + 1))
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


def _elapsed(curve: Curve, place: int, timed: bool) -> float:  # noqa: FBT001 - of this module alone
    return curve.elapsed_s[place] if timed else place + 1.0


def _lasted(curve: Curve, timed: bool) -> float:  # noqa: FBT001 - of this module alone
    return curve.lasted_s if timed else float(len(curve.values))


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
        seconds_saved=curve.lasted_s - curve.elapsed_s[place] if timed else None,
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
        if slots is None and (curve.began_s is None or not curve.elapsed_s):
            raise ValueError(f"when {curve.trial} began is not known: say how many ran at a time")
