"""What single events do to a single trial. The tuning job around it is ``lifecycle.py``'s."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain import views
from tunesmith_server.domain.errors import SequenceGap
from tunesmith_server.domain.frozen import replace
from tunesmith_server.domain.names import OUTPUT_MARK
from tunesmith_server.domain.objective_failures import objective_failure
from tunesmith_server.domain.states import (
    TRAINING_JOB_TRANSITIONS,
    Cause,
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
)
from tunesmith_server.domain.trial import WAITS_FOR_RUNNER, FailureKind, Lease, Trial
from tunesmith_server.domain.tuning_job import RetryTerms
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict

#: A training job's FailureReason is at most this long.
FAILURE_REASON_LENGTH: Final = 1024

_STAGE_STATUS: Final = {
    ev.Stage.STARTING: SecondaryStatus.STARTING,
    ev.Stage.DOWNLOADING: SecondaryStatus.DOWNLOADING,
    ev.Stage.TRAINING: SecondaryStatus.TRAINING,
    ev.Stage.UPLOADING: SecondaryStatus.UPLOADING,
    ev.Stage.STOPPING: SecondaryStatus.STOPPING,
}
_OUTCOME_STATUS: Final = {
    ev.Outcome.COMPLETED: SecondaryStatus.COMPLETED,
    ev.Outcome.FAILED: SecondaryStatus.FAILED,
    ev.Outcome.STOPPED: SecondaryStatus.STOPPED,
    ev.Outcome.MAX_RUNTIME_EXCEEDED: SecondaryStatus.MAX_RUNTIME_EXCEEDED,
    ev.Outcome.RETURNED: SecondaryStatus.INTERRUPTED,
}
#: StatusMessage of each secondary status: printed by SageMaker's clients as it is.
_MESSAGES: Final = {
    SecondaryStatus.PENDING: WAITS_FOR_RUNNER,
    SecondaryStatus.STARTING: "Starting the training job",
    SecondaryStatus.DOWNLOADING: "Downloading input data",
    SecondaryStatus.TRAINING: "Training in progress",
    SecondaryStatus.INTERRUPTED: "The runner shut down before the training job ended",
    SecondaryStatus.UPLOADING: "Uploading generated training model",
    SecondaryStatus.STOPPING: "Stopping the training job",
    SecondaryStatus.STOPPED: "Training job stopped",
    SecondaryStatus.MAX_RUNTIME_EXCEEDED: "Training job reached its MaxRuntimeInSeconds",
    SecondaryStatus.COMPLETED: "Training job completed",
    SecondaryStatus.FAILED: "Training job failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Hold a trial after an event, and the effects beside saving it.

    Attributes:
        trial: The trial.
        effects: What else is to be done, in order.
        missing: What an ended trial's program wrote in place of the objective, if a runner says.
    """

    trial: Trial
    effects: tuple[fx.Effect, ...] = ()
    missing: ev.ObjectiveMissing | None = None


def assigned(trial: Trial, event: ev.TrialAssigned, now: datetime) -> Moved:
    """Give a waiting trial to a runner, under a new lease."""
    token = trial.lease_token + 1
    lease = Lease(token=token, runner_name=event.runner_name, instance_id=event.instance_id)
    starting = moved(trial, SecondaryStatus.STARTING, Cause.ENGINE, now)
    return Moved(trial=replace(starting, lease=lease, lease_token=token, reported_sequence=0))


def reported(
    trial: Trial, event: ev.TrialReported, now: datetime, retry_terms: RetryTerms
) -> Moved:
    """Take in the next report of a lease; one that is known already changes nothing.

    Raises:
        SequenceGap: Reports before this one are missing.
    """
    if event.sequence <= trial.reported_sequence:
        return Moved(trial=trial)
    if event.sequence != trial.reported_sequence + 1:
        raise SequenceGap(
            training_job_name=trial.name, stored=trial.reported_sequence, got=event.sequence
        )
    trial = replace(trial, reported_sequence=event.sequence)
    # The server may have been away when it happened, and the runner's clock may be wrong.
    at = min(max(event.reported_at, trial.transitions[-1].started_at), now)
    match event.report:
        case ev.StageReached():
            return _stage(trial, event.report.stage, at, now)
        case ev.MetricEmitted():
            return _metric(trial, event, event.report, now)
        case ev.OutputWritten():
            message = views.log_event(trial.name, event.report.lines, event.reported_at)
            return Moved(
                trial=trial, effects=(fx.Announce(message=message, trial_name=trial.name),)
            )
        case ev.TrialEnded():
            return _ended(trial, event.report, at, now, retry_terms)
        case _:
            assert_never(event.report)


