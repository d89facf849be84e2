"""A training job, as the optimiser and the runner see it: a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from tunesmith_server.domain.frozen import replace
from tunesmith_server.domain.states import (
    STATUS_OF,
    TRAINING_JOB_TRANSITIONS,
    Cause,
    IllegalTransition,
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
)
from tunesmith_server.domain.verdicts import StoppingVerdict

#: StatusMessage of a trial that nobody runs yet.
WAITS_FOR_RUNNER: Final = "Waiting for a runner with a free slot and the GPUs it needs"
WAITS_FOR_CALLER: Final = "Waiting for a caller that asks for a trial"

#: The StatusMessage of a trial that its caller found infeasible begins so.
INFEASIBLE: Final = "Infeasible"


class FailureKind(StrEnum):
    """Say whose fault a failure was, and so how it is counted."""

    RETRYABLE = "Retryable"  # the host's, or a lost runner: another attempt might succeed
    NON_RETRYABLE = "NonRetryable"  # the algorithm's or the request's


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusTransition:
    """Record that a trial was in a secondary status from one time to another."""

    status: SecondaryStatus
    started_at: datetime
    ended_at: datetime | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Hold the latest value of one metric.

    Attributes:
        value: In the metric's own unit; may be NaN or infinite.
        step: How many values of this metric there have been, from 1; for a caller's trial,
            what the caller says.
        measured_at: When the runner read it.
    """

    value: float
    step: int
    measured_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Say who holds a trial: a runner, or a caller that runs it.

    Attributes:
        token: Fencing token: rises with each time the trial is handed out, from 1.
        runner_name: The runner, for people; a caller's ``ClientId``.
        instance_id: The runner's process; a caller's ``ClientId``.
    """

    token: int
    runner_name: str
    instance_id: str


@dataclass(frozen=True, kw_only=True)  # without slots, as frozen.replace needs it
class Trial:
    """Hold one training job's state.

    Attributes:
        name: Name of the training job.
        index: It was launched as the ``index``-th of its tuning job, from 1.
        definition_name: ``DefinitionName`` of its definition, if that has one.
        parameters: The tuned hyperparameters, as the training script gets them.
        secondary_status: Where it is; the first-level status follows from it.
        objective_status: Whether its objective value is known.
        created_at: When it was launched.
        modified_at: When anything about it last changed.
        transitions: Its secondary statuses so far, oldest first, without gaps.
        training_started_at: When its program was started.
        ended_at: When it reached a terminal status.
        lease: Who holds it; None while it waits and after it ended.
        lease_token: Token of the latest lease; 0 before the first.
        reported_sequence: The highest report under the latest lease that was taken in.
        stop_requested: Somebody wants it stopped.
        metrics: Latest measurement of each metric.
        objective_value: Final objective; None until it ended with one.
        failure_kind: Set exactly when it failed.
        failure_reason: At most 1024 characters; set exactly when it failed.
        model_artifacts_uri: Where the packed model is; empty until there is one.
        completion_id: Idempotency key of the call by which a caller ended it, if that had one.
        retries: How often it was started again after a failure.
        spent: How long the programs of the attempts before this one ran.
        objective_failure_reason: At most 4096 characters; set when it ended without an objective,
            unless under a release that did not say.
        verdict: By what it was stopped early, or is paused; set from when it was told so, unless under
            a release that did not say.
        pause_requested: It is to come to rest at a rung, or has.
    """

    name: str
    index: int
    definition_name: str | None
    parameters: Mapping[str, str]
    secondary_status: SecondaryStatus
    objective_status: ObjectiveStatus
    created_at: datetime
    modified_at: datetime
    transitions: tuple[StatusTransition, ...]
    training_started_at: datetime | None = None
    ended_at: datetime | None = None
    lease: Lease | None = None
    lease_token: int = 0
    reported_sequence: int = 0
    stop_requested: bool = False
    metrics: Mapping[str, Measurement] = field(default_factory=dict)
    objective_value: float | None = None
    failure_kind: FailureKind | None = None
    failure_reason: str | None = None
    model_artifacts_uri: str = ""
    completion_id: str | None = None
    retries: int = 0
    spent: timedelta = timedelta()
    objective_failure_reason: str | None = None
    verdict: StoppingVerdict | None = None
    pause_requested: bool = False

    @property
    def status(self) -> TrainingJobStatus:
        """Give the first-level status."""
        return STATUS_OF[self.secondary_status]

    @property
    def is_paused(self) -> bool:
        """Tell whether it rests at a rung: nobody holds it, and nobody looks for a runner."""
        # All others that are Interrupted go on in the same step.
        return self.secondary_status is SecondaryStatus.INTERRUPTED

    def moved(
        self, to: SecondaryStatus, *, cause: Cause, at: datetime, now: datetime, message: str
    ) -> Trial:
        """Return the trial in another secondary status.

        Args:
            to: The status.
            cause: Who moves it.
            at: When it happened: not before it came into its current status, not after ``now``.
            now: When it is being taken note of.
            message: StatusMessage, for people.

        Raises:
            IllegalTransition: The table does not allow it.
        """
        start = self.secondary_status
        if cause not in TRAINING_JOB_TRANSITIONS.get((start, to), frozenset()):
            raise IllegalTransition(
                item=self.name, start=start, end=to, cause=cause, story=self.story()
            )
        ended_at = at if STATUS_OF[to].is_terminal else None
        last = self.transitions[-1]
        closed = StatusTransition(
            status=last.status, started_at=last.started_at, ended_at=at, message=last.message
        )
        opened = StatusTransition(status=to, started_at=at, ended_at=ended_at, message=message)
        return replace(
            self,
            secondary_status=to,
            transitions=(*self.transitions[:-1], closed, opened),
            modified_at=now,
            ended_at=ended_at,
        )

    def runtime(self, until: datetime) -> timedelta:
        """Give how long its programs have run, in all attempts, up to a time."""
        started = self.training_started_at
        return self.spent if started is None else self.spent + max(until - started, timedelta())

    @property
    def last_started_at(self) -> datetime | None:
        """Give when its program was last started: of one that rests, or ended so, before its rest."""
        if self.training_started_at is not None or not self.spent:
            return self.training_started_at
        training = SecondaryStatus.TRAINING
        starts = (each.started_at for each in self.transitions if each.status is training)
        return max(starts, default=None)

    def next_step(self, metric_name: str) -> int:
        """Give the step of a metric's next value where nobody says which it is."""
        last = self.metrics.get(metric_name)
        return 1 if last is None else last.step + 1

    def measured(self, metric_name: str, value: float, at: datetime, *, step: int) -> Trial:
        """Return the trial with a value of a metric as its latest one."""
        measurement = Measurement(value=value, step=step, measured_at=at)
        return replace(self, metrics={**self.metrics, metric_name: measurement})

    def final_objective(self, metric_name: str) -> float | None:
        """Give the last emitted value of the objective metric, if it is a number to rank by."""
        last = self.metrics.get(metric_name)
        return last.value if last is not None and math.isfinite(last.value) else None

    @property
    def stopped_as_it_began(self) -> bool:
        """Tell whether it is to stop since the moment in which somebody got it."""
        if not self.stop_requested or len(self.transitions) < 2:  # noqa: PLR2004 - a pair
            return False
        return self.transitions[-2].started_at == self.transitions[-1].started_at

    def story(self) -> tuple[str, ...]:
        """List the secondary statuses so far."""
        return tuple(transition.status for transition in self.transitions)


def launch(
    *,
    name: str,
    index: int,
    definition_name: str | None,
    parameters: Mapping[str, str],
    now: datetime,
    message: str = WAITS_FOR_RUNNER,
) -> Trial:
    """Make a trial that waits for a runner or a caller; ``message`` says for which."""
    waiting = StatusTransition(
        status=SecondaryStatus.PENDING, started_at=now, ended_at=None, message=message
    )
    return Trial(
        name=name,
        index=index,
        definition_name=definition_name,
        parameters=parameters,
        secondary_status=SecondaryStatus.PENDING,
        objective_status=ObjectiveStatus.PENDING,
        created_at=now,
        modified_at=now,
        transitions=(waiting,),
    )
