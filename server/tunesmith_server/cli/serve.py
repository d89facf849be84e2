"""``tunesmith serve``: run the server until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.engine.embedded_runner import GRPC_FORK_SUPPORT
from tunesmith_server.private_files import is_open_to_others, make_private

if TYPE_CHECKING:
    from tunesmith_server.app import Served
    from tunesmith_server.settings import ServerSettings

logger = logging.getLogger(__name__)

#: Tells ``tune``, which starts a server of its own, to choose another data directory.
DATA_DIR_IN_USE: Final = 75


class DataDir(click.Path):
    """Take a data directory; an empty name, which would be the current directory, is none."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Give the path of a directory, whether it is there or not."""
        if not os.fspath(value):
            self.fail("the name of the directory is empty", param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


class _DataDirInUse(Refusal):
    exit_code = DATA_DIR_IN_USE


@click.command()
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The site configuration, a TOML file. Without it everything has a default.",
)
@click.option(
    "--data-dir",
    type=DataDir(),
    help="Where everything that must last is kept. Default: the user's data directory.",
)
@click.option(
    "--grpc",
    metavar="HOST:PORT",
    help="Where to serve gRPC; port 0 picks a free one. Default: 127.0.0.1:7070.",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Where to serve AWS clients over HTTP; port 0 picks a free one. Default: 127.0.0.1:7071.",
)
@click.option(
    "--no-runner", is_flag=True, help="Run no trials here; runners connect by themselves."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least of what is logged, on standard error.",
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def serve(
    *,
    config: Path | None,
    data_dir: Path | None,
    grpc: str | None,
    http: str | None,
    no_runner: bool,
    log_level: str,
    until_stdin_closes: bool,
) -> None:
    """Run the server, with a runner for this host's trials.

    Prints one line `ready grpc=HOST:PORT http=HOST:PORT` to standard output once it serves.
    SIGTERM or Ctrl-C stops it cleanly.
    """
    from tunesmith_server.settings import SettingsError, load_settings

    try:
        settings = load_settings(
            config, data_dir=data_dir, grpc=grpc, http=http, runner=not no_runner
        )
    except SettingsError as error:
        raise Refusal(str(error)) from None
    make_data_dir(settings.data_dir)
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if config is not None and settings.access_keys and is_open_to_others(config):
        logger.warning(
            "everybody on this host may read %s, which has access keys in it: chmod 600 it", config
        )
    _run(settings, until_stdin_closes=until_stdin_closes)


def make_data_dir(data_dir: Path) -> None:
    """Make a data directory, for its user alone, if it is not there.

    Raises:
        Refusal: It can't be made, or not be written to.
    """
    try:
        make_private(data_dir)
        reason = None if os.access(data_dir, os.W_OK | os.X_OK) else "it can't be written to"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise Refusal(
            f"the data directory {data_dir} can't be used: {reason}; name another one with "
            "--data-dir DIR"
        )


def _run(settings: ServerSettings, *, until_stdin_closes: bool) -> None:
    # gRPC's fork handlers serve children that go on with its channels; the only child here becomes
    # another program at once. Read when gRPC is first imported.
    os.environ.setdefault(GRPC_FORK_SUPPORT, "0")
    import uvloop

    from tunesmith_server.domain.errors import TunesmithError
    from tunesmith_server.settings import SettingsError
    from tunesmith_server.store.open_errors import StoreInUse, StoreOpenError

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(settings, until_stdin_closes=until_stdin_closes))
        except* (SettingsError, StoreOpenError, TunesmithError, OSError) as group:
            error = _first(group)
            message = str(error) or type(error).__name__
            if until_stdin_closes and isinstance(error, StoreInUse):
                raise _DataDirInUse(message) from None
            raise Refusal(message) from None


async def _serve(settings: ServerSettings, *, until_stdin_closes: bool) -> None:
    from tunesmith_server.app import run_server

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), _stop_at_end, stop)
    await run_server(settings, stop=stop, on_ready=_announce)


def _stop_at_end(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _announce(served: Served) -> None:
    sys.stdout.write(f"ready grpc={served.grpc} http={served.http}\n")
    sys.stdout.flush()


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
