"""A tuning job's curves, from its events: a row for each value of each metric.

What ``jobs export --curves`` prints, and what ``replay --job`` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from tunesmith import Client
from tunesmith.aio import ENDED
from tunesmith.v1.event_pb2 import MetricEmitted
from tunesmith.v1.tuning_job_pb2 import (
    HyperParameterTrainingJobSummary,
    HyperParameterTuningJobObjectiveType,
    HyperParameterTuningJobStrategyType,
)
from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse
from tunesmith_server.cli import wording
from tunesmith_server.cli.curve_rows import BadRow, Record, read_record
from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.cli.progress import objective_metrics
from tunesmith_server.domain.names import EPOCHS


@dataclass(slots=True, kw_only=True)
class _TrainingJob:
    """Gather what one training job's events say.

    Attributes:
        summary: Its latest state.
        values: Of its metrics: name, step, value, time, for how many seconds it had run by then.
        steps: The last step of each metric.
        started_at: When the first of the attempts began that these values are of.
    """

    summary: HyperParameterTrainingJobSummary
    values: list[tuple[str, int, float, str, float]] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    started_at: Timestamp | None = None

    def emitted(self, metric: MetricEmitted, at: Timestamp) -> None:
        """Take a value in; one that begins anew takes the place of those before."""
        if metric.step <= self.steps.get(metric.metric_name, 0):
            self.values.clear()
            self.steps.clear()
        began_at = self.summary.training_start_time
        if not self.values:
            self.started_at = Timestamp()
            self.started_at.CopyFrom(began_at)
        running_s = self.summary.training_time_in_seconds
        if began_at.ByteSize():
            since = at.ToDatetime() - began_at.ToDatetime()
            running_s += max(0.0, since.total_seconds())
        self.steps[metric.metric_name] = metric.step
        self.values.append(
            (metric.metric_name, metric.step, metric.value, wording.instant(at), running_s)
        )


def curve_rows(client: Client, name: str) -> list[dict[str, str]]:
    """Give the rows of a tuning job that has ended, by training job in the order of their launch.

    Of a training job that was started anew, the values of its last start; of one that went on from
    checkpoints, those of all its attempts. One without a value has one row.

    Raises:
        Refusal: It has not ended.
        TunesmithError: A call failed.
    """
    described = client.describe(name)
    if described.hyper_parameter_tuning_job_status not in ENDED:
        status = wording.tuning_status(described.hyper_parameter_tuning_job_status)
        raise Refusal(
            f"{name} is {status}, and curves are had of a tuning job that has ended; "
            f"`tunesmith jobs watch {name}` waits for that"
        )
    gathered: dict[str, _TrainingJob] = {}
    for event in client.watch(name, kinds=("TrainingJob", "Metric")):
        if event.HasField("training_job"):
            summary = event.training_job.summary
            known = gathered.setdefault(summary.training_job_name, _TrainingJob(summary=summary))
            known.summary = summary
        elif event.HasField("metric") and event.metric.training_job_name in gathered:
            gathered[event.metric.training_job_name].emitted(event.metric, event.at)
    metrics, goals = objective_metrics(described), _goals(described)
    resources = _resources(described)
    return [
        row
        for each in gathered.values()
        for row in _rows(each, metrics=metrics, goals=goals, resources=resources)
    ]


def job_record(client: Client, name: str, *, metric: str | None) -> Record:
    """Give the record of a tuning job that has ended.

    Args:
        client: Of its server.
        name: Of the tuning job.
        metric: Which metric; None: the objective.

    Raises:
        Refusal: It has not ended, or has no value of the metric.
        TunesmithError: A call failed.
    """
    rows = curve_rows(client, name)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not rows:
        raise Refusal(f"{name} has no training job")
    cells = [[row.get(column, "") for column in columns] for row in rows]
    try:
        return read_record(columns, enumerate(cells, start=2), metric=metric)
    except BadRow as error:
        raise Refusal(f"{name}: {error}") from None
    except Refusal as error:
        raise Refusal(f"{name}: {error.message}") from None


def _goals(described: DescribeHyperParameterTuningJobResponse) -> dict[str, str]:
    """Give which way each definition's objective is better; one for all under the empty name."""
    spelled = HyperParameterTuningJobObjectiveType.DESCRIPTOR
    config = described.hyper_parameter_tuning_job_config
    objectives = {
        each.definition_name: each.tuning_objective for each in described.training_job_definitions
    } or {"": config.hyper_parameter_tuning_job_objective}
    return {name: wording.spelled(spelled, each.type) for name, each in objectives.items()}


def _resources(
    described: DescribeHyperParameterTuningJobResponse,
) -> dict[str, dict[str, str]]:
    """Give Hyperband's numbers for each definition; one for all under the empty name.

    Empty: another strategy has none.
    """
    config = described.hyper_parameter_tuning_job_config
    hyperband = (
        HyperParameterTuningJobStrategyType.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND
    )
    if config.strategy != hyperband:
        return {}
    given = config.strategy_config.hyperband_strategy_config
    definitions = described.training_job_definitions
    static_of = {each.definition_name: each.static_hyper_parameters for each in definitions} or {
        "": described.training_job_definition.static_hyper_parameters
    }
    return {
        name: {
            "MinResource": f"{given.min_resource or ''}",
            # Where definitions have full resources of their own, the tuning job shows none.
            "MaxResource": f"{given.max_resource or ''}"
            or next((static[each] for each in EPOCHS if each in static), ""),
        }
        for name, static in static_of.items()
    }


def _rows(
    each: _TrainingJob,
    *,
    metrics: dict[str, str],
    goals: dict[str, str],
    resources: dict[str, dict[str, str]],
) -> Iterator[dict[str, str]]:
    summary = each.summary
    definition = summary.training_job_definition_name
    objective = definition if definition in metrics else ""
    about = {
        "TrainingJobName": summary.training_job_name,
        "TrainingJobStatus": wording.training_status(summary.training_job_status),
        **({"TrainingJobDefinitionName": definition} if definition else {}),
        "TrainingStartTime": wording.instant(each.started_at or summary.training_start_time),
        "TrainingEndTime": wording.instant(summary.training_end_time),
        "ObjectiveType": goals.get(objective, ""),
        "ObjectiveMetricName": metrics.get(objective, ""),
        **resources.get(objective, {}),
    }
    # A server of an earlier release does not say how long it ran.
    is_told = summary.HasField("training_time_in_seconds")
    ran = f"{summary.training_time_in_seconds:.6f}" if is_told else ""
    tuned = {
        f"hyperparameter.{name}": value for name, value in summary.tuned_hyper_parameters.items()
    }
    nothing = ("", "", "", "", "")
    values = [
        (name, f"{step}", repr(value), at, f"{running_s:.6f}" if is_told else "")
        for name, step, value, at, running_s in each.values
    ]
    for name, step, value, at, elapsed in values or [nothing]:
        row = {
            "MetricName": name,
            "Step": step,
            "Value": value,
            "Time": at,
            "Elapsed": elapsed,
            "TrainingTimeInSeconds": ran,
        }
        yield {
            wording.plain(column): wording.plain(cell)
            for column, cell in {**about, **row, **tuned}.items()
        }
