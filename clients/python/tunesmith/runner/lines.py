"""Bytes of a pipe in, lines of text out, whatever a program writes."""

from __future__ import annotations

import re
from typing import Final

#: The wire's limit of one line, in characters.
LINE_MAX: Final = 65_536

_CUT_MARK: Final = " [line cut by the runner at 65536 characters]"
# A character takes up to four bytes.
_LINE_MAX_BYTES: Final = 4 * LINE_MAX
_ENDS: Final = re.compile(rb"\r\n|\n|\r")


class LineSplitter:
    r"""Split a stream of bytes into lines, in bounded memory.

    A line ends with ``\n``, ``\r\n``, or with ``\r``, as progress bars use it; a ``\r`` with
    nothing before it makes no line. Bytes that are not UTF-8 become U+FFFD. A line beyond
    ``LINE_MAX`` characters is cut and says so at its end; the rest of it is dropped.
    """

    def __init__(self) -> None:
        self._partial = bytearray()
        self._dropping = False
        self._after_return = False

    def feed(self, chunk: bytes) -> list[str]:
        """Take in the next bytes and give the lines that they complete."""
        if not chunk:
            return []
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = False
        lines: list[str] = []
        start = 0
        for end in _ENDS.finditer(chunk):
            self._extend(chunk[start : end.start()])
            if self._partial or end.group() != b"\r":
                lines.append(self._take())
                # The second half of a torn line end makes no line of its own.
                self._after_return = end.group() == b"\r" and end.end() == len(chunk)
            start = end.end()
        self._extend(chunk[start:])
        return lines

    def finish(self) -> list[str]:
        """Give the last line, if the stream ended within one."""
        return [self._take()] if self._partial else []

    def _extend(self, piece: bytes) -> None:
        room = _LINE_MAX_BYTES - len(self._partial)
        self._dropping = self._dropping or len(piece) > room
        self._partial += piece[: max(0, room)]

    def _take(self) -> str:
        line = self._partial.decode("utf-8", errors="replace")
        if self._dropping or len(line) > LINE_MAX:
            line = line[: LINE_MAX - len(_CUT_MARK)] + _CUT_MARK
        self._partial.clear()
        self._dropping = False
        return line
