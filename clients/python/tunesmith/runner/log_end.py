"""The end of a program's output, looked up when the program has ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tunesmith.runner.lines import LineSplitter

#: How much of the log's end is looked at.
_READ_BYTES: Final = 256 * 1024


def lines_at_end(log: Path) -> list[str]:
    """Read the last lines of a log, in their order.

    Raises:
        OSError: It cannot be read.
    """
    splitter = LineSplitter()
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _READ_BYTES))
        lines = splitter.feed(file.read(_READ_BYTES)) + splitter.finish()
    # The first one is the end of a line, unless the log is read from its beginning.
    return lines[1:] if size > _READ_BYTES and len(lines) > 1 else lines
