"""Recorded curves as rows: from a tuning job's events, and from rows to what a replay takes.

A row is one value of one metric of one trial. Files of the user's own, what ``jobs export --curves``
prints and a tuning job on a server all become rows, and are read by the same code from there on;
``curve_file.py`` reads files into rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeVar

from tunesmith_core.stopping.curves import Curve, Ending
from tunesmith_server.cli import curve_cells
from tunesmith_server.cli.curve_cells import Cell
from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.cli.wording import plain
from tunesmith_server.domain.names import EPOCHS

T = TypeVar("T")

#: More values are not read: a replay holds them all in memory.
MAX_VALUES: Final = 1_000_000

#: What each column is, by its name in lower case: in files of the user's own, and in an export.
_COLUMNS: Final = {
    "trial": "trial",
    "trainingjobname": "trial",
    "value": "value",
    "step": "step",
    "time": "time",
    "elapsed": "elapsed",
    "full": "full",
    "metric": "metric",
    "metricname": "metric",
    "status": "status",
    "trainingjobstatus": "status",
    "definition": "definition",
    "trainingjobdefinitionname": "definition",
    "objectivetype": "goal",
    "objectivemetricname": "objective",
    "trainingstarttime": "began",
    "trainingendtime": "ended",
    "trainingtimeinseconds": "ran",
    "minresource": "least",
    "maxresource": "most",
}
_NEEDED: Final = ("trial", "value")
_HYPERPARAMETER: Final = "hyperparameter."


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Hold what was recorded of one metric.

    Attributes:
        curves: Of the trials that emitted it, in the order of their launch; at least one.
        metric: Its name, or names where definitions have their own; empty: nothing says.
        maximise: Larger values are better; None: nothing says.
        without_value: How many trials emitted no value of it.
        min_resource: Where Hyperband had its first rung; None: nothing says, or it had none.
        is_export: It is a tuning job's; else of some other origin.
        unused: Columns that say nothing to a replay.
    """

    curves: tuple[Curve, ...]
    metric: str
    maximise: bool | None
    without_value: int = 0
    min_resource: int | None = None
    is_export: bool = False
    unused: tuple[str, ...] = ()

    @property
    def has_times(self) -> bool:
        """Tell whether it is known when every trial began, on one clock."""
        return all(curve.began_s is not None for curve in self.curves)


