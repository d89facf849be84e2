"""A training job, as the optimiser and the runner see it: a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from tunesmith_server.domain.states import (
    STATUS_OF,
    TRAINING_JOB_TRANSITIONS,
    Cause,
    IllegalTransition,
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
)


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
        step: How many values of this metric there have been, from 1.
        measured_at: When the runner read it.
    """

    value: float
    step: int
    measured_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Say which runner holds a trial.

    Attributes:
        token: Fencing token: rises with each time the trial is handed out, from 1.
        runner_name: The runner, for people.
        instance_id: The runner's process.
    """

    token: int
    runner_name: str
    instance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
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

    @property
    def status(self) -> TrainingJobStatus:
        """Give the first-level status."""
        return STATUS_OF[self.secondary_status]

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
        closed = replace(self.transitions[-1], ended_at=at)
        opened = StatusTransition(status=to, started_at=at, ended_at=ended_at, message=message)
        return replace(
            self,
            secondary_status=to,
            transitions=(*self.transitions[:-1], closed, opened),
            modified_at=now,
            ended_at=ended_at,
        )

    def measured(self, metric_name: str, value: float, at: datetime) -> Trial:
        """Return the trial with one more value of a metric."""
        last = self.metrics.get(metric_name)
        step = 1 if last is None else last.step + 1
        measurement = Measurement(value=value, step=step, measured_at=at)
        return replace(self, metrics={**self.metrics, metric_name: measurement})

    def final_objective(self, metric_name: str) -> float | None:
        """Give the last emitted value of the objective metric, if it is a number to rank by."""
        last = self.metrics.get(metric_name)
        return last.value if last is not None and math.isfinite(last.value) else None

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
) -> Trial:
    """Make a trial that waits for a runner."""
    waiting = StatusTransition(
        status=SecondaryStatus.PENDING,
        started_at=now,
        ended_at=None,
        message="Waiting for a runner with a free slot and the GPUs it needs",
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
