"""What callers do to a single trial that they run. The tuning job around it is ``lifecycle.py``'s.

To the tables of statuses the caller that holds a trial is its runner.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final, assert_never

from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain import views
from tunesmith_server.domain.errors import Conflict
from tunesmith_server.domain.frozen import replace
from tunesmith_server.domain.states import Cause, SecondaryStatus, TrainingJobStatus
from tunesmith_server.domain.trial import INFEASIBLE, WAITS_FOR_CALLER, Lease, Measurement, Trial
from tunesmith_server.domain.trial_steps import Moved, blamed, moved

_SILENT: Final = "The caller made no call for the trial within the lease's duration"


def lent(trial: Trial, client_id: str, now: datetime) -> Moved:
    """Give a waiting trial to a caller, under a new lease."""
    token = trial.lease_token + 1
    lease = Lease(token=token, runner_name=client_id, instance_id=client_id)
    running = moved(trial, SecondaryStatus.TRAINING, Cause.CALLER, now)
    running = replace(
        running, lease=lease, lease_token=token, reported_sequence=0, training_started_at=now
    )
    return Moved(trial=running, effects=(fx.Lend(trial=running),))


def check_lease(trial: Trial, lease_token: int) -> None:
    """Refuse a call under any lease but the current one.

    Raises:
        Conflict: It is another one's trial now, or waits for another one.
    """
    if lease_token > trial.lease_token:
        raise Conflict(
            f"There was never a lease {lease_token} of the training job {trial.name}: its latest one "
            f"is {trial.lease_token}; nothing was changed."
        )
    if trial.lease is None or trial.lease.token != lease_token:
        raise Conflict(
            f"The lease {lease_token} of the training job {trial.name} is not the current one, "
            f"{trial.lease_token if trial.lease is not None else 'of which there is none'}: it ran "
            f"out, and the trial was taken back; nothing was changed. Ask for another trial."
        )


def metrics_reported(trial: Trial, event: ev.MetricsReported, now: datetime) -> Moved:
    """Take in values of metrics; those of a step that is known already change nothing."""
    effects: list[fx.Effect] = []
    metrics, sequence = dict(trial.metrics), trial.reported_sequence
    for name, value in event.values.items():
        step = event.step or trial.next_step(name)
        last = metrics.get(name)
        if last is not None and step <= last.step:
            continue
        sequence += 1
        latest = metrics[name] = Measurement(value=value, step=step, measured_at=now)
        effects.append(_saved(trial, name, latest, sequence))
        message = views.metric_event(trial.name, name, value, step, now)
        effects.append(fx.Announce(message=message, trial_name=trial.name))
    if not effects:
        return Moved(trial=trial)
    # Once for all values: a report has up to forty.
    trial = replace(trial, metrics=metrics, modified_at=now, reported_sequence=sequence)
    return Moved(trial=trial, effects=tuple(effects))


def completed(trial: Trial, event: ev.TrialCompleted, metric_name: str, now: datetime) -> Moved:
    """End a trial as its caller says; one that was to stop is Stopped, with its objective."""
    if event.completion_id is not None:
        trial = replace(trial, completion_id=event.completion_id)
    stopping = trial.stop_requested
    done = SecondaryStatus.STOPPED if stopping else SecondaryStatus.COMPLETED
    match event.verdict:
        case ev.Verdict.MEASURED:
            value = math.nan if event.value is None else event.value
            trial, effects = _concluding(trial, metric_name, value, now)
            return Moved(trial=moved(trial, done, Cause.RUNNER, now), effects=effects)
        case ev.Verdict.INFEASIBLE:
            # What was reported before is not its objective.
            trial, effects = _concluding(trial, metric_name, math.nan, now)
            told = f"{INFEASIBLE}: {event.reason}" if event.reason else INFEASIBLE
            ended = moved(trial, done, Cause.RUNNER, now, message=told)
            return Moved(trial=ended, effects=effects)
        case ev.Verdict.FAILED:
            failed = moved(trial, SecondaryStatus.FAILED, Cause.RUNNER, now)
            reason = f"AlgorithmError: {event.reason}" if event.reason else "AlgorithmError"
            return Moved(trial=blamed(failed, reason, retryable=False))
        case _:
            assert_never(event.verdict)


def says_the_same(ended: Trial, event: ev.TrialCompleted) -> bool:
    """Tell whether a completion says of an ended trial what ended it."""
    match event.verdict:
        case ev.Verdict.FAILED:
            return ended.status is TrainingJobStatus.FAILED
        case ev.Verdict.INFEASIBLE:
            is_told = ended.transitions[-1].message.startswith(INFEASIBLE)
            return is_told and ended.objective_value is None
        case ev.Verdict.MEASURED:
            if ended.status is TrainingJobStatus.FAILED:
                return False
            value = math.nan if event.value is None else event.value
            return value == ended.objective_value or (
                not math.isfinite(value) and ended.objective_value is None
            )
        case _:
            assert_never(event.verdict)


def lease_expired(trial: Trial, now: datetime, *, offers_again: bool) -> Moved:
    """Take a trial back from a caller that is silent."""
    if trial.stop_requested:
        return Moved(trial=moved(trial, SecondaryStatus.STOPPED, Cause.RUNNER, now))
    if not offers_again:
        failed = moved(trial, SecondaryStatus.FAILED, Cause.RUNNER, now)
        return Moved(trial=blamed(failed, f"InternalServerError: {_SILENT}", retryable=True))
    interrupted = moved(trial, SecondaryStatus.INTERRUPTED, Cause.RUNNER, now, message=_SILENT)
    waiting = moved(
        interrupted, SecondaryStatus.PENDING, Cause.RUNNER, now, message=WAITS_FOR_CALLER
    )
    waiting = replace(waiting, lease=None, metrics={}, training_started_at=None)
    return Moved(trial=waiting, effects=(fx.DropMeasurements(trial_name=trial.name),))


def _concluding(
    trial: Trial, metric_name: str, value: float, now: datetime
) -> tuple[Trial, tuple[fx.Effect, ...]]:
    """Make a value the metric's last one, unless it is."""
    last = trial.metrics.get(metric_name)
    if last is not None and last.value == value:
        return trial, ()
    step, sequence = trial.next_step(metric_name), trial.reported_sequence + 1
    latest = Measurement(value=value, step=step, measured_at=now)
    saved = _saved(trial, metric_name, latest, sequence)
    message = views.metric_event(trial.name, metric_name, value, step, now)
    told = fx.Announce(message=message, trial_name=trial.name)
    metrics = {**trial.metrics, metric_name: latest}
    return replace(trial, metrics=metrics, reported_sequence=sequence), (saved, told)


def _saved(
    trial: Trial, metric_name: str, latest: Measurement, sequence: int
) -> fx.SaveMeasurement:
    return fx.SaveMeasurement(
        trial_name=trial.name,
        lease_token=trial.lease_token,
        sequence=sequence,
        metric_name=metric_name,
        value=latest.value,
        step=latest.step,
        measured_at=latest.measured_at,
    )
