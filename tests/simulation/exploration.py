"""Visit every state that a small tuning job can reach, by every event that can reach it.

States that differ in times, report numbers and metric values alone count as one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator

from tests.server.domain.job_specs import CREATED_AT, METRIC
from tests.server.domain.tuning_job_driver import ended
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.invariants import check_invariants
from tunesmith_server.domain.lifecycle import step
from tunesmith_server.domain.states import (
    TRAINING_JOB_TRANSITIONS,
    Cause,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobSpec, JobState, TuningJob
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict

#: A trial is handed out at most so often: returns could go on for ever.
_MAX_LEASES = 2


def reachable(spec: JobSpec) -> list[JobState]:
    """Give every state that a tuning job can be in after a step."""
    job = TuningJob(
        job_id=1,
        status=TuningJobStatus.IN_PROGRESS,
        created_at=CREATED_AT,
        modified_at=CREATED_AT,
    )
    first, _ = step(JobState(spec=spec, job=job), ev.Recovered(), CREATED_AT)
    found: dict[Hashable, JobState] = {_key(first): first}
    to_visit = deque([first])
    while to_visit:
        state = to_visit.popleft()
        for event in possible_events(state):
            now = CREATED_AT
            if isinstance(event, ev.DeadlinePassed) and state.deadline is not None:
                now = state.deadline
            after, _ = step(state, event, now)
            check_invariants(after)
            if _key(after) not in found:
                found[_key(after)] = after
                to_visit.append(after)
    return list(found.values())


def possible_events(state: JobState) -> Iterator[ev.Event]:
    """Give all that can happen next, but for what callers are refused."""
    if state.job.status.is_terminal:
        return
    yield ev.Recovered()
    if state.spec.lease_terms is not None:
        yield from _asks(state)
    if state.job.status is TuningJobStatus.IN_PROGRESS:
        yield ev.JobStopRequested()
    if state.goes_on:
        yield ev.ConvergenceDetected()
    if state.deadline is not None:
        yield ev.DeadlinePassed()
    yield from _answers(state)
    for trial in state.trials.values():
        if state.spec.lease_terms is None:
            yield from _events_of(trial)
            yield from _pauses(state, trial)
        else:
            yield from _events_of_callers(trial)


def _answers(state: JobState) -> Iterator[ev.Event]:
    """Give what may be answered to a question for suggestions, or who may go on."""
    if state.suggestions_wanted:
        yield ev.SuggestionsFailed(reason="no memory")
    answers = range(state.suggestions_wanted + 1) if state.spec.lease_terms is None else ()
    for count in answers:
        some = (Suggestion(parameters={}),) * count
        yield ev.SuggestionsArrived(suggestions=some, exhausted=True)
        yield ev.SuggestionsArrived(suggestions=some, exhausted=False)
    if not state.promotions.is_asked:
        return
    paused = [trial.name for trial in state.paused]
    number = state.promotions.number
    for first in range(len(paused) + 1):
        yield ev.PromotionsArrived(number=number, trial_names=tuple(paused[first:]))


def _pauses(state: JobState, trial: Trial) -> Iterator[ev.Event]:
    # One that has no lease left to come could never be given back.
    if state.spec.pauses and trial.lease_token < _MAX_LEASES and trial.metrics:
        verdict = StoppingVerdict(
            rule=StoppingRule.PAUSED, resource=1, value=1.0, rung=1, rank=1, entries=1
        )
        yield ev.TrialReachedRung(
            trial_name=trial.name, lease_token=trial.lease_token, verdict=verdict
        )


def _asks(state: JobState) -> Iterator[ev.Event]:
    """Give what a caller can ask for, and the engine have found."""
    first_index = state.job.launched + 1
    yield ev.SuggestionsFailed(reason="no memory")
    for count in range(3):
        for found in range(3):
            for exhausted in (True, False):
                yield ev.TrialsRequested(
                    client_id="a",
                    count=count,
                    first_index=first_index,
                    configurations=({},) * found,
                    exhausted=exhausted,
                )


def _events_of_callers(trial: Trial) -> Iterator[ev.Event]:
    if trial.status is not TrainingJobStatus.STOPPING:
        yield ev.TrialStopRequested(trial_name=trial.name)
    if trial.lease is None:
        return
    if trial.lease_token < _MAX_LEASES:
        yield ev.LeaseExpired(trial_name=trial.name, lease_token=trial.lease_token)
    if not trial.metrics:
        yield ev.MetricsReported(
            trial_name=trial.name, lease_token=trial.lease_token, step=0, values={METRIC: 1.0}
        )
    for verdict in ev.Verdict:
        yield ev.TrialCompleted(
            trial_name=trial.name, lease_token=trial.lease_token, verdict=verdict, value=1.0
        )


def _events_of(trial: Trial) -> Iterator[ev.Event]:
    if trial.status is not TrainingJobStatus.STOPPING:
        yield ev.TrialStopRequested(trial_name=trial.name)
    if trial.lease is None:
        yield ev.TrialAssigned(trial_name=trial.name, runner_name="a", instance_id="a")
        return
    yield ev.RunnerLost(trial_name=trial.name, lease_token=trial.lease_token, reason="gone")
    for report in _reports_of(trial):
        yield ev.TrialReported(
            trial_name=trial.name,
            lease_token=trial.lease_token,
            sequence=trial.reported_sequence + 1,
            reported_at=CREATED_AT,
            report=report,
        )


def _reports_of(trial: Trial) -> Iterator[ev.Report]:
    for stage in ev.Stage:
        causes = TRAINING_JOB_TRANSITIONS.get(
            (trial.secondary_status, SecondaryStatus(stage.value)), frozenset()
        )
        if Cause.RUNNER in causes:
            yield ev.StageReached(stage=stage)
    if not trial.metrics:
        yield ev.MetricEmitted(metric_name=METRIC, value=1.0)
    for outcome in ev.Outcome:
        if outcome is ev.Outcome.RETURNED and trial.lease_token == _MAX_LEASES:
            continue
        yield ended(outcome)


def _key(state: JobState) -> Hashable:
    job = state.job
    trials = sorted(
        (t.secondary_status, t.lease_token, t.stop_requested, t.pause_requested, bool(t.metrics))
        for t in state.trials.values()
    )
    end = job.closing and job.closing.status
    known = job.best is not None
    seen = (job.status, end, job.launched, job.exhausted, job.counters, known)
    asked = (state.promotions.is_asked, state.promotions.is_known)
    return (*seen, state.suggestions_wanted, *asked, tuple(trials))
