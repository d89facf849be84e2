"""The process that writes: the one connection to the database that may.

``writer.py`` starts it, with its standard streams as the connection, and hands it the lock of the
database: that is let go of when both have ended, so that no server finds a database to which another
one's last change is still being written.

It ends at once when its standard input does, as happens when the server dies, in whatever way.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import BinaryIO, Final

from tunesmith_server.store.database import Database, connect_writer, make_durable
from tunesmith_server.store.groups import write_group
from tunesmith_server.store.open_errors import StoreOpenError
from tunesmith_server.store.statements import load_statements
from tunesmith_server.store.writes import (
    CLOSE,
    HEADER_BYTES,
    Write,
    body_length,
    frame,
    message_of,
)

_OUTPUT_FD: Final = 1
_ERRORS_FD: Final = 2
_SERVERS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(path: Path) -> None:
    """Serve until standard input ends, or until told to close."""
    # What ends the server may reach all its processes at once, as when systemd stops a service. The
    # server closes the store in good order; if it doesn't, standard input ends.
    for number in _SERVERS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # What anything prints goes where errors go, not among the answers.
    with (
        os.fdopen(os.dup(_OUTPUT_FD), "wb") as answers,
        os.fdopen(0, "rb", closefd=False) as requests,
    ):
        os.dup2(_ERRORS_FD, _OUTPUT_FD)
        _serve(path, requests, answers)


def _serve(path: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    try:
        connection = connect_writer(path)
        make_durable(connection, path)
        database = Database(connection, load_statements())
    except (OSError, sqlite3.Error, StoreOpenError) as error:
        _answer(answers, f"{error}.")
        return
    _answer(answers, "")
    while (message := _next(requests)) != CLOSE:
        group = [Write(*write) for write in message]  # type: ignore[attr-defined]  # frames of the other end, which is this release too
        _answer(answers, [tuple(outcome) for outcome in write_group(database, group)])
    database.close()
    _answer(answers, "")


def _next(requests: BinaryIO) -> object:
    """Give the next message; the end of them is the end of the process."""
    header = requests.read(HEADER_BYTES)
    body = requests.read(body_length(header)) if len(header) == HEADER_BYTES else b""
    if len(header) < HEADER_BYTES or len(body) < body_length(header):
        # Without closing the database: that writes the log back, which may wait for the next start.
        os._exit(0)
    return message_of(body)


def _answer(answers: BinaryIO, message: object) -> None:
    try:
        answers.write(frame(message))
        answers.flush()
    except BrokenPipeError:
        os._exit(0)  # the server is gone


if __name__ == "__main__":
    main(Path(sys.argv[1]))
