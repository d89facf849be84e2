"""What is said about a tuning job that has ended: the best training job, or why it failed."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import click

from tunesmith import Client, to_aws
from tunesmith.errors import ResourceNotFound
from tunesmith.v1.training_job_operations_pb2 import DescribeTrainingJobResponse
from tunesmith.v1.tuning_job_pb2 import (
    COMPLETION_CRITERION_MAX_NUMBER_OF_TRAINING_JOBS,
    CompletionCriterion,
)
from tunesmith.v1.tuning_job_pb2 import HyperParameterTuningJobStatus as Status
from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse
from tunesmith_server.cli import wording
from tunesmith_server.cli.outcome import ExitStatus
from tunesmith_server.cli.progress import (
    FailedTrainingJob,
    Progress,
    WithoutObjective,
    objective_metrics,
)
from tunesmith_server.domain.names import OUTPUT_MARK

_LAST_LINES: Final = 10
#: The last lines of a failed training job's output lie within so many events before its end,
#: unless it was silent for long.
_NEAR: Final = 1000


def report(
    client: Client,
    described: DescribeHyperParameterTuningJobResponse,
    progress: Progress,
    *,
    as_json: bool,
) -> ExitStatus:
    """Print how a tuning job ended, and say so as an exit status.

    Args:
        client: Of its server.
        described: The tuning job.
        progress: What was seen of it.
        as_json: Print the description's wire form instead of text.
    """
    click.echo(outcome_line(described), err=as_json)
    if progress.has_several:
        click.echo(division_line(progress), err=as_json)
    if as_json:
        click.echo(json.dumps(to_aws(described), indent=2))
    elif described.HasField("best_training_job"):
        best = _described(client, described.best_training_job.training_job_name)
        click.echo("\n".join(best_lines(described, best)))
    if not as_json:
        for line in overall_best_lines(described):
            click.echo(line)
    if progress.without_objective and not as_json:
        has_best = described.HasField("best_training_job")
        lines = without_objective_lines(progress.without_objective, has_best=has_best)
        click.echo("\n".join(lines), err=True)
    completed = Status.HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED
    if described.hyper_parameter_tuning_job_status == completed:
        if described.HasField("best_training_job"):
            return ExitStatus.DONE
        click.echo(no_best_line(described), err=True)
        return ExitStatus.FAILED
    if described.failure_reason or progress.failures:
        last_lines = {
            failed.name: _last_lines(client, progress.name, failed) for failed in progress.failures
        }
        lines = failure_lines(described.failure_reason, progress.failures, last_lines)
        click.echo("\n".join(lines), err=True)
    return ExitStatus.FAILED


def _described(client: Client, training_job: str) -> DescribeTrainingJobResponse | None:
    """Describe a training job; None: it was deleted."""
    try:
        return client.describe_training_job(training_job)
    except ResourceNotFound:
        return None


def _last_lines(client: Client, tuning_job: str, failed: FailedTrainingJob) -> Sequence[str]:
    """Ask for the end of a failed training job's output: nothing, if it was deleted."""
    near = max(0, failed.sequence - _NEAR)
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    for after in (near, 0) if near else (0,):
        try:
            for event in client.watch(
                tuning_job, after_sequence=after, training_job_name=failed.name, kinds=("Log",)
            ):
                if event.log.training_job_name == failed.name:
                    lines.extend(event.log.lines)
        except ResourceNotFound:
            break
        if lines:
            break
    return lines


def outcome_line(described: DescribeHyperParameterTuningJobResponse) -> str:
    """Say in one line how a tuning job ended."""
    counters = described.training_job_status_counters
    failed = counters.retryable_error + counters.non_retryable_error
    ended_at = described.hyper_parameter_tuning_end_time.ToDatetime()
    took_s = (ended_at - described.creation_time.ToDatetime()).total_seconds()
    status = wording.tuning_status(described.hyper_parameter_tuning_job_status)
    met = described.tuning_job_completion_details.completion_criterion
    # That all its training jobs have run is seen from their number.
    if met > COMPLETION_CRITERION_MAX_NUMBER_OF_TRAINING_JOBS:
        status += f" ({wording.spelled(CompletionCriterion.DESCRIPTOR, met)})"
    return (
        f"Tuning job {described.hyper_parameter_tuning_job_name}: {status} after "
        f"{wording.span(took_s)}; training jobs: {counters.completed} completed, "
        f"{counters.stopped} stopped, {failed} failed"
    )


