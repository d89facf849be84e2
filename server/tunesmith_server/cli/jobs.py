"""``tunesmith jobs …``: the life of tuning jobs and training jobs from a terminal."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from tunesmith.errors import ResourceNotFound
from tunesmith_server.cli.outcome import ExitStatus, json_option, reports_errors, server_option

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tunesmith import Client
    from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse
    from tunesmith.v1.tuning_job_pb2 import HyperParameterTrainingJobSummary

_TRAINING_JOB_NAME = re.compile(r"^(?P<tuning_job>.+)-[0-9]{3,}-[0-9a-f]{8}$")

#: Columns that are left out where they would be empty.
_WHERE_THERE_IS_ANY = frozenset({"DEFINITION", "WHY STOPPED EARLY", "WHY NO OBJECTIVE"})


@click.group()
def jobs() -> None:
    """List, describe, watch, stop, delete and export jobs."""


@jobs.command("list")
@click.option("--status", metavar="STATUS", help="Only jobs in this status, e.g. InProgress.")
@click.option("--name-contains", metavar="TEXT", help="Only jobs with this in their name.")
@server_option
@json_option
@reports_errors
def list_jobs(*, status: str | None, name_contains: str | None, server: str, as_json: bool) -> None:
    """List tuning jobs, the newest first."""
    from tunesmith_server.cli import wording

    query = {
        "StatusEquals": None if status is None else wording.tuning_status_called(status),
        "NameContains": name_contains,
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
    }
    with _connect(server) as client:
        summaries = list(client.list(query))
    if as_json:
        _print_list("HyperParameterTuningJobSummaries", summaries)
        return
    rows = []
    for summary in summaries:
        counters = summary.training_job_status_counters
        rows.append(
            (
                summary.hyper_parameter_tuning_job_name,
                wording.tuning_status(summary.hyper_parameter_tuning_job_status),
                wording.moment(summary.creation_time),
                f"{counters.in_progress}",
                f"{counters.completed}",
                f"{counters.stopped}",
                f"{counters.retryable_error + counters.non_retryable_error}",
            )
        )
    headers = ("NAME", "STATUS", "CREATED", "IN PROGRESS", "COMPLETED", "STOPPED", "FAILED")
    click.echo(wording.table(headers, rows))


@jobs.command()
@click.argument("name")
@server_option
@json_option
@reports_errors
def describe(*, name: str, server: str, as_json: bool) -> None:
    """Describe a tuning job or a training job."""
    with _connect(server) as client:
        described: Message
        if _is_training_job(client, name):
            described = client.describe_training_job(name)
        else:
            described = client.describe(name)
    if as_json:
        from tunesmith import to_aws

        click.echo(json.dumps(to_aws(described), indent=2))
    else:
        from tunesmith_server.cli import layout

        click.echo("\n".join(layout.lines(described)))


@jobs.command()
@click.argument("name")
@server_option
@json_option
@reports_errors
def watch(*, name: str, server: str, as_json: bool) -> None:
    """Watch a tuning job until it ends. With --json, every event is a line on standard output."""
    with _connect(server) as client:
        status = _watch(client, name, as_json=as_json)
    sys.exit(status)


@jobs.command()
@click.argument("name")
@server_option
@json_option
@reports_errors
def stop(*, name: str, server: str, as_json: bool) -> None:
    """Stop a tuning job with its training jobs, or one training job."""
    done = f"{name} is stopping."
    with _connect(server) as client:
        if _is_training_job(client, name):
            answer = client.call("StopTrainingJob", {"TrainingJobName": name})
            if _is_stopped(client, name):
                done = f"{name} is stopped."
        else:
            answer = client.call(
                "StopHyperParameterTuningJob", {"HyperParameterTuningJobName": name}
            )
    _report_change(answer, done, as_json=as_json)


@jobs.command()
@click.argument("name")
@server_option
@json_option
@reports_errors
def delete(*, name: str, server: str, as_json: bool) -> None:
    """Delete a tuning job that has ended, or one such training job; the rest and artifacts stay."""
    with _connect(server) as client:
        if _is_training_job(client, name):
            answer = client.call("DeleteTrainingJob", {"TrainingJobName": name})
        else:
            answer = client.call(
                "DeleteHyperParameterTuningJob", {"HyperParameterTuningJobName": name}
            )
    _report_change(answer, f"{name} is deleted.", as_json=as_json)


@jobs.command()
@click.argument("name")
@server_option
@json_option
@reports_errors
def trials(*, name: str, server: str, as_json: bool) -> None:
    """List a tuning job's training jobs, in the order of their launch.

    Those that were stopped early, failed, or ended without an objective, say why.
    """
    from tunesmith_server.cli import wording
    from tunesmith_server.cli.progress import duration, has_duration

    with _connect(server) as client:
        summaries = list(client.training_jobs(name, {"SortBy": "CreationTime"}))
        statuses = [] if as_json else [_status_of(client, summary) for summary in summaries]
    if as_json:
        _print_list("TrainingJobSummaries", summaries)
        return
    columns = {
        "NAME": [summary.training_job_name for summary in summaries],
        "DEFINITION": [wording.plain(each.training_job_definition_name) for each in summaries],
        "STATUS": statuses,
        "OBJECTIVE": [wording.objective(summary) for summary in summaries],
        "TIME": [
            wording.span(duration(each).total_seconds())
            if each.HasField("training_end_time") and has_duration(each)
            else ""
            for each in summaries
        ],
        "HYPERPARAMETERS": [wording.parameters(each.tuned_hyper_parameters) for each in summaries],
        "WHY STOPPED EARLY": [wording.why_stopped(summary) for summary in summaries],
        "WHY NO OBJECTIVE": [wording.why_no_success(summary) for summary in summaries],
    }
    shown = {
        header: cells
        for header, cells in columns.items()
        if any(cells) or header not in _WHERE_THERE_IS_ANY
    }
    click.echo(wording.table(list(shown), list(zip(*shown.values(), strict=True))))


@jobs.command()
@click.argument("name")
@server_option
@json_option
@reports_errors
def logs(*, name: str, server: str, as_json: bool) -> None:
    """Print the output of a training job, or of all those of a tuning job, until it ends.

    With --json, every event that brings output is a line.
    """
    from tunesmith import to_aws
    from tunesmith_server.cli.wording import log_line

    shown = log_line if sys.stdout.isatty() else str
    with _connect(server) as client:
        for prefix, event in _logs(client, name):
            if as_json:
                lines = [json.dumps(to_aws(event))]
            else:
                lines = [shown(f"{prefix}{line}") for line in event.log.lines]
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()


@jobs.command()
@click.argument("name")
@click.option(
    "--curves",
    "with_curves",
    is_flag=True,
    help="A row for each value of each metric, of a tuning job that has ended.",
)
@server_option
@json_option
@reports_errors
def export(*, name: str, with_curves: bool, server: str, as_json: bool) -> None:
    """Print a tuning job's training jobs as CSV: hyperparameters, metrics, times.

    With --curves, every value that they emitted, as `tunesmith replay` reads it.
    """
    if with_curves and as_json:
        raise click.UsageError("--curves prints CSV; leave --json out")
    if with_curves:
        from tunesmith_server.cli.job_curves import curve_rows

        with _connect(server) as client:
            rows = curve_rows(client, name)
        _print_csv(rows)
        return
    from tunesmith_server.cli.job_rows import job_row

    with _connect(server) as client:
        summaries = list(client.training_jobs(name, {"SortBy": "CreationTime"}))
        described = [client.describe_training_job(each.training_job_name) for each in summaries]
    if as_json:
        from tunesmith import to_aws

        click.echo(json.dumps([to_aws(training_job) for training_job in described], indent=2))
        return
    rows = [
        job_row(training_job, summary)
        for training_job, summary in zip(described, summaries, strict=True)
    ]
    _print_csv(rows)


def _print_csv(rows: list[dict[str, str]]) -> None:
    columns = _columns(rows)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # For a program to read, whatever the terminal's encoding.
        sys.stdout.reconfigure(encoding="utf-8")
    writer = csv.DictWriter(sys.stdout, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _connect(server: str) -> Client:
    from tunesmith import connect

    return connect(server)


def _is_training_job(client: Client, name: str) -> bool:
    """Tell what a name names; a tuning job may be called like a training job."""
    if not _TRAINING_JOB_NAME.match(name):
        return False
    try:
        client.describe_training_job(name)
    except ResourceNotFound:
        return False
    return True


def _is_stopped(client: Client, name: str) -> bool:
    """Tell whether a training job ended at its stop, as one does that waits or rests."""
    from tunesmith.v1.training_job_pb2 import TrainingJobStatus

    try:
        described = client.describe_training_job(name)
    except ResourceNotFound:  # deleted since
        return True
    return described.training_job_status == TrainingJobStatus.TRAINING_JOB_STATUS_STOPPED


def _watch(client: Client, name: str, *, as_json: bool) -> ExitStatus:
    from tunesmith import to_aws
    from tunesmith_server.cli.display import follow, standard_error
    from tunesmith_server.cli.progress import KINDS, Progress
    from tunesmith_server.cli.report import report

    progress = Progress(client.describe(name))
    if not as_json:
        follow(progress, client.watch(name, kinds=KINDS), console=standard_error())
        return report(client, client.describe(name), progress, as_json=False)
    for event in client.watch(name):
        progress.apply(event)
        click.echo(json.dumps(to_aws(event)))
    has_best = progress.has_succeeded and progress.best is not None
    return ExitStatus.DONE if has_best else ExitStatus.FAILED


def _logs(client: Client, name: str) -> Iterator[tuple[str, WatchHyperParameterTuningJobResponse]]:
    """Give the events that bring output, each after what its lines begin with."""
    from tunesmith_server.cli.progress import ENDED_TRAINING

    match = _TRAINING_JOB_NAME.match(name)
    only = name if match is not None and _is_training_job(client, name) else None
    tuning_job = match["tuning_job"] if only is not None and match is not None else name
    # A training job's own events tell when there is no more to come.
    kinds = ("Log",) if only is None else ("Log", "TrainingJob")
    for event in client.watch(tuning_job, training_job_name=only, kinds=kinds):
        if event.HasField("log") and only in (None, event.log.training_job_name):
            yield "" if only else f"{event.log.training_job_name}  ", event
        changed = event.training_job.summary
        if changed.training_job_name == only and changed.training_job_status in ENDED_TRAINING:
            return


def _report_change(answer: Message, done: str, *, as_json: bool) -> None:
    from tunesmith import to_aws

    if as_json:
        click.echo(json.dumps(to_aws(answer)))
    click.echo(done, err=True)


def _print_list(member: str, summaries: Iterable[Message]) -> None:
    from tunesmith import to_aws

    click.echo(json.dumps({member: [to_aws(summary) for summary in summaries]}, indent=2))


def _status_of(client: Client, summary: HyperParameterTrainingJobSummary) -> str:
    """Write a training job's status; one that waits or rests is told from one that runs."""
    from tunesmith.v1.training_job_pb2 import SecondaryStatus, TrainingJobStatus
    from tunesmith_server.cli import wording

    status = wording.training_status(summary.training_job_status)
    in_progress = TrainingJobStatus.TRAINING_JOB_STATUS_IN_PROGRESS
    if summary.training_job_status != in_progress or summary.HasField("training_start_time"):
        return status
    described = client.describe_training_job(summary.training_job_name)
    shown = {
        SecondaryStatus.SECONDARY_STATUS_PENDING: f"{status} (waiting)",
        SecondaryStatus.SECONDARY_STATUS_INTERRUPTED: f"{status} (paused)",
    }
    return shown.get(described.secondary_status, status)


def _columns(rows: list[dict[str, str]]) -> list[str]:
    """Give all rows' columns: ours in their order, then hyperparameters and metrics by name."""
    seen = dict.fromkeys(column for row in rows for column in row)
    ours = [column for column in seen if "." not in column]
    theirs = sorted(column for column in seen if "." in column)
    return [*ours, *theirs]
