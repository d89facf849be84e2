"""What can happen to a tuning job: the inputs of the state machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.verdicts import StoppingVerdict


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
        suggestions: New ones, in launch order.
        exhausted: There will never be more.
    """

    suggestions: tuple[Suggestion, ...]
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
class NearestLine:
    """Say how near a line of output came to yielding a value of the objective.

    Attributes:
        line: The line, cut.
        matched_text: What the part of the regular expression found that is found in the line.
        unmatched_pattern: What follows in the regular expression; empty if all of it is found.
        captured: What was captured and is no number, if all of it is found.
    """

    line: str
    matched_text: str
    unmatched_pattern: str
    captured: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveMissing:
    """Hold what a program wrote that never emitted the objective.

    Attributes:
        nearest_lines: Lines in which its regular expression was nearly found, the nearest first.
        last_lines: The last lines of the output, cut, oldest first.
    """

    nearest_lines: tuple[NearestLine, ...] = ()
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """A trial ended on its runner."""

    outcome: Outcome
    failure_reason: str
    retryable: bool
    model_artifacts_uri: str
    training_started_at: datetime | None
    objective_missing: ObjectiveMissing | None = None


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
class TrialsRequested:
    """A caller asks for trials to run.

    Attributes:
        client_id: Who asks.
        count: How many it wants to hold.
        first_index: Launch index of the first configuration, from 1.
        configurations: New configurations as trials get them, in launch order; those that are
            not needed are left.
        ended: They are good only while so many trials have ended; None: whatever has ended.
        exhausted: There will never be more.
    """

    client_id: str
    count: int
    first_index: int
    configurations: tuple[Mapping[str, str], ...] = ()
    ended: int | None = None
    exhausted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsReported:
    """A caller reports values of metrics of a trial that it holds.

    Attributes:
        trial_name: The trial.
        lease_token: The lease under which the caller holds it.
        step: Resource spent so far, from 1; 0: one more than the last.
        values: By metric name.
    """

    trial_name: str
    lease_token: int
    step: int
    values: Mapping[str, float]


class Verdict(StrEnum):
    """Name the ways in which a caller can end a trial."""

    MEASURED = "Measured"
    FAILED = "Failed"
    INFEASIBLE = "Infeasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCompleted:
    """A caller ends a trial that it holds.

    Attributes:
        trial_name: The trial.
        lease_token: The lease under which the caller holds it.
        verdict: What came of it.
        value: The objective, if it was measured.
        reason: In words, if it was not.
        completion_id: The call's idempotency key, if it had one.
    """

    trial_name: str
    lease_token: int
    verdict: Verdict
    value: float | None = None
    reason: str = ""
    completion_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseExpired:
    """A caller has made no call for its trial for too long."""

    trial_name: str
    lease_token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStopRequested:
    """A caller wants the tuning job stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStopRequested:
    """A caller wants one training job stopped."""

    trial_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFellBehind:
    """A trial is doing so badly that its end need not be waited for.

    Attributes:
        trial_name: The trial.
        lease_token: The lease under which it emitted what it was judged by.
        reason: Why, in words that follow a colon.
        verdict: The same as numbers.
    """

    trial_name: str
    lease_token: int
    reason: str
    verdict: StoppingVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReachedRung:
    """A trial is to be paused at a rung.

    Attributes:
        trial_name: The trial.
        lease_token: The lease under which it emitted what it was judged by.
        verdict: How it did there.
    """

    trial_name: str
    lease_token: int
    verdict: StoppingVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionsArrived:
    """It is known who of the paused trials may go on.

    Attributes:
        number: Of the ask that this answers.
        trial_names: All that may, in the order in which they should.
    """

    number: int
    trial_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergenceDetected:
    """The model expects no improvement worth having of the training jobs to come."""


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
    | TrialsRequested
    | MetricsReported
    | TrialCompleted
    | LeaseExpired
    | JobStopRequested
    | TrialStopRequested
    | TrialFellBehind
    | TrialReachedRung
    | PromotionsArrived
    | ConvergenceDetected
    | DeadlinePassed
)