def runner_lost(
    trial: Trial, event: ev.RunnerLost, now: datetime, retry_terms: RetryTerms
) -> Moved:
    """Retry or fail a trial whose runner is gone: nobody knows what became of its program."""
    if trial.stop_requested:
        return Moved(trial=moved(trial, SecondaryStatus.STOPPED, Cause.RUNNER, now))
    reason = f"InternalServerError: {event.reason}"
    if _may_retry(trial, now, retry_terms):
        return _retried(trial, reason, now, now, retry_terms)
    failed = moved(trial, SecondaryStatus.FAILED, Cause.RUNNER, now)
    return Moved(trial=blamed(failed, reason, retryable=True))


def stopped(trial: Trial, cause: Cause, now: datetime, message: str | None = None) -> Moved:
    """Stop an open trial: at once where nobody holds it, else by telling its runner.

    ``message`` says why, in place of the status's usual message.
    """
    trial = replace(trial, stop_requested=True, modified_at=now)
    if trial.lease is None:
        ended = moved(trial, SecondaryStatus.STOPPED, cause, now, message=message)
        return Moved(trial=ended, effects=(fx.Withdraw(trial_name=trial.name),))
    command = fx.StopOnRunner(
        trial_name=trial.name,
        lease_token=trial.lease.token,
        instance_id=trial.lease.instance_id,
    )
    if trial.status is not TrainingJobStatus.STOPPING:  # else its own time limit was first
        trial = moved(trial, SecondaryStatus.STOPPING, cause, now, message=message)
    return Moved(trial=trial, effects=(command,))


def pausing(trial: Trial, lease: Lease, verdict: StoppingVerdict, now: datetime) -> Moved:
    """Have a held trial come to rest: its runner stops it, with its checkpoints, and gives it back."""
    command = fx.StopOnRunner(
        trial_name=trial.name,
        lease_token=lease.token,
        instance_id=lease.instance_id,
        gives_back=True,
    )
    told = replace(trial, pause_requested=True, verdict=verdict, modified_at=now)
    return Moved(trial=told, effects=(command,))


def resumed(trial: Trial, now: datetime) -> Moved:
    """Let a paused trial go on."""
    waiting = moved(trial, SecondaryStatus.PENDING, Cause.ENGINE, now)
    waiting = replace(waiting, pause_requested=False, verdict=None)
    return Moved(trial=waiting, effects=(fx.Enqueue(trial=waiting),))


def concluded(
    trial: Trial,
    metric_name: str,
    *,
    by_caller: bool = False,
    missing: ev.ObjectiveMissing | None = None,
) -> Trial:
    """Free an ended trial and settle its objective: the last emitted value, unless it failed.

    Args:
        trial: The trial.
        metric_name: The objective metric.
        by_caller: A caller ran it, and no runner.
        missing: What its program wrote in place of the objective, if a runner says.
    """
    value = trial.final_objective(metric_name)
    verdict = trial.verdict
    if verdict is not None and verdict.rule is StoppingRule.PAUSED:
        # One that ended by itself meanwhile, or at its own limit, was paused nowhere.
        verdict = verdict if trial.secondary_status is SecondaryStatus.STOPPED else None
    trial = replace(trial, lease=None, pause_requested=False, verdict=verdict)
    if trial.status is TrainingJobStatus.FAILED or value is None:
        why = objective_failure(trial, metric_name, by_caller=by_caller, missing=missing)
        failed = ObjectiveStatus.FAILED
        return replace(trial, objective_status=failed, objective_failure_reason=why)
    known = ObjectiveStatus.SUCCEEDED
    return replace(trial, objective_value=value, objective_status=known)


def _stage(trial: Trial, stage: ev.Stage, at: datetime, now: datetime) -> Moved:
    if stage is ev.Stage.TRAINING and trial.training_started_at is None:
        trial = replace(trial, training_started_at=at, modified_at=now)
    to = _STAGE_STATUS[stage]
    # What a stopping trial does until its end is all Stopping; and a runner that names a stage
    # twice, or one that is over, tells nothing new.
    if (trial.secondary_status, to) not in TRAINING_JOB_TRANSITIONS:
        return Moved(trial=trial)
    return Moved(trial=moved(trial, to, Cause.RUNNER, now, at=at))


def _metric(
    trial: Trial, event: ev.TrialReported, emitted: ev.MetricEmitted, now: datetime
) -> Moved:
    step = trial.next_step(emitted.metric_name)
    trial = trial.measured(emitted.metric_name, emitted.value, event.reported_at, step=step)
    trial = replace(trial, modified_at=now)
    saved = fx.SaveMeasurement(
        trial_name=trial.name,
        lease_token=event.lease_token,
        sequence=event.sequence,
        metric_name=emitted.metric_name,
        value=emitted.value,
        step=step,
        measured_at=event.reported_at,
    )
    message = views.metric_event(
        trial.name, emitted.metric_name, emitted.value, step, event.reported_at
    )
    return Moved(trial=trial, effects=(saved, fx.Announce(message=message, trial_name=trial.name)))