class BadRow(Exception):
    """Say what is wrong with a row, and what would be right.

    Attributes:
        line: Of the file, from 1.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class _Row:
    """Hold a row; what a column does not say is None or empty."""

    line: int
    trial: str
    value: float | None
    step: int | None
    time_s: float | None
    elapsed_s: float | None
    metric: str
    about: _About


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """Hold what rows say of their trial."""

    full: int | None
    definition: str | None
    ending: Ending
    objective: str
    maximise: bool | None
    began_s: float | None
    ended_s: float | None
    ran_s: float | None
    min_resource: int | None


def read_record(
    columns: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]], *, metric: str | None
) -> Record:
    """Make a record of rows.

    Args:
        columns: Their names.
        rows: Each with its line, as text; a trial's in the order in which they were emitted.
        metric: Which metric, or the column that holds the values; None: the objective, or the only
            metric that there is.

    Raises:
        BadRow: A column is missing, or a cell says nothing that can be read.
        Refusal: There are too many rows, or no value of the metric.
    """
    places = _places(columns, metric)
    found: dict[str, list[_Row]] = {}
    for count, (line, cells) in enumerate(rows, start=1):
        if count > MAX_VALUES:
            raise Refusal(f"there are more than {MAX_VALUES} values: leave some of them out")
        row = _row(line, places, cells)
        found.setdefault(row.trial, []).append(row)
    is_column = "metric" not in places and metric is not None
    wanted = _wanted(found.values(), None if is_column else metric)
    chosen = {
        trial: [row for row in of_one if row.value is not None and wanted(row) == row.metric]
        for trial, of_one in found.items()
    }
    curves = [
        _curve(index, trial, of_one)
        for index, (trial, of_one) in enumerate(chosen.items(), start=1)
        if of_one
    ]
    if not curves:
        raise Refusal("there is no value to replay" + (f" of {metric}" if metric else ""))
    first = [of_one[0] for of_one in chosen.values() if of_one]
    # What says which way the objective is better says nothing of another metric.
    goals = {row.about.maximise for row in first if row.metric == row.about.objective}
    known = len(goals) == 1 and all(row.metric == row.about.objective for row in first)
    least = {row.about.min_resource for row in first}
    return Record(
        curves=tuple(curves),
        metric=(metric or "") if is_column else ", ".join(sorted({row.metric for row in first})),
        maximise=goals.pop() if known else None,
        without_value=len(found) - len(curves),
        min_resource=least.pop() if len(least) == 1 else None,
        is_export="objective" in places,
        unused=tuple(each for each in _unused(columns) if each != metric),
    )


def _places(columns: Sequence[str], metric: str | None) -> dict[str, int]:
    """Give where each known column is.

    Raises:
        BadRow: One that is needed is missing, or one is there twice.
    """
    places: dict[str, int] = {}
    for place, column in enumerate(columns):
        known = _COLUMNS.get(column.strip().lower())
        if known is None and column in _schedules(columns)[:1]:
            known = "schedule"
        if known is None:
            continue
        if known in places:
            raise BadRow(
                1, f"two columns say the same: {columns[places[known]]!r} and {column!r}; leave one"
            )
        places[known] = place
    if metric in columns and "metric" not in places:
        places["value"] = columns.index(metric)
    missing = [column for column in _NEEDED if column not in places]
    if missing:
        raise BadRow(1, _instead(columns, missing))
    if metric is not None and metric not in columns and "metric" not in places:
        raise BadRow(
            1, f"there is no column metric, and none called {plain(metric)}: leave --metric out"
        )
    # An export says of a training job that rested both when values came and how long it had run.
    if "time" in places and "elapsed" in places and "objective" not in places:
        raise BadRow(
            1, "there are a column time and a column elapsed; one of them says when values came"
        )
    return places


def _instead(columns: Sequence[str], missing: Sequence[str]) -> str:
    """Say what a file without needed columns is to have."""
    if "TrainingJobName" in columns:
        return (
            "this export has a row for each training job, and not one for each value; "
            "`tunesmith jobs export NAME --curves` prints those"
        )
    there = ", ".join(plain(column) for column in columns)
    known = "trial, value and, if they are known, step, time or elapsed, full, metric, status"
    hint = "; name the column of the values with --metric" if missing == ["value"] else ""
    return f"there is no column {missing[0]} in: {there}{hint}; columns are {known}"


def _schedules(columns: Sequence[str]) -> list[str]:
    """Give the columns of hyperparameters by which trials say how long they run, if full is not."""
    if any(column.strip().lower() == "full" for column in columns):
        return []
    return [column for name in EPOCHS if (column := _HYPERPARAMETER + name) in columns]


def _unused(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        column
        for column in columns
        if column.strip().lower() not in _COLUMNS and not column.startswith(_HYPERPARAMETER)
    )


def _row(line: int, places: Mapping[str, int], cells: Sequence[str]) -> _Row:
    def cell(column: str) -> str:
        place = places.get(column)
        return "" if place is None or place >= len(cells) else cells[place].strip()

    def read(column: str, kind: Cell[T], *, is_needed: bool) -> T | None:
        text = cell(column)
        if not text and not is_needed:
            return None
        try:
            return kind.read(text)
        except ValueError:
            said = repr(plain(text)) if text else "empty"
            raise BadRow(line, f"{column} is {said}: {kind.right}") from None

    # In an export, a training job that emitted nothing has a row, too.
    is_value = bool(cell("value")) or "metric" not in places or bool(cell("metric"))
    full = read("full", curve_cells.FULL, is_needed=False) or _schedule(cell("schedule"))
    most = read("most", curve_cells.FULL, is_needed=False)
    needs_elapsed = is_value and "elapsed" in places and "time" not in places
    return _Row(
        line,
        read("trial", curve_cells.TRIAL, is_needed=True) or "",
        read("value", curve_cells.VALUE, is_needed=is_value),
        read("step", curve_cells.STEP, is_needed=is_value and "step" in places),
        read("time", curve_cells.TIME, is_needed=is_value and "time" in places),
        read("elapsed", curve_cells.ELAPSED, is_needed=needs_elapsed),
        cell("metric"),
        _About(
            full=min((each for each in (full, most) if each is not None), default=None),
            definition=cell("definition") or None,
            ending=read("status", curve_cells.STATUS, is_needed=False) or Ending.COMPLETED,
            objective=cell("objective"),
            maximise=read("goal", curve_cells.GOAL, is_needed=False),
            began_s=read("began", curve_cells.TIME, is_needed=False),
            ended_s=read("ended", curve_cells.TIME, is_needed=False),
            ran_s=read("ran", curve_cells.ELAPSED, is_needed=False),
            min_resource=read("least", curve_cells.FULL, is_needed=False),
        ),
    )


def _schedule(text: str) -> int | None:
    """Read how long a trial was to run off a hyperparameter, which may mean something else."""
    try:
        return curve_cells.FULL.read(text)
    except ValueError:
        return None


def _wanted(found: Iterable[Sequence[_Row]], metric: str | None) -> Callable[[_Row], str]:
    """Give which metric is wanted of a row.

    Raises:
        Refusal: It is not there, or there are several and nothing says which.
    """
    rows = [row for of_one in found for row in of_one]
    there = sorted({row.metric for row in rows} - {""})
    named = ", ".join(plain(each) for each in there)
    if metric is not None:
        if there and metric not in there:
            raise Refusal(f"there is no value of {plain(metric)}; there are values of {named}")
        return lambda row: metric if row.metric else ""
    if any(row.about.objective for row in rows):
        return lambda row: row.about.objective
    if len(there) > 1:
        raise Refusal(f"there are values of {named}: say which with --metric NAME")
    return lambda row: row.metric


def _curve(index: int, trial: str, rows: Sequence[_Row]) -> Curve:
    about = rows[0].about
    steps = [row.step if row.step is not None else place for place, row in enumerate(rows, 1)]
    _must_rise(rows, steps)
    began_s, elapsed_s = None, list[float]()
    if rows[0].elapsed_s is not None and rows[0].time_s is None:
        elapsed_s = [row.elapsed_s or 0.0 for row in rows]
        _must_not_fall(rows, elapsed_s, "elapsed")
    elif rows[0].time_s is not None:
        times_s = [row.time_s or 0.0 for row in rows]
        if about.objective:
            # A runner's clock may have been set back.
            times_s = list(accumulate(times_s, max))
        _must_not_fall(rows, times_s, "time")
        # Without a beginning, that of the first value is the earliest that is known.
        began_s = times_s[0] if about.began_s is None else min(about.began_s, times_s[0])
        elapsed_s = [time_s - began_s for time_s in times_s]
    lasted_s = elapsed_s[-1] if elapsed_s else 0.0
    if began_s is not None and about.ended_s is not None:
        # An end may be known to the second only.
        lasted_s = max(lasted_s, about.ended_s - began_s)
    return Curve(
        trial=trial,
        index=index,
        values=tuple(row.value for row in rows if row.value is not None),
        steps=tuple(steps),
        elapsed_s=tuple(elapsed_s),
        lasted_s=lasted_s,
        running_s=_running_s(rows),
        began_s=began_s,
        full=about.full,
        ending=about.ending,
        definition=about.definition,
    )


def _running_s(rows: Sequence[_Row]) -> tuple[float, ...]:
    """Give how long a trial had run at each value and at its end; empty: nothing says."""
    ran_s = rows[0].about.ran_s
    at_values = [row.elapsed_s for row in rows if row.elapsed_s is not None]
    if ran_s is None or len(at_values) < len(rows):
        return ()
    # A runner's clock may have been set back, and values come when they are taken note of.
    return tuple(accumulate([*at_values, ran_s], max))


def _must_rise(rows: Sequence[_Row], steps: Sequence[int]) -> None:
    for row, before, here in _neighbours(rows, steps):
        if here <= before:
            raise BadRow(
                row.line,
                f"step {here} of trial {plain(row.trial)} comes after its step {before}; "
                "a trial's rows go by rising steps, one row for each",
            )


def _must_not_fall(rows: Sequence[_Row], times_s: Sequence[float], column: str) -> None:
    for row, before, here in _neighbours(rows, times_s):
        if here < before:
            raise BadRow(
                row.line,
                f"{column} of trial {plain(row.trial)} is {before - here:g} s earlier than in its "
                "row before; a trial's rows go in the order of their values",
            )


def _neighbours(rows: Sequence[_Row], each: Sequence[T]) -> Iterator[tuple[_Row, T, T]]:
    return zip(rows[1:], each, each[1:], strict=False)
