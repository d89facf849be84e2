"""How a tuning job stands, worked out from its events: what ``tune`` and ``jobs watch`` show.

Pure: events and times in, facts out. Not for drawing; see ``display.py``.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tunesmith.aio import ENDED
from tunesmith.v1.event_pb2 import (
    MetricEmitted,
    TrainingJobChanged,
    TuningJobChanged,
    WatchHyperParameterTuningJobResponse,
)
from tunesmith.v1.stopping_verdict_pb2 import STOPPING_RULE_PAUSED
from tunesmith.v1.training_job_pb2 import SecondaryStatus, TrainingJobStatus
from tunesmith.v1.tuning_job_pb2 import (
    HyperParameterTrainingJobSummary,
    HyperParameterTuningJobStatus,
)
from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse

_FAILURES_KEPT: Final = 20
#: The kinds of events that say how a tuning job stands. Its training jobs' output does not.
KINDS: Final = ("TuningJob", "TrainingJob", "Metric")
#: Statuses in which a training job has ended.
ENDED_TRAINING: Final = frozenset(
    {
        TrainingJobStatus.TRAINING_JOB_STATUS_COMPLETED,
        TrainingJobStatus.TRAINING_JOB_STATUS_FAILED,
        TrainingJobStatus.TRAINING_JOB_STATUS_STOPPED,
    }
)


@dataclass(slots=True, kw_only=True)
class Running:
    """Follow a training job until it has ended.

    Attributes:
        summary: Its latest state.
        secondary_status: The same in more detail.
        objective: The latest value of the objective metric, ``None`` before the first.
        emitted: How many values of the objective it has emitted.
    """

    summary: HyperParameterTrainingJobSummary
    secondary_status: int = SecondaryStatus.SECONDARY_STATUS_UNSPECIFIED
    objective: float | None = None
    emitted: int = 0

    @property
    def is_waiting(self) -> bool:
        """Tell whether it waits for a runner that has room for it, or rests."""
        pending = SecondaryStatus.SECONDARY_STATUS_PENDING
        return self.is_paused or self.secondary_status == pending

    @property
    def is_paused(self) -> bool:
        """Tell whether it rests at a rung, or a runner has just given it back."""
        return self.secondary_status == SecondaryStatus.SECONDARY_STATUS_INTERRUPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTrainingJob:
    """Remember why a training job failed.

    Attributes:
        name: Of the training job.
        reason: Its FailureReason.
        sequence: Of the event that said so.
    """

    name: str
    reason: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutObjective:
    """Remember why a training job that did not fail ended without an objective.

    Attributes:
        name: Of the training job.
        reason: Its ObjectiveFailureReason.
    """

    name: str
    reason: str


class Progress:
    """Follow one tuning job through its events.

    Attributes:
        name: Of the tuning job.
        metrics: The objective metric's name by definition; under the empty name where the tuning
            job has it for all.
        total: Training jobs in all; ``None`` if the job sets no number.
        status: Of the tuning job.
        failure_reason: Why it failed; empty unless it did.
        best: The best training job so far.
        running: The training jobs that have not ended, by name; some may wait for a runner.
        instance_types: What its training jobs ask for.
        failures: Failed training jobs, the last twenty.
        without_objective: Those that ran, did not fail and ended without one, the last twenty.
        ended_count: How many training jobs have ended.
        ended_by_status: The same for each status; of those whose end was told, and so never behind.
        ended_by_definition: The same for each definition.
        last_sequence: Of the last event taken in.
    """

    def __init__(self, described: DescribeHyperParameterTuningJobResponse) -> None:
        config = described.hyper_parameter_tuning_job_config
        self.name = described.hyper_parameter_tuning_job_name
        self.metrics = objective_metrics(described)
        self.total = config.resource_limits.max_number_of_training_jobs or None
        self.status = described.hyper_parameter_tuning_job_status
        self.failure_reason = described.failure_reason
        self.best: HyperParameterTrainingJobSummary | None = None
        self.running: dict[str, Running] = {}
        self.instance_types = _instance_types(described)
        self.failures: deque[FailedTrainingJob] = deque(maxlen=_FAILURES_KEPT)
        self.without_objective: deque[WithoutObjective] = deque(maxlen=_FAILURES_KEPT)
        self.last_sequence = 0
        self._parallel = config.resource_limits.max_parallel_training_jobs
        self.ended_by_definition: Counter[str] = Counter()
        self._ended: dict[str, int] = {}
        self._durations_s: deque[float] = deque(maxlen=100)

    @property
    def ended_count(self) -> int:
        """Give how many training jobs have ended."""
        return len(self._ended)

    @property
    def ended_by_status(self) -> Counter[int]:
        """Give how many training jobs have ended in each status."""
        return Counter(self._ended.values())

    @property
    def has_several(self) -> bool:
        """Tell whether the tuning job has several definitions."""
        return len(self.metrics) > 1

    def metric_of(self, summary: HyperParameterTrainingJobSummary) -> str:
        """Give the name of a training job's objective metric; empty: it is not known."""
        by_definition = self.metrics.get(summary.training_job_definition_name, "")
        return by_definition or self.metrics.get("", "")

    @property
    def has_ended(self) -> bool:
        """Tell whether the tuning job has ended."""
        return self.status in ENDED

    @property
    def has_succeeded(self) -> bool:
        """Tell whether the tuning job has completed."""
        return (
            self.status == HyperParameterTuningJobStatus.HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED
        )

    @property
    def waiting_count(self) -> int:
        """Give how many training jobs wait for a runner."""
        return sum(running.is_waiting for running in self.running.values())

    def all_wait_since(self) -> datetime | None:
        """Give since when training jobs only wait; ``None`` if one runs, or there is none."""
        if not self.running or self.waiting_count < len(self.running):
            return None
        return max(
            running.summary.creation_time.ToDatetime(tzinfo=UTC)
            for running in self.running.values()
        )

    def apply(self, event: WatchHyperParameterTuningJobResponse) -> Running | None:
        """Take in an event; give the training job that has ended with it, if one has."""
        self.last_sequence = event.sequence
        match event.WhichOneof("event"):
            case "tuning_job":
                self._tuning_job_changed(event.tuning_job)
            case "training_job":
                return self._training_job_changed(event.training_job)
            case "metric":
                self._metric_emitted(event.metric)
            case "log" | None:  # None: of a newer server
                pass
        return None

    def time_left_s(self, now: datetime) -> float | None:
        """Estimate the time left from how long ended training jobs took; ``None``: can't be."""
        if self.total is None or not self._durations_s or self.has_ended:
            return None
        typical_s = sum(self._durations_s) / len(self._durations_s)
        left = max(0, self.total - self.ended_count)
        running_count = len(self.running) - self.waiting_count
        if self.running and not running_count:
            return None
        done_s = sum(
            min(typical_s, _elapsed(running.summary, now).total_seconds())
            for running in self.running.values()
            if not running.is_waiting
        )
        at_once = max(1, min(left, running_count or self._parallel))
        return max(0.0, left * typical_s - done_s) / at_once

    def _tuning_job_changed(self, change: TuningJobChanged) -> None:
        self.status = change.hyper_parameter_tuning_job_status or self.status
        self.failure_reason = change.failure_reason or self.failure_reason
        if change.HasField("best_training_job"):
            self.best = change.best_training_job

    def _training_job_changed(self, change: TrainingJobChanged) -> Running | None:
        summary = change.summary
        name = summary.training_job_name
        if name in self._ended:
            return None
        running = self.running.setdefault(name, Running(summary=summary))
        running.summary = summary
        running.secondary_status = change.secondary_status
        if summary.training_job_status not in ENDED_TRAINING:
            return None
        del self.running[name]
        self._ended[name] = summary.training_job_status
        self.ended_by_definition[summary.training_job_definition_name] += 1
        if summary.training_job_status == TrainingJobStatus.TRAINING_JOB_STATUS_FAILED:
            self.failures.append(
                FailedTrainingJob(
                    name=name, reason=summary.failure_reason, sequence=self.last_sequence
                )
            )
        elif (
            summary.objective_failure_reason
            and summary.HasField("training_start_time")
            # Who stopped it did not wait for its objective.
            and change.secondary_status != SecondaryStatus.SECONDARY_STATUS_STOPPED
        ):
            self.without_objective.append(
                WithoutObjective(name=name, reason=summary.objective_failure_reason)
            )
        if has_duration(summary):
            self._durations_s.append(duration(summary).total_seconds())
        return running

    def _metric_emitted(self, metric: MetricEmitted) -> None:
        running = self.running.get(metric.training_job_name)
        if running is not None and metric.metric_name == self.metric_of(running.summary):
            running.objective = metric.value
            running.emitted += 1