def _ended(
    trial: Trial, report: ev.TrialEnded, at: datetime, now: datetime, retry_terms: RetryTerms
) -> Moved:
    if report.training_started_at is not None:
        started_at = min(max(report.training_started_at, trial.created_at), at)
        trial = replace(trial, training_started_at=started_at)
    if report.outcome is ev.Outcome.RETURNED:
        return _returned(trial, at, now, retry_terms)
    can_pass = report.outcome is ev.Outcome.FAILED and report.retryable
    if can_pass and _may_retry(trial, at, retry_terms):
        return _retried(trial, report.failure_reason, at, now, retry_terms)
    ended = moved(trial, _OUTCOME_STATUS[report.outcome], Cause.RUNNER, now, at=at)
    ended = replace(ended, model_artifacts_uri=report.model_artifacts_uri)
    if report.outcome is ev.Outcome.FAILED:
        ended = blamed(ended, report.failure_reason, retryable=report.retryable)
    return Moved(trial=ended, missing=report.objective_missing)


def _returned(trial: Trial, at: datetime, now: datetime, terms: RetryTerms) -> Moved:
    """Put a trial that its runner gave back into the queue, as if it had never begun.

    One that resumes goes on where it was instead; what it has spent stays spent.
    """
    if trial.stop_requested:
        return Moved(trial=moved(trial, SecondaryStatus.STOPPED, Cause.RUNNER, now, at=at))
    if terms.resumes:
        trial = replace(trial, spent=trial.runtime(at))
    return _waiting_again(trial, at, now, terms)


def _may_retry(trial: Trial, at: datetime, terms: RetryTerms) -> bool:
    """Tell whether a trial that failed at a time may be started again."""
    if trial.stop_requested or trial.retries >= terms.most:
        return False
    return terms.time_limit is None or trial.runtime(at) < terms.time_limit


def _retried(trial: Trial, reason: str, at: datetime, now: datetime, terms: RetryTerms) -> Moved:
    """Put a trial that failed into the queue; what it has spent stays spent."""
    short = reason.partition(OUTPUT_MARK)[0]
    told = f"Retry {trial.retries + 1} of {terms.most} after: {short}"
    spent = replace(trial, retries=trial.retries + 1, spent=trial.runtime(at))
    return _waiting_again(spent, at, now, terms, message=told[:FAILURE_REASON_LENGTH])


def _waiting_again(
    trial: Trial, at: datetime, now: datetime, terms: RetryTerms, *, message: str | None = None
) -> Moved:
    if trial.pause_requested and trial.verdict is not None:
        message = paused_message(trial.verdict)
    interrupted = moved(
        trial, SecondaryStatus.INTERRUPTED, Cause.RUNNER, now, at=at, message=message
    )
    if trial.pause_requested:
        return Moved(trial=replace(interrupted, lease=None, training_started_at=None))
    waiting = moved(interrupted, SecondaryStatus.PENDING, Cause.RUNNER, now, at=at)
    waiting = replace(waiting, lease=None, training_started_at=None)
    if terms.resumes:
        return Moved(trial=waiting, effects=(fx.Enqueue(trial=waiting),))
    waiting = replace(waiting, metrics={})
    again = (fx.DropMeasurements(trial_name=trial.name), fx.Enqueue(trial=waiting))
    return Moved(trial=waiting, effects=again)


def paused_message(verdict: StoppingVerdict) -> str:
    """Say in words where a trial is paused, and how it did there."""
    return (
        f"Paused at rung {verdict.rung}, resource {verdict.resource}: its objective, "
        f"{verdict.value:g}, was number {verdict.rank} of {verdict.entries}"
    )


def moved(
    trial: Trial,
    to: SecondaryStatus,
    cause: Cause,
    now: datetime,
    *,
    at: datetime | None = None,
    message: str | None = None,
) -> Trial:
    """Move a trial, since ``at`` or now, with the status's usual message or another one."""
    return trial.moved(to, cause=cause, at=at or now, now=now, message=message or _MESSAGES[to])


def blamed(trial: Trial, reason: str, *, retryable: bool) -> Trial:
    """Say why a trial failed, in at most 1024 characters, and whose fault that was."""
    kind = FailureKind.RETRYABLE if retryable else FailureKind.NON_RETRYABLE
    return replace(trial, failure_kind=kind, failure_reason=reason[:FAILURE_REASON_LENGTH])
