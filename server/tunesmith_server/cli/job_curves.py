"""A tuning job's curves, from its events: a row for each value of each metric.

What ``jobs export --curves`` prints, and what ``replay --job`` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tunesmith import Client
from tunesmith.aio import ENDED
from tunesmith.v1.tuning_job_pb2 import (
    HyperParameterTrainingJobSummary,
    HyperParameterTuningJobObjectiveType,
)
from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse
from tunesmith_server.cli import wording
from tunesmith_server.cli.curve_rows import BadRow, Record, read_record
from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.cli.progress import objective_metrics


@dataclass(slots=True, kw_only=True)
class _TrainingJob:
    """Gather what one training job's events say.

    Attributes:
        summary: Its latest state.
        values: Of its metrics: name, step, value, time.
        steps: The last step of each metric.
    """

    summary: HyperParameterTrainingJobSummary
    values: list[tuple[str, int, float, str]] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)


def curve_rows(client: Client, name: str) -> list[dict[str, str]]:
    """Give the rows of a tuning job that has ended, by training job in the order of their launch.

    Of a training job that was started again, the values of its last start. One without a value has
    one row.

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
            metric = event.metric
            known = gathered[metric.training_job_name]
            if metric.step <= known.steps.get(metric.metric_name, 0):
                known.values.clear()
                known.steps.clear()
            known.steps[metric.metric_name] = metric.step
            at = wording.instant(event.at)
            known.values.append((metric.metric_name, metric.step, metric.value, at))
    metrics, goals = objective_metrics(described), _goals(described)
    return [row for each in gathered.values() for row in _rows(each, metrics=metrics, goals=goals)]


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


def _rows(
    each: _TrainingJob, *, metrics: dict[str, str], goals: dict[str, str]
) -> Iterator[dict[str, str]]:
    summary = each.summary
    definition = summary.training_job_definition_name
    objective = definition if definition in metrics else ""
    about = {
        "TrainingJobName": summary.training_job_name,
        "TrainingJobStatus": wording.training_status(summary.training_job_status),
        **({"TrainingJobDefinitionName": definition} if definition else {}),
        "TrainingStartTime": wording.instant(summary.training_start_time),
        "TrainingEndTime": wording.instant(summary.training_end_time),
        "ObjectiveType": goals.get(objective, ""),
        "ObjectiveMetricName": metrics.get(objective, ""),
    }
    tuned = {
        f"hyperparameter.{name}": value for name, value in summary.tuned_hyper_parameters.items()
    }
    nothing = ("", "", "", "")
    values = [(name, f"{step}", repr(value), at) for name, step, value, at in each.values]
    for name, step, value, at in values or [nothing]:
        row = {"MetricName": name, "Step": step, "Value": value, "Time": at}
        yield {
            wording.plain(column): wording.plain(cell)
            for column, cell in {**about, **row, **tuned}.items()
        }