def division_line(progress: Progress) -> str:
    """Say how many training jobs each of several definitions has had."""
    ended = progress.ended_by_definition
    counts = [f"{wording.plain(name)} {ended[name]}" for name in progress.metrics]
    return f"Training jobs by definition: {', '.join(counts)}"


def best_lines(
    described: DescribeHyperParameterTuningJobResponse, best: DescribeTrainingJobResponse | None
) -> list[str]:
    """Say which training job is best, with what, how good it is, and where its model lies.

    Args:
        described: Its tuning job.
        best: The training job; None: it was deleted, and only its summary is left.
    """
    summary = described.best_training_job
    evaluated = described.objective_status_counters.succeeded
    tuned = summary.tuned_hyper_parameters
    static = {
        name: value
        for name, value in (best.hyper_parameters.items() if best is not None else ())
        if name not in tuned and not name.startswith("_tuning_")
    }
    several = len(described.training_job_definitions) > 1
    definition = wording.plain(summary.training_job_definition_name)
    lines = [
        f"Best training job: {summary.training_job_name}",
        f"  {wording.objective(summary)}, the best of {evaluated}",
        *([f"Definition: {definition}"] if several else []),
        *_section("Hyperparameters", {name: tuned[name] for name in sorted(tuned)}),
    ]
    if best is None:
        return [*lines, "It was deleted since; its model artifact stays where it was stored."]
    return [
        *lines,
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


def overall_best_lines(described: DescribeHyperParameterTuningJobResponse) -> list[str]:
    """Say which training job is the best of a warm-started tuning job and its parents, if not its own."""
    overall = described.overall_best_training_job
    name = overall.training_job_name
    if not name or name == described.best_training_job.training_job_name:
        return []
    whose = f"{name} of {overall.tuning_job_name}"
    return [f"Best of all, its parents' included: {whose}, {wording.objective(overall)}"]


def no_best_line(described: DescribeHyperParameterTuningJobResponse) -> str:
    """Say that a tuning job has completed without a best training job, and what may help."""
    names = sorted({name for name in objective_metrics(described).values() if name})
    metric = f" {' or '.join(repr(wording.plain(name)) for name in names)}" if names else ""
    completed = described.training_job_status_counters.completed
    return (
        f"No training job gave the objective{metric}: {completed} completed without it, or with a "
        "last value that is no finite number; try `tunesmith check-metrics` on one's output, "
        "`tunesmith jobs logs TRAINING_JOB`"
    )


def without_objective_lines(ended: Sequence[WithoutObjective], *, has_best: bool) -> list[str]:
    """Say of the last training job that ended without an objective why, and of how many others.

    Args:
        ended: Those that completed or were stopped without one, at least one.
        has_best: Others have given one, so that a line is enough.
    """
    last = ended[-1]
    first, *rest = wording.several_lines(last.reason)
    lines = [f"{last.name}: {first}"]
    if not has_best:
        lines += [f"    | {line}" for line in rest]
    others = len(ended) - 1
    if others:
        jobs = "training job has" if others == 1 else "training jobs have"
        lines.append(f"{others} more {jobs} no objective; `tunesmith jobs describe` says why")
    return lines


def failure_lines(
    reason: str,
    failures: Iterable[FailedTrainingJob],
    last_lines: Mapping[str, Sequence[str]],
) -> list[str]:
    """Say why a tuning job failed, and its failed training jobs.

    Args:
        reason: The tuning job's.
        failures: The training jobs.
        last_lines: Of their output, by name, where they are known.
    """
    lines = [f"FailureReason: {wording.plain(reason) or 'none was given'}"]
    for failed in failures:
        reason, _, output = failed.reason.partition(OUTPUT_MARK)
        lines.append(f"{failed.name}: {wording.plain(reason)}")
        # The reason has less room for it than there is here.
        told = last_lines.get(failed.name) or output.removesuffix('"').splitlines()
        lines += [f"    | {wording.log_line(line)}" for line in told]
    return lines


def _section(title: str, values: dict[str, str]) -> list[str]:
    if not values:
        return []
    shown = {wording.plain(name): wording.plain(value) for name, value in values.items()}
    width = max(len(name) for name in shown)
    return [title, *(f"  {name.ljust(width)}  {value}" for name, value in shown.items())]
