"""What is said about a tuning job that has ended: the best training job, or why it failed."""

from __future__ import annotations

from collections.abc import Iterable

from tunesmith.v1.training_job_operations_pb2 import DescribeTrainingJobResponse
from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse
from tunesmith_server.cli import wording
from tunesmith_server.cli.progress import FailedTrainingJob


def outcome_line(described: DescribeHyperParameterTuningJobResponse) -> str:
    """Say in one line how a tuning job ended."""
    counters = described.training_job_status_counters
    failed = counters.retryable_error + counters.non_retryable_error
    ended_at = described.hyper_parameter_tuning_end_time.ToDatetime()
    took_s = (ended_at - described.creation_time.ToDatetime()).total_seconds()
    status = wording.tuning_status(described.hyper_parameter_tuning_job_status)
    return (
        f"Tuning job {described.hyper_parameter_tuning_job_name}: {status} after "
        f"{wording.span(took_s)}; training jobs: {counters.completed} completed, "
        f"{counters.stopped} stopped, {failed} failed"
    )


def best_lines(
    described: DescribeHyperParameterTuningJobResponse, best: DescribeTrainingJobResponse
) -> list[str]:
    """Say which training job is best, with what, how good it is, and where its model lies."""
    summary = described.best_training_job
    evaluated = described.objective_status_counters.succeeded
    tuned = summary.tuned_hyper_parameters
    static = {
        name: value
        for name, value in best.hyper_parameters.items()
        if name not in tuned and not name.startswith("_tuning_")
    }
    return [
        f"Best training job: {summary.training_job_name}",
        f"  {wording.objective(summary)}, the best of {evaluated}",
        *_section("Hyperparameters", {name: tuned[name] for name in sorted(tuned)}),
        *_section("Static hyperparameters", {name: static[name] for name in sorted(static)}),
        *_section(
            "Metrics",
            {
                metric.metric_name: wording.number(metric.value)
                for metric in best.final_metric_data_list
            },
        ),
        f"Model artifact: {best.model_artifacts.s3_model_artifacts or 'none'}",
    ]


def failure_lines(reason: str, failures: Iterable[FailedTrainingJob]) -> list[str]:
    """Say why a tuning job failed, with the failed training jobs' reasons and last lines."""
    lines = [f"FailureReason: {reason or 'none was given'}"]
    for failed in failures:
        lines.append(f"{failed.name}: {failed.reason}")
        lines += [f"    | {line}" for line in failed.lines]
    return lines


def _section(title: str, values: dict[str, str]) -> list[str]:
    if not values:
        return []
    width = max(len(name) for name in values)
    return [title, *(f"  {name.ljust(width)}  {value}" for name, value in values.items())]
