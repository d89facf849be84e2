"""``tunesmith tune``: run a tuning job from a request file, and show its best training job."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunesmith.errors import (
    DeadlineExceeded,
    InvalidState,
    ResourceInUse,
    ServerFailure,
    ServerUnavailable,
    TunesmithError,
)
from tunesmith_server.cli.outcome import (
    DEFAULT_SERVER,
    ExitStatus,
    Refusal,
    checked_address,
    explanation,
    foreign_server,
    is_foreign,
    json_option,
    reports_errors,
)
from tunesmith_server.cli.serve import DataDir, make_data_dir

if TYPE_CHECKING:
    from tunesmith import Client, Job
    from tunesmith_server.cli.embedded import EmbeddedServer
    from tunesmith_server.cli.request_check import CreateReading
    from tunesmith_server.domain.site import Site
    from tunesmith_server.settings import ServerSettings

_SITE_FILE = "tunesmith.toml"
_NAME = "HyperParameterTuningJobName"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Say where a tuning job is to run.

    Attributes:
        address: Of a server that is there; None: one is started for the command.
        site_file: Site configuration of a server that is started.
        data_dir: Its data directory; None: what the configuration says, or the user's.
    """

    address: str | None
    site_file: Path | None
    data_dir: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Connection:
    """Hold on to the server that a command uses.

    Attributes:
        client: Of the server.
        embedded: The server, if it ends with the command.
        stop_grace_s: How long a trial of that server may take to stop.
    """

    client: Client
    embedded: EmbeddedServer | None = None
    stop_grace_s: float | None = None