def objective_metrics(described: DescribeHyperParameterTuningJobResponse) -> dict[str, str]:
    """Give the objective metric of each definition by name; one for all under the empty name."""
    definitions = described.training_job_definitions
    if definitions:
        return {each.definition_name: each.tuning_objective.metric_name for each in definitions}
    config = described.hyper_parameter_tuning_job_config
    return {"": config.hyper_parameter_tuning_job_objective.metric_name}


def _instance_types(described: DescribeHyperParameterTuningJobResponse) -> tuple[str, ...]:
    definitions = [described.training_job_definition, *described.training_job_definitions]
    types = {definition.resource_config.instance_type for definition in definitions}
    return tuple(sorted(types - {""}))


def has_duration(summary: HyperParameterTrainingJobSummary) -> bool:
    """Tell whether it is known how long an ended training job ran, if it ever did."""
    if summary.HasField("training_time_in_seconds"):
        return True
    # A server of an earlier release does not say; from start to end one that was paused rested, too.
    rested = summary.stopping_verdict.rule == STOPPING_RULE_PAUSED
    return summary.HasField("training_start_time") and not rested


def duration(summary: HyperParameterTrainingJobSummary) -> timedelta:
    """Give how long an ended training job ran, in all attempts; nothing if it never started."""
    if summary.HasField("training_time_in_seconds"):
        return timedelta(seconds=summary.training_time_in_seconds)
    if not summary.HasField("training_start_time"):
        return timedelta(0)
    return summary.training_end_time.ToDatetime() - summary.training_start_time.ToDatetime()


def _elapsed(summary: HyperParameterTrainingJobSummary, now: datetime) -> timedelta:
    if not summary.HasField("training_start_time"):
        return timedelta(0)
    return now - summary.training_start_time.ToDatetime(tzinfo=now.tzinfo)
