"""``tunesmith tune``: run a tuning job from a request file, and show its best training job."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.errors import InvalidState, ResourceInUse, ServerUnavailable, TunesmithError
from tunesmith_server.cli.outcome import (
    DEFAULT_SERVER,
    ExitStatus,
    Refusal,
    explanation,
    json_option,
    reports_errors,
)

if TYPE_CHECKING:
    from tunesmith import Client, Job
    from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse
    from tunesmith_server.cli.progress import Progress

_SITE_FILE = "tunesmith.toml"
_NAME = "HyperParameterTuningJobName"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Connection:
    """Hold on to the server that a command uses.

    Attributes:
        client: Of the server.
        embedded: Whether the server ends with the command.
    """

    client: Client
    embedded: bool


@click.command()
@click.argument("request_file", metavar="REQUEST", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--server",
    metavar="HOST:PORT",
    help=f"The server. Default: {DEFAULT_SERVER}, or one of its own.",
)
@click.option("--detach", is_flag=True, help="Print the job's ARN and leave; the server goes on.")
@click.option("--name", help=f"Takes the place of the request's {_NAME}.")
@click.option(
    "--embedded", is_flag=True, help="Start a server of its own even if one runs already."
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Site configuration of an embedded server. Default: {_SITE_FILE} beside REQUEST, if there.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of an embedded server. Default: the user's.",
)
@json_option
@reports_errors
def tune(
    *,
    request_file: Path,
    server: str | None,
    detach: bool,
    name: str | None,
    embedded: bool,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Run a tuning job and show its best training job.

    REQUEST is a CreateHyperParameterTuningJob request as JSON or YAML, exactly as the AWS CLI's
    --cli-input-json takes it; `-` reads it from standard input.

    Without --server, a server on the default port is used; if none is there, one is started for
    the duration of the command, with what it stores kept in its data directory. Ctrl-C stops a
    job on such a server; on any other it only stops watching.
    """
    from tunesmith_server.cli.request_file import read_request

    if server is not None and (embedded or config is not None or data_dir is not None):
        raise click.UsageError("--embedded, --config and --data-dir are for a server of its own")
    request = read_request(request_file)
    if name is not None:
        request[_NAME] = name
    _check_shape(request)
    beside = request_file.parent / _SITE_FILE
    site_file = config or (beside if beside.is_file() else None)
    connecting = _connection(
        server, embedded=embedded, detach=detach, site_file=site_file, data_dir=data_dir
    )
    with _interruptible(), connecting as connection:
        job = _create(connection, request, site_file=site_file)
        if detach:
            click.echo(job.arn)
            return
        click.echo(f"Tuning job {job.name} on {connection.client.address}: {job.arn}", err=True)
        status = _run(connection, job, as_json=as_json)
    sys.exit(status)


def _check_shape(request: dict[str, Any]) -> None:
    """Refuse a request that is no request before a server is started for it."""
    from tunesmith.aws_json import from_aws
    from tunesmith.v1.tuning_service_pb2 import CreateHyperParameterTuningJobRequest

    from_aws(request, CreateHyperParameterTuningJobRequest)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Exit as interrupted programs do; being terminated counts as Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(ExitStatus.INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _connection(
    server: str | None,
    *,
    embedded: bool,
    detach: bool,
    site_file: Path | None,
    data_dir: Path | None,
) -> Iterator[_Connection]:
    import tunesmith

    with ExitStack() as stack:
        if server is not None:
            client = stack.enter_context(tunesmith.connect(server))
            yield _Connection(client=client, embedded=False)
            return
        if not embedded and _answers(DEFAULT_SERVER):
            client = stack.enter_context(tunesmith.connect(DEFAULT_SERVER))
            yield _Connection(client=client, embedded=False)
            return
        if detach:
            raise Refusal(
                f"--detach needs a server that stays, and none answers at {DEFAULT_SERVER}: "
                "start one with `tunesmith serve`, or name one with --server"
            )
        from tunesmith_server.cli.embedded import embedded_server

        started = stack.enter_context(embedded_server(config=site_file, data_dir=data_dir))
        client = stack.enter_context(tunesmith.connect(started.address))
        yield _Connection(client=client, embedded=True)


def _answers(address: str) -> bool:
    from tunesmith import connect
    from tunesmith.calls import CallSettings

    with connect(address, settings=CallSettings(deadline_s=2.0, retries=0)) as client:
        try:
            client.call("ListHyperParameterTuningJobs", {"MaxResults": 1})
        except ServerUnavailable:
            return False
        except TunesmithError:
            return True
    return True


def _create(connection: _Connection, request: dict[str, Any], *, site_file: Path | None) -> Job:
    try:
        return connection.client.create(request)
    except ResourceInUse as error:
        raise Refusal(f"{error}\nGive the job another name with --name NAME.") from None
    except ServerUnavailable:
        raise
    except TunesmithError as error:
        hint = ""
        if not connection.embedded and site_file is not None:
            hint = (
                f"\nThe server at {connection.client.address} has a configuration of its own: "
                f"{site_file} is read by `tunesmith serve --config {site_file}`, or here with "
                "--embedded."
            )
        raise Refusal(explanation(error) + hint) from None


def _run(connection: _Connection, job: Job, *, as_json: bool) -> ExitStatus:
    """Watch a job to its end and report it."""
    from tunesmith_server.cli.display import follow, standard_error
    from tunesmith_server.cli.progress import Progress

    progress = Progress(job.describe())
    console = standard_error()
    interrupted = False
    try:
        follow(progress, job.watch(), console=console)
    except KeyboardInterrupt:
        if not connection.embedded:
            click.echo(
                f"Stopped watching; {job.name} goes on. See `tunesmith jobs watch {job.name}`.",
                err=True,
            )
            raise
        interrupted = True
        click.echo("Stopping the tuning job; Ctrl-C again leaves at once.", err=True)
        # It may have ended by itself meanwhile.
        with suppress(InvalidState):
            job.stop()
        follow(progress, job.watch(after_sequence=progress.last_sequence), console=console)
    described = job.describe()
    status = report(connection.client, described, progress, as_json=as_json)
    return ExitStatus.INTERRUPTED if interrupted else status


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
    from tunesmith import to_aws
    from tunesmith.v1.tuning_job_pb2 import HyperParameterTuningJobStatus as Status
    from tunesmith_server.cli.report import best_lines, failure_lines, outcome_line

    click.echo(outcome_line(described), err=as_json)
    if as_json:
        click.echo(json.dumps(to_aws(described), indent=2))
    elif described.HasField("best_training_job"):
        best = client.describe_training_job(described.best_training_job.training_job_name)
        click.echo("\n".join(best_lines(described, best)))
    if (
        described.hyper_parameter_tuning_job_status
        == Status.HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED
    ):
        return ExitStatus.DONE
    if described.failure_reason or progress.failures:
        click.echo("\n".join(failure_lines(described.failure_reason, progress.failures)), err=True)
    return ExitStatus.FAILED
