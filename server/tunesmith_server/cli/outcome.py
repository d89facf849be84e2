"""How commands end: exit statuses, and errors as lines on standard error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar, ParamSpec, TypeVar

import click

from tunesmith.errors import DeadlineExceeded, ServerFailure, ServerUnavailable, TunesmithError

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_SERVER = "127.0.0.1:7070"


class ExitStatus(IntEnum):
    """Name what a command's exit status says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


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
        try:
            return command(*args, **kwargs)
        except (ServerUnavailable, DeadlineExceeded) as error:
            raise Unreachable(
                f"{error}\nStart one with `tunesmith serve`, or name another with --server."
            ) from None
        except ServerFailure as error:
            raise Failure(f"{error} (request id {error.request_id or 'unknown'})") from None
        except TunesmithError as error:
            raise Refusal(explanation(error)) from None

    return reporting


def explanation(error: TunesmithError) -> str:
    """Give an error as text: one line, or one for each broken constraint."""
    if not error.violations:
        return str(error)
    head = f"the request was refused for {len(error.violations)} reason(s):"
    return "\n".join([head, *(f"  - {violation.message}" for violation in error.violations)])


def server_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--server`` with its default to a command."""
    return click.option(
        "--server",
        metavar="HOST:PORT",
        default=DEFAULT_SERVER,
        show_default=True,
        help="The Tunesmith server.",
    )(command)


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--json`` to a command."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the wire form: SageMaker's JSON."
    )(command)
