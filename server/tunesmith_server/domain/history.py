"""What a tuning job's optimiser is to know of its training jobs, and what of it is new.

The optimiser knows each launched training job in exactly one way: as one that told something, as
one that ended without telling anything, or as pending. It is told of ends in the order in which
the service took note of them, which is in the store and so the same after a restart.

One that rests at a rung of Hyperband has told something too, until it goes on and tells more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tunesmith_server.domain.states import TrainingJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Say what has become of a training job so far.

    Attributes:
        index: Its launch index, from 1.
        suggestion: What it was launched with.
        status: Where it is.
        failure_kind: Set exactly when it failed.
        objective_value: Final objective, finite; None until it ended with one.
        modified_at: When anything about it last changed; of an ended one: when its end was noted.
        is_resting: It is paused at a rung.
    """

    index: int
    suggestion: Suggestion
    status: TrainingJobStatus
    failure_kind: FailureKind | None
    objective_value: float | None
    modified_at: datetime
    is_resting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Say how far a training job has come, where Hyperband judges it.

    Attributes:
        rungs: The objective at each rung that it has reached, from the first on.
        is_whole: It has reached its full resource.
    """

    rungs: tuple[float, ...] = ()
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An end, or a rest, that says something about the configuration.

    Attributes:
        suggestion: The configuration.
        value: The objective; None: it failed, or gave none, which is worse than any value.
        rungs: The objective at each rung that it reached, from the first on.
        is_stopped: Hyperband stopped it after the last of these, or lets it rest there.
        is_again: It takes the place of what was told before, at a rest.
    """

    suggestion: Suggestion
    value: float | None
    rungs: tuple[float, ...] = ()
    is_stopped: bool = False
    is_again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """An end that says nothing about the configuration, which is not suggested again."""

    suggestion: Suggestion


End = Told | Abandoned


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Say how much of a tuning job an optimiser knows.

    Attributes:
        first_unknown: Every training job with a lower launch index has ended, and is known.
        ended: Launch indices, from that on, of those that have ended and are known too.
        last: Time and launch index of the end that was learnt last.
        has_value: An objective value is known.
        rested: At how many rungs those were that have told something at a rest, by launch index.
    """

    first_unknown: int = 1
    ended: frozenset[int] = frozenset()
    last: tuple[datetime, int] | None = None
    has_value: bool = False
    rested: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Hold what an optimiser has to be told before it is asked.

    Attributes:
        ends: New ends, in order.
        pending: All configurations with no end yet, in launch order.
        knowledge: What it knows after that.
    """

    ends: tuple[End, ...]
    pending: tuple[Suggestion, ...]
    knowledge: Knowledge


def new_traces(knowledge: Knowledge, outcomes: Iterable[Outcome]) -> Collection[int]:
    """Give the launch indices of those whose traces `learn` needs, if Hyperband judges them."""
    return [
        each.index
        for each in outcomes
        if each.is_resting or (each.status.is_terminal and each.index not in knowledge.ended)
    ]


def learn(
    knowledge: Knowledge, outcomes: Iterable[Outcome], traces: Mapping[int, Trace] | None = None
) -> News | None:
    """Find what is new.

    Args:
        knowledge: What the optimiser knows.
        outcomes: All training jobs from ``knowledge.first_unknown`` on, read at one time.
        traces: How far those of `new_traces` have come, by launch index, where Hyperband judges.

    Returns:
        The news; None: an end belongs before one that is known already, as after a step of the
        clock, and the history has to be told from its beginning.
    """
    traces = traces or {}
    found = sorted(outcomes, key=lambda outcome: outcome.index)
    pending = [outcome for outcome in found if not outcome.status.is_terminal]
    ended = [
        outcome
        for outcome in found
        if outcome.status.is_terminal and outcome.index not in knowledge.ended
    ]
    ended.sort(key=_order)
    if ended and knowledge.last is not None and _order(ended[0]) < knowledge.last:
        return None
    if pending:
        first_unknown = pending[0].index
    else:
        first_unknown = found[-1].index + 1 if found else knowledge.first_unknown
    known = knowledge.ended.union(outcome.index for outcome in ended)
    rested = dict(knowledge.rested)
    ends = [
        _end(each, traces.get(each.index, Trace()), is_again=rested.pop(each.index, 0) > 0)
        for each in ended
    ]
    for each in pending:
        rungs = traces.get(each.index, Trace()).rungs if each.is_resting else ()
        if len(rungs) > rested.get(each.index, 0):
            ends.append(
                Told(
                    suggestion=each.suggestion,
                    value=rungs[-1],
                    rungs=rungs,
                    is_stopped=True,
                    is_again=each.index in rested,
                )
            )
            rested[each.index] = len(rungs)
    return News(
        ends=tuple(ends),
        pending=tuple(each.suggestion for each in pending if each.index not in rested),
        knowledge=Knowledge(
            first_unknown=first_unknown,
            ended=frozenset(index for index in known if index >= first_unknown),
            last=_order(ended[-1]) if ended else knowledge.last,
            has_value=knowledge.has_value
            or bool(rested)
            or any(outcome.objective_value is not None for outcome in ended),
            rested=rested,
        ),
    )


def _order(outcome: Outcome) -> tuple[datetime, int]:
    return outcome.modified_at, outcome.index


def _end(outcome: Outcome, trace: Trace, *, is_again: bool) -> End:
    """Say what an ended training job tells."""
    was_stopped = outcome.status is TrainingJobStatus.STOPPED
    if outcome.objective_value is not None:
        return Told(
            suggestion=outcome.suggestion,
            value=outcome.objective_value,
            rungs=trace.rungs,
            is_stopped=was_stopped and bool(trace.rungs) and not trace.is_whole,
            is_again=is_again,
        )
    # A lost runner, or a host's fault, would have befallen any configuration.
    if was_stopped or outcome.failure_kind is FailureKind.RETRYABLE:
        return Abandoned(suggestion=outcome.suggestion)
    return Told(suggestion=outcome.suggestion, value=None, is_again=is_again)
