"""How commands end: exit statuses, and errors as lines on standard error."""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar, Final, ParamSpec, TypeVar

import click

from tunesmith.errors import (
    AccessDenied,
    DeadlineExceeded,
    NotServed,
    ResourceNotFound,
    ServerFailure,
    ServerUnavailable,
    TunesmithError,
)

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_SERVER = "127.0.0.1:7070"

#: Environment variable by which gRPC's own log is switched off.
GRPC_VERBOSITY: Final = "GRPC_VERBOSITY"

_ADDRESS = re.compile(r"(?P<host>[^:\[\]\s/]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535

#: What writing fails with when there is no room.
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ExitStatus(IntEnum):
    """Name what a command's exit status says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130
    NOT_READ = 141


class Refusal(click.ClickException):
    """End a command because it can't do what was asked as it was asked."""

    exit_code: ClassVar[int] = ExitStatus.USAGE


class Unreachable(click.ClickException):
    """End a command because no Tunesmith server answers."""

    exit_code: ClassVar[int] = ExitStatus.UNREACHABLE


class Failure(click.ClickException):
    """End a command because what it was to do failed."""

    exit_code: ClassVar[int] = ExitStatus.FAILED


class Program(click.Group):
    """Be the command line, and end every command as the exit statuses promise."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        """Read the arguments up to the command; this prints the help, too."""
        with _ends_in_order():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        with _ends_in_order():
            return super().invoke(ctx)


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """End the program quietly at Ctrl-C, and when its output can't be written.

    Raises:
        Failure: There is no room for the output.
    """
    try:
        try:
            yield
        finally:
            _flush_output()
    except KeyboardInterrupt:
        sys.exit(ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        # Who reads has seen enough.
        _give_output_up()
        sys.exit(ExitStatus.NOT_READ)
    except OSError as error:
        # What has a name is a file of its own, and not standard output.
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _give_output_up()
        raise Failure(f"the output can't be written: {error.strerror or error}") from None


def _flush_output() -> None:
    if sys.stdout is not None:  # closed by whoever started this program
        sys.stdout.flush()


def _give_output_up() -> None:
    """Let what is left of the output go: Python would flush, and complain, once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the client's errors into an exit status and lines that say what to do."""

    @functools.wraps(command)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> R:
        # gRPC logs to standard error, in the middle of what is shown there, unless the user asks
        # for it. Read when gRPC is first imported.
        os.environ.setdefault(GRPC_VERBOSITY, "NONE")
        try:
            return command(*args, **kwargs)
        except TunesmithError as error:
            server, job = kwargs.get("server"), kwargs.get("name")
            raise _ending(error, server=str(server or DEFAULT_SERVER), job=job) from None

    return reporting


def is_foreign(error: TunesmithError) -> bool:
    """Tell whether an error is no Tunesmith server's word: those give a reason for each of these.

    Another gRPC server says that it has no such method, and gRPC itself what came over HTTP.
    """
    return not error.reason and isinstance(error, NotServed | AccessDenied | ServerFailure)


def foreign_server(error: TunesmithError, address: str, *, instead: str = "") -> Unreachable:
    """Give what ends a command that has reached something else than a Tunesmith server.

    Args:
        error: What that answered.
        address: Where it did.
        instead: What else the user may do.
    """
    return Unreachable(
        f"what answers at {address} is no Tunesmith server: {error}\n"
        "Name one with --server HOST:PORT, or start one at another address with "
        f"`tunesmith serve --grpc HOST:PORT`.{instead}"
    )


def _ending(error: TunesmithError, *, server: str, job: object) -> click.ClickException:
    """Give what an error ends a command with.

    Args:
        error: What went wrong.
        server: The address that the command was given, or the default.
        job: The name that the command was given, if any.
    """
    if is_foreign(error):
        return foreign_server(error, server)
    # With a reason it is a server's own word, and not gRPC's about none.
    if isinstance(error, ServerUnavailable) and not error.reason:
        return Unreachable(
            f"{error}\nStart one with `tunesmith serve`, or name another with --server."
        )
    if isinstance(error, ServerFailure | ServerUnavailable):
        return Failure(f"{error} (request id {error.request_id or 'unknown'})")
    if isinstance(error, DeadlineExceeded):
        return Failure(str(error))
    if isinstance(error, ResourceNotFound) and job is not None:
        return Refusal(
            f"there is no job called {job}; `tunesmith jobs list` shows the tuning jobs that "
            "there are, and `tunesmith jobs trials TUNING_JOB` one's training jobs"
        )
    return Refusal(explanation(error))


def explanation(error: TunesmithError) -> str:
    """Give an error as text: one line, or one for each broken constraint."""
    if not error.violations:
        return str(error)
    count = len(error.violations) + error.left_out
    lines = [f"the request was refused for {count} reason{'s' if count > 1 else ''}:"]
    lines += [
        f"  - {violation.path}: {violation.message}"
        if violation.path
        else f"  - {violation.message}"
        for violation in error.violations
    ]
    if error.left_out:
        lines.append(f"  and {error.left_out} more that are not shown")
    return "\n".join(lines)


def checked_address(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Take a server's address from the command line, as HOST:PORT.

    Raises:
        click.BadParameter: It is none.
    """
    if value is None:
        return None
    match = _ADDRESS.fullmatch(value)
    if match is not None and 0 < int(match["port"]) <= _LAST_PORT:
        return value
    host = value.strip("[]")
    guesses = (f"{host}:7070", f"[{host}]:7070")
    example = next((guess for guess in guesses if _ADDRESS.fullmatch(guess)), DEFAULT_SERVER)
    raise click.BadParameter(f"{value!r} is not HOST:PORT; write for example {example}")


def server_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--server`` with its default to a command."""
    return click.option(
        "--server",
        metavar="HOST:PORT",
        default=DEFAULT_SERVER,
        show_default=True,
        callback=checked_address,
        help="The Tunesmith server.",
    )(command)


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--json`` to a command."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the wire form: SageMaker's JSON."
    )(command)
