"""A tuning job's training jobs as rows, one for each: what ``jobs export`` prints."""

from __future__ import annotations

from tunesmith.v1.training_job_operations_pb2 import DescribeTrainingJobResponse
from tunesmith.v1.tuning_job_pb2 import HyperParameterTrainingJobSummary
from tunesmith_server.cli import wording


def job_row(
    training_job: DescribeTrainingJobResponse, summary: HyperParameterTrainingJobSummary
) -> dict[str, str]:
    """Give a training job as a row, by column.

    Args:
        training_job: Its description.
        summary: Its summary, as its tuning job's list has it.
    """
    tuned = summary.tuned_hyper_parameters
    row = {
        "TrainingJobName": training_job.training_job_name,
        "TrainingJobStatus": wording.training_status(training_job.training_job_status),
        "CreationTime": wording.moment(training_job.creation_time),
        "TrainingStartTime": wording.moment(training_job.training_start_time),
        "TrainingEndTime": wording.moment(training_job.training_end_time),
        "TrainingTimeInSeconds": str(training_job.training_time_in_seconds or ""),
        "FailureReason": training_job.failure_reason,
        "ObjectiveFailureReason": training_job.objective_failure_reason,
        **_of_its_definition(summary),
        **{f"hyperparameter.{each}": value for each, value in tuned.items()},
        **{
            f"metric.{metric.metric_name}": repr(metric.value)
            for metric in training_job.final_metric_data_list
        },
    }
    # A row is a line, whatever a trial has said.
    return {wording.plain(column): wording.plain(cell) for column, cell in row.items()}


def _of_its_definition(summary: HyperParameterTrainingJobSummary) -> dict[str, str]:
    """Give a named definition, and its objective, which has another name in another definition."""
    if not summary.training_job_definition_name:
        return {}
    final = summary.final_hyper_parameter_tuning_job_objective_metric
    has_value = summary.HasField("final_hyper_parameter_tuning_job_objective_metric")
    return {
        "TrainingJobDefinitionName": summary.training_job_definition_name,
        "ObjectiveMetricName": final.metric_name,
        "ObjectiveValue": repr(final.value) if has_value else "",
    }
