"""Read a file of recorded curves: CSV or JSON Lines, a row for each value."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Final, TextIO

from tunesmith.aws_json_text import JsonTextError, whole_number, without_repetition
from tunesmith_server.cli.curve_rows import BadRow, Record, read_record
from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.cli.wording import counted, plain

#: More of a line is not read: no row has so much.
_MAX_LINE: Final = 1 << 20


def read_curves(path: Path, *, metric: str | None) -> Record:
    """Read a file of curves; ``-`` is standard input.

    Args:
        path: The file. What begins with ``{`` is JSON Lines, all else CSV.
        metric: Which metric; None: the objective, or the only one that there is.

    Raises:
        Refusal: It can't be read, or holds no curves; the message says where, and what would be
            right.
    """
    name = "standard input" if str(path) == "-" else str(path)
    with ExitStack() as stack:
        try:
            if str(path) == "-":
                sys.stdin.reconfigure(encoding="utf-8-sig")  # type: ignore[union-attr]
                file: TextIO = sys.stdin
            else:
                file = stack.enter_context(path.open(encoding="utf-8-sig", newline=""))
            return _read(file, metric)
        except OSError as error:
            raise Refusal(f"{name}: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise Refusal(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from None
        except BadRow as error:
            raise Refusal(f"{name}, line {error.line}: {error}") from None
        except Refusal as error:
            raise Refusal(f"{name}: {error.message}") from None


def _read(file: TextIO, metric: str | None) -> Record:
    lines = _lines(file)
    first = next(lines, "")
    if not first:
        raise Refusal("it is empty")
    if first.lstrip().startswith("["):
        raise BadRow(
            1,
            "this is a JSON array; write JSON Lines, an object for each value on a line of its "
            'own, such as {"trial": "a", "step": 1, "value": 0.5}, or CSV',
        )
    everything = chain([first], lines)
    if first.lstrip().startswith("{"):
        return _json_lines(everything, metric)
    reader = csv.reader(everything, strict=True)
    try:
        columns = next(reader, [])
        if len(columns) == 1 and (found := set(columns[0]) & set(";\t")):
            raise BadRow(1, f"columns are separated by commas here, not by {min(found)!r}")
        rows = _csv_rows(reader, len(columns), lambda: reader.line_num)
        return read_record(columns, rows, metric=metric)
    except csv.Error as error:
        raise BadRow(max(1, reader.line_num), f"this is no CSV: {error}") from None


def _lines(file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise BadRow(number, f"it is longer than {_MAX_LINE} characters, which no row needs")
        yield line


def _csv_rows(
    rows: Iterable[list[str]], width: int, last_line: Callable[[], int]
) -> Iterator[tuple[int, list[str]]]:
    line = last_line() + 1
    for cells in rows:
        if cells and len(cells) != width:
            has = counted(len(cells), "cell")
            raise BadRow(line, f"it has {has}, and the first line {counted(width, 'column')}")
        if cells:
            yield line, cells
        # A cell in quotes may go over several lines.
        line = last_line() + 1


def _json_lines(lines: Iterator[str], metric: str | None) -> Record:
    rows: list[tuple[int, dict[str, str]]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append((number, _json_row(number, line)))
    columns = list(dict.fromkeys(key for _, row in rows for key in row))
    cells = ((number, [row.get(column, "") for column in columns]) for number, row in rows)
    return read_record(columns, cells, metric=metric)


def _json_row(number: int, line: str) -> dict[str, str]:
    try:
        # NaN and Infinity are values of metrics here, though no JSON.
        row = json.loads(line, object_pairs_hook=without_repetition, parse_int=whole_number)
    except JsonTextError as error:
        raise BadRow(number, plain(str(error))) from None
    except (ValueError, RecursionError) as error:
        raise BadRow(number, f"this is no JSON: {plain(str(error))}") from None
    if not isinstance(row, dict):
        raise BadRow(number, 'a line is an object, such as {"trial": "a", "value": 0.5}')
    return {key: "" if cell is None else str(cell) for key, cell in row.items()}