@click.command()
@click.argument("request_file", metavar="REQUEST", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--server",
    metavar="HOST:PORT",
    callback=checked_address,
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
    type=DataDir(),
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
    from tunesmith_server.cli.request_check import read_create, refuse_misfits
    from tunesmith_server.cli.request_file import read_request
    from tunesmith_server.domain.job_spec import is_caller_run

    if server is not None and (embedded or config is not None or data_dir is not None):
        raise click.UsageError("--embedded, --config and --data-dir are for a server of its own")
    data = read_request(request_file)
    if name is not None:
        data[_NAME] = name
    reading = read_create(data)
    beside = request_file.parent / _SITE_FILE
    place = _Place(
        address=server or (None if embedded or not _answers(DEFAULT_SERVER) else DEFAULT_SERVER),
        site_file=config or (beside if beside.is_file() else None),
        data_dir=data_dir,
    )
    if place.address is None and detach:
        raise Refusal(
            f"--detach needs a server that stays, and none answers at {DEFAULT_SERVER}: "
            "start one with `tunesmith serve`, or name one with --server"
        )
    refuse_misfits(reading, site=_site(place, reading))
    if is_caller_run(reading.message) and not detach:
        raise Refusal(
            "the request has no TrainingJobDefinition: nothing says what its trials run. Give one, "
            "or, where a program of yours runs the trials and asks the server for them, create it "
            "with --detach"
        )
    with _terminable(), _connection(place) as connection:
        job = _create(connection, reading, place)
        if detach:
            click.echo(job.arn)
            return
        click.echo(f"Tuning job {job.name} on {connection.client.address}: {job.arn}", err=True)
        status = _run(connection, job, as_json=as_json)
        if connection.embedded is not None:
            click.echo(
                f"kept in {connection.embedded.data_dir}; "
                f"`{_serve_command(connection.embedded, place)}` shows it",
                err=True,
            )
    sys.exit(status)


def _site(place: _Place, reading: CreateReading) -> Site | None:
    """Give the site of a server that is to be started, where a misfit request needs it."""
    if place.address is not None or not reading.violations:
        return None
    return _settings(place).site


def _settings(place: _Place) -> ServerSettings:
    from tunesmith_server.cli.embedded import LISTENS_AT
    from tunesmith_server.settings import SettingsError, load_settings

    try:
        return load_settings(
            place.site_file, data_dir=place.data_dir, grpc=LISTENS_AT, http=LISTENS_AT
        )
    except SettingsError as error:
        raise Refusal(str(error)) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Take being terminated for Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _connection(place: _Place) -> Iterator[_Connection]:
    import tunesmith

    with ExitStack() as stack:
        if place.address is not None:
            yield _Connection(client=stack.enter_context(tunesmith.connect(place.address)))
            return
        from tunesmith_server.cli.embedded import embedded_server

        settings = _settings(place)
        make_data_dir(settings.data_dir)
        started = stack.enter_context(
            embedded_server(
                config=place.site_file,
                data_dir=settings.data_dir,
                may_move=place.data_dir is None,
            )
        )
        client = stack.enter_context(tunesmith.connect(started.address))
        _show_unfinished(client)
        yield _Connection(
            client=client, embedded=started, stop_grace_s=settings.stop_grace.total_seconds()
        )


def _show_unfinished(client: Client) -> None:
    """Say which tuning jobs a server that was just started goes on with."""
    names = [
        summary.hyper_parameter_tuning_job_name
        for status in ("InProgress", "Stopping")
        for summary in client.list({"StatusEquals": status})
    ]
    if names:
        goes_on = "job goes" if len(names) == 1 else "jobs go"
        click.echo(f"{len(names)} unfinished {goes_on} on: {', '.join(names)}", err=True)


def _answers(address: str) -> bool:
    from tunesmith import connect
    from tunesmith.calls import CallSettings

    with connect(address, settings=CallSettings(deadline_s=2.0, retries=0)) as client:
        try:
            client.call("ListHyperParameterTuningJobs", {"MaxResults": 1})
        except ServerUnavailable as error:
            return bool(error.reason)  # a reason is a server's own word
        except TunesmithError as error:
            if is_foreign(error):
                instead = " With --embedded, this command starts one of its own."
                raise foreign_server(error, address, instead=instead) from None
    return True


def _create(connection: _Connection, reading: CreateReading, place: _Place) -> Job:
    request = reading.message
    try:
        return connection.client.create(request)
    except ResourceInUse:
        name = request.hyper_parameter_tuning_job_name
        raise Refusal(_taken(connection, name, place)) from None
    except (DeadlineExceeded, ServerFailure, ServerUnavailable):
        raise
    except TunesmithError as error:
        if is_foreign(error):
            raise
        hint, why = "", explanation(error)
        is_about_site = "tunesmith.toml" in why or "site configuration" in why
        if is_about_site and connection.embedded is None and place.site_file is not None:
            hint = (
                f"\nThe server at {connection.client.address} has a configuration of its own: "
                f"{place.site_file} is read by `tunesmith serve --config {place.site_file}`, or "
                "here with --embedded."
            )
        raise Refusal(why + hint) from None


def _taken(connection: _Connection, name: str, place: _Place) -> str:
    """Say whose name it is that is taken, and what can be done."""
    from tunesmith.aio import ENDED
    from tunesmith_server.cli import wording

    status = connection.client.describe(name).hyper_parameter_tuning_job_status
    lines = [f"there is a tuning job {name} already; it is {wording.tuning_status(status)}."]
    if status not in ENDED:
        first = ""
        if connection.embedded is not None:
            first = f"After `{_serve_command(connection.embedded, place)}`: "
        lines.append(
            f"{first}`tunesmith jobs watch {name}` shows how it goes on, "
            f"`tunesmith jobs stop {name}` stops it."
        )
    lines.append("Give this one another name with --name NAME.")
    return "\n".join(lines)


def _serve_command(embedded: EmbeddedServer, place: _Place) -> str:
    config = "" if place.site_file is None else f" --config {shlex.quote(str(place.site_file))}"
    return f"tunesmith serve --data-dir {shlex.quote(str(embedded.data_dir))}{config}"


def _run(connection: _Connection, job: Job, *, as_json: bool) -> ExitStatus:
    """Watch a job to its end and report it."""
    from tunesmith_server.cli.display import follow, standard_error
    from tunesmith_server.cli.progress import KINDS, Progress
    from tunesmith_server.cli.report import report

    progress = Progress(job.describe())
    console = standard_error()
    interrupted = False
    try:
        follow(progress, job.watch(kinds=KINDS), console=console)
    except KeyboardInterrupt:
        if connection.embedded is None:
            click.echo(
                f"Stopped watching; {job.name} goes on. See `tunesmith jobs watch {job.name}`.",
                err=True,
            )
            raise
        interrupted = True
        click.echo(
            f"Stopping the tuning job, which may take up to {connection.stop_grace_s:g} s; "
            "Ctrl-C again leaves at once.",
            err=True,
        )
        # It may have ended by itself meanwhile.
        with suppress(InvalidState):
            job.stop()
        rest = job.watch(after_sequence=progress.last_sequence, kinds=KINDS)
        follow(progress, rest, console=console)
    status = report(connection.client, job.describe(), progress, as_json=as_json)
    return ExitStatus.INTERRUPTED if interrupted else status
