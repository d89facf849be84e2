"""What holds of a tuning job and its open trials after every step.

For tests and simulations, which call :func:`check_invariants` after each step. The service does
not: the constraints in the store's schema guard what it keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from tunesmith_server.domain import counting
from tunesmith_server.domain.completion import Criterion
from tunesmith_server.domain.lifecycle import ATTEMPTS_WITHOUT_SUCCESS
from tunesmith_server.domain.names import training_job_name
from tunesmith_server.domain.states import (
    TRAINING_JOB_TRANSITIONS,
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobState

#: A claim in words, and whether it holds.
_Claim = tuple[str, bool]


class InvariantBroken(Exception):
    """Report claims that do not hold: a bug in the lifecycle.

    Attributes:
        broken: One line for each, beginning with the tuning job or trial that it is about.
    """

    def __init__(self, broken: tuple[str, ...]) -> None:
        self.broken = broken
        super().__init__("; ".join(broken))


def check_invariants(state: JobState) -> None:
    """Check all that must hold of a tuning job after a step.

    Raises:
        InvariantBroken: Something does not; all of it is listed.
    """
    name = state.spec.name
    broken = [
        f"{item}: it does not hold that {claim}"
        for item, claims in (
            (name, _ending(state)),
            (name, _counting(state)),
            (name, _limits(state)),
            (name, _best(state)),
            *((key, _identity(state, key, trial)) for key, trial in state.trials.items()),
            *((key, _holding(state, trial)) for key, trial in state.trials.items()),
            *((key, _history(trial)) for key, trial in state.trials.items()),
        )
        for claim, holds in claims
        if not holds
    ]
    if broken:
        raise InvariantBroken(tuple(broken))


def _ending(state: JobState) -> Iterable[_Claim]:
    job, closing = state.job, state.job.closing
    has_ended = job.status.is_terminal
    decided = None if closing is None else closing.status
    yield "ended_at is set exactly when it has ended", has_ended == (job.ended_at is not None)
    failed = job.status is TuningJobStatus.FAILED
    yield "failure_reason is set exactly when it failed", failed == bool(job.failure_reason)
    yield "it ends as was decided", not has_ended or job.status is decided
    yield "a decided end is terminal", decided is None or decided.is_terminal
    fails = decided is TuningJobStatus.FAILED
    reason = None if closing is None else closing.reason
    yield "a decided failure alone has a reason", fails == bool(reason)
    yield (
        "it is to be Stopped exactly when a caller stopped it",
        (decided is TuningJobStatus.STOPPED)
        == (job.status in (TuningJobStatus.STOPPING, TuningJobStatus.STOPPED)),
    )
    yield (
        "it has ended once that is decided and nothing is open",
        (decided is None or has_ended != bool(state.trials)),
    )
    yield "its times are in order", job.created_at <= job.modified_at
    yield "it ends with its last change", job.ended_at in (None, job.modified_at)
    converged_at = job.converged_at
    yield (
        "convergence was detected between its creation and its last change",
        converged_at is None or job.created_at <= converged_at <= job.modified_at,
    )
    criterion = None if closing is None else closing.criterion
    yield (
        "it completes for convergence only where that was detected and is asked for",
        criterion is not Criterion.CONVERGENCE
        or (converged_at is not None and state.spec.criteria.on_convergence),
    )


def _counting(state: JobState) -> Iterable[_Claim]:
    counters, launched = state.job.counters, state.job.launched
    yield (
        "every launched trial is open or counted as ended",
        launched == counters.ended + len(state.trials),
    )
    yield (
        "every ended trial has an objective or lacks one",
        counters.ended == counters.objective_succeeded + counters.objective_failed,
    )
    yield (
        "failed trials have no objective",
        counters.objective_succeeded <= counters.completed + counters.stopped,
    )
    yield (
        "launch indices differ",
        (len({trial.index for trial in state.trials.values()}) == len(state.trials)),
    )


def _limits(state: JobState) -> Iterable[_Claim]:
    spec, job, wanted = state.spec, state.job, state.suggestions_wanted
    free = spec.max_parallel - state.placed
    left = spec.max_training_jobs - job.launched
    is_asked = state.promotions.is_asked
    yield "at most max_parallel trials have a place", free >= 0
    yield "at most max_training_jobs are launched", left >= 0
    if not state.goes_on:
        return
    # From here on the tuning job launches what it may, or its callers do.
    by_callers = spec.lease_terms is not None
    yield "suggestions are asked for as there is room", 0 <= wanted <= min(free, left)
    yield "callers ask for themselves", wanted == 0 or not by_callers
    yield (
        "there is no room for which nothing was asked",
        wanted > 0 or is_asked or by_callers or job.exhausted or min(free, left) == 0,
    )
    yield (
        "while somebody rests and could have a place, it is asked who may go on",
        is_asked or state.promotions.is_known or state.resumable == 0,
    )
    to_come = left if by_callers else wanted
    yield (
        "it goes on only while something is open or to come",
        state.placed > 0 or is_asked or (to_come > 0 and not job.exhausted),
    )
    yield (
        "it gives up after enough failures without a success",
        (job.counters.failed < ATTEMPTS_WITHOUT_SUCCESS or counting.any_succeeded(state)),
    )


def _best(state: JobState) -> Iterable[_Claim]:
    best, counters = state.job.best, state.job.counters
    if best is None:
        yield (
            "the best training job is known once one completed with an objective",
            counters.objective_succeeded <= counters.stopped,
        )
        return
    value = best.objective_value
    may_be_stopped = state.spec.definition_of(best).halving_terms is not None
    yield (
        "the best training job completed, or was stopped with all its resource spent",
        best.status is TrainingJobStatus.COMPLETED
        or (may_be_stopped and best.status is TrainingJobStatus.STOPPED),
    )
    yield "its objective is finite", value is not None and math.isfinite(value)
    yield "it has ended", best.name not in state.trials and best.ended_at is not None
    yield "it is one of those launched", 1 <= best.index <= state.job.launched
    ended = counters.completed + counters.stopped
    yield "it is counted", ended > 0 and counters.objective_succeeded > 0


def _identity(state: JobState, key: str, trial: Trial) -> Iterable[_Claim]:
    job = state.job
    yield "it is kept under its name", key == trial.name
    named = training_job_name(state.spec.name, trial.index, job.created_at)
    yield "it has the name of its index", trial.name == named
    yield "it was launched", 1 <= trial.index <= job.launched
    yield "it is open", not trial.status.is_terminal and trial.ended_at is None
    yield (
        "nothing is said yet about its end",
        (
            trial.objective_status is ObjectiveStatus.PENDING
            and trial.objective_value is None
            and trial.failure_kind is None
            and trial.failure_reason is None
            and trial.objective_failure_reason is None
            and not trial.model_artifacts_uri
        ),
    )


def _holding(state: JobState, trial: Trial) -> Iterable[_Claim]:
    waits = trial.secondary_status is SecondaryStatus.PENDING or trial.is_paused
    by_callers = state.spec.lease_terms is not None
    yield "somebody holds it exactly while it does not wait", waits == (trial.lease is None)
    yield "its lease is the latest", trial.lease is None or trial.lease.token == trial.lease_token
    start = SecondaryStatus.TRAINING if by_callers else SecondaryStatus.STARTING
    starts = trial.story().count(start)
    yield "each lease has one start", trial.lease_token == starts
    resumes = state.spec.definition_of(trial).retry_terms.resumes
    yield "no program of it runs while it waits", not waits or trial.training_started_at is None
    yield (
        "nothing that an earlier attempt measured is left while it waits, unless it resumes",
        not waits or not trial.metrics or resumes,
    )
    terms = state.spec.definition_of(trial).halving_terms
    yield "what rests was to", trial.pause_requested or not trial.is_paused
    yield (
        "only what can go on from a rung is paused, for a reason",
        not trial.pause_requested
        or (terms is not None and terms.pauses and resumes and trial.verdict is not None),
    )
    yield (
        "what waits for a runner is not to rest",
        trial.is_paused or not (waits and trial.pause_requested),
    )
    stops = trial.secondary_status is SecondaryStatus.STOPPING
    yield "what is to stop is Stopping", stops or not trial.stop_requested
    yield (
        "it is to stop once the tuning job's end is decided",
        state.job.closing is None or trial.stop_requested,
    )
    yield (
        "it is retried as often as is allowed",
        trial.retries <= state.spec.definition_of(trial).retry_terms.most,
    )
    yield (
        "each retry has an interruption",
        trial.retries <= trial.story().count(SecondaryStatus.INTERRUPTED),
    )
    steps = [measurement.step for measurement in trial.metrics.values()]
    yield "its measurements are counted from 1", all(step >= 1 for step in steps)
    # Callers may leave steps out, and earlier attempts had reports of their own.
    reported = len(steps) if by_callers else sum(steps)
    yield "each measurement came in a report", resumes or reported <= trial.reported_sequence


def _history(trial: Trial) -> Iterable[_Claim]:
    first, last = trial.transitions[0], trial.transitions[-1]
    yield (
        "its story begins when it was launched, waiting",
        first.status is SecondaryStatus.PENDING and first.started_at == trial.created_at,
    )
    yield (
        "its story ends with where it is",
        (last.status is trial.secondary_status and last.ended_at is None),
    )
    pairs = tuple(pairwise(trial.transitions))
    yield "its story has no gaps", all(a.ended_at == b.started_at for a, b in pairs)
    yield "no span ends before it began", all(a.started_at <= b.started_at for a, b in pairs)
    yield (
        "its story keeps to the table",
        all((a.status, b.status) in TRAINING_JOB_TRANSITIONS for a, b in pairs),
    )
    yield "its last change is not before its last transition", last.started_at <= trial.modified_at
    started = trial.training_started_at
    yield (
        "its program started between its launch and its last change",
        (started is None or trial.created_at <= started <= trial.modified_at),
    )
