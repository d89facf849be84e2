"""``tunesmith runner``: run trials on this host for a server."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.cli.serve import DataDir, make_data_dir

if TYPE_CHECKING:
    from tunesmith.runner import RunnerSettings, S3Endpoint


@click.command()
@click.option("--server", metavar="HOST:PORT", help="The server to get trials from.")
@click.option("--server-file", type=click.Path(path_type=Path), hidden=True)
@click.option(
    "--gpus",
    metavar="LIST",
    help="GPUs that trials may use, as indices or UUIDs with commas, or `none`. Default: all.",
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many trials run at a time. Default: one for each CPU.",
)
@click.option("--label", "labels", multiple=True, metavar="K=V", help="For placement; repeatable.")
@click.option(
    "--bucket",
    "buckets",
    multiple=True,
    metavar="NAME=DIR",
    help="A directory that stands for a bucket: s3://NAME/... leads there. Repeatable.",
)
@click.option(
    "--s3",
    "s3_buckets",
    multiple=True,
    metavar="NAME[,K=V]...",
    help="A bucket that is reached over the network, `*` for all others; K is endpoint_url, region "
    "or profile. Repeatable.",
)
@click.option(
    "--file-root",
    "file_roots",
    multiple=True,
    metavar="DIR",
    help="A directory that file:// paths of requests may lead to, links resolved. Repeatable. "
    "Default: they may lead anywhere.",
)
@click.option("--no-file-uris", is_flag=True, hidden=True)
@click.option(
    "--data-dir",
    type=DataDir(),
    help="Where trials run. Default: under the user's data directory.",
)
@click.option(
    "--name", default=socket.gethostname, help="For people and logs. Default: the host's."
)
@click.option("--exit-when-orphaned-s", type=click.FloatRange(min=0), hidden=True)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least of what is logged, on standard error.",
)
def runner(
    *,
    server: str | None,
    server_file: Path | None,
    gpus: str | None,
    slots: int | None,
    labels: tuple[str, ...],
    buckets: tuple[str, ...],
    s3_buckets: tuple[str, ...],
    file_roots: tuple[str, ...],
    no_file_uris: bool,
    data_dir: Path | None,
    name: str,
    exit_when_orphaned_s: float | None,
    log_level: str,
) -> None:
    """Run trials on this host for a server.

    Keeps looking for the server while it is away. SIGTERM or Ctrl-C stops the trials that run
    here and ends the runner.
    """
    from tunesmith.runner import RunnerSettings

    where = server_file if server is None else server
    if where is None or (server is not None and server_file is not None):
        raise click.UsageError("say where the server is with --server HOST:PORT")
    try:
        settings = RunnerSettings(
            server=where,
            data_dir=data_dir or _default_data_dir(),
            name=name,
            slots=slots or len(os.sched_getaffinity(0)),
            gpus=_gpu_list(gpus),
            labels=_pairs(labels, option="--label", form="K=V"),
            buckets=s3_endpoints(s3_buckets)
            | {
                bucket: Path(directory).absolute()
                for bucket, directory in _pairs(buckets, option="--bucket", form="NAME=DIR").items()
            },
            # None of them, of a server that opens none, is not the same as none said.
            file_roots=(
                tuple(Path(root).absolute() for root in file_roots)
                if file_roots or no_file_uris
                else None
            ),
            exit_when_orphaned_s=exit_when_orphaned_s,
        )
    except ValueError as error:
        raise Refusal(str(error)) from None
    make_data_dir(settings.data_dir)
    set_up_log(log_level)
    _run(settings)


def set_up_log(level: str) -> None:
    """Log to standard error, without what libraries for S3 have to say of each request.

    Their debugging output has signed headers in it, session tokens included.
    """
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if level == "debug":
        for library in ("boto3", "botocore", "s3transfer", "urllib3"):
            logging.getLogger(library).setLevel(logging.INFO)


def _run(settings: RunnerSettings) -> None:
    from tunesmith.runner import RunnerError

    try:
        asyncio.run(_until_stopped(settings))
    except (RunnerError, OSError) as error:
        raise Refusal(str(error)) from None


async def _until_stopped(settings: RunnerSettings) -> None:
    from tunesmith.runner import run_runner

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_runner(settings, stop=stop)


def _default_data_dir() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("tunesmith", appauthor=False)) / "runner"


def _gpu_list(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    if text == "none":
        return ()
    return tuple(part.strip() for part in text.split(",") if part.strip())


def s3_endpoints(texts: tuple[str, ...]) -> dict[str, Path | S3Endpoint]:
    """Read what ``--s3`` says: how buckets are reached, by name.

    Raises:
        BadParameter: One is not ``NAME[,K=V]...``, or a value cannot be.
    """
    from tunesmith.runner import S3Endpoint
    from tunesmith_server.bucket_settings import endpoint_fault, name_fault

    form, option = "NAME[,K=V]...", "--s3"
    endpoints: dict[str, Path | S3Endpoint] = {}
    for text in texts:
        bucket, *said = text.split(",")
        members = _pairs(tuple(said), option=option, form=form)
        for member, value in members.items():
            if member not in {"endpoint_url", "region", "profile"}:
                raise click.BadParameter(
                    f"{member!r} is neither endpoint_url, region nor profile", param_hint=option
                )
            fault = endpoint_fault(value) if member == "endpoint_url" else name_fault(value)
            if fault is not None:
                # Not shown: there may be a password in it.
                raise click.BadParameter(f"{member} is wrong; {fault}", param_hint=option)
        if not bucket:
            raise click.BadParameter(f"{text!r} is not {form}", param_hint=option)
        endpoints[bucket] = S3Endpoint(**members)
    return endpoints


def _pairs(texts: tuple[str, ...], *, option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{text!r} is not {form}", param_hint=option)
        pairs[key] = value
    return pairs
