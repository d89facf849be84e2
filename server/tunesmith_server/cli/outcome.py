"""How commands end: exit statuses, and errors as lines on standard error."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar, Final, ParamSpec, TypeVar

import click

from tunesmith.errors import (
    DeadlineExceeded,
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
    """End a command because no server answers."""

    exit_code: ClassVar[int] = ExitStatus.UNREACHABLE


class Failure(click.ClickException):
    """End a command because what it was to do failed."""

    exit_code: ClassVar[int] = ExitStatus.FAILED


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
            raise _ending(error, job=kwargs.get("name")) from None
        except BrokenPipeError:
            # Who reads has seen enough. Python would flush, and complain, once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(ExitStatus.NOT_READ)

    return reporting


def _ending(error: TunesmithError, *, job: object) -> click.ClickException:
    """Give what an error ends a command with.

    Args:
        error: What went wrong.
        job: The name that the command was given, if any.
    """
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
