"""What can happen to a tuning job: the inputs of the state machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Stage(StrEnum):
    """Name what a runner can say that a trial is doing."""

    STARTING = "Starting"
    DOWNLOADING = "Downloading"
    TRAINING = "Training"
    UPLOADING = "Uploading"
    STOPPING = "Stopping"


class Outcome(StrEnum):
    """Name the ways in which a trial can end on a runner."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"
    RETURNED = "Returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The server started anew and loaded the job: what was under way must be set going again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionsArrived:
    """The strategy answered.

    Attributes:
        configurations: New configurations as training scripts get them, in launch order.
        exhausted: There will never be more.
    """

    configurations: tuple[Mapping[str, str], ...]
    exhausted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionsFailed:
    """The strategy broke down: a fault of ours, which ends the tuning job."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAssigned:
    """A waiting trial was given to a runner."""

    trial_name: str
    runner_name: str
    instance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReached:
    """A trial reached a stage."""

    stage: Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEmitted:
    """A trial emitted a value of a metric."""

    metric_name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputWritten:
    """A trial wrote lines of output."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """A trial ended on its runner."""

    outcome: Outcome
    failure_reason: str
    retryable: bool
    model_artifacts_uri: str
    training_started_at: datetime | None


Report = StageReached | MetricEmitted | OutputWritten | TrialEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReported:
    """A runner reported on a trial that it holds.

    Attributes:
        trial_name: The trial.
        lease_token: The lease under which the runner holds it.
        sequence: Position among the lease's reports, from 1 without gaps.
        reported_at: When it happened, by the runner's clock.
        report: The news.
    """

    trial_name: str
    lease_token: int
    sequence: int
    reported_at: datetime
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLost:
    """The runner that holds a trial is gone."""

    trial_name: str
    lease_token: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStopRequested:
    """A caller wants the tuning job stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStopRequested:
    """A caller wants one training job stopped."""

    trial_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """The tuning job's own time limit was reached."""


Event = (
    Recovered
    | SuggestionsArrived
    | SuggestionsFailed
    | TrialAssigned
    | TrialReported
    | RunnerLost
    | JobStopRequested
    | TrialStopRequested
    | DeadlinePassed
)
