"""How the cells of recorded curves are read, and what is said of those that can't be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from tunesmith_core.stopping.curves import Ending

T = TypeVar("T")

#: No trial makes more.
_MOST_STEPS: Final = 10**12

#: Seconds are fewer, on any clock; what is more is in milliseconds.
_MOST_SECONDS: Final = 1e12


@dataclass(frozen=True, slots=True)
class Cell(Generic[T]):
    """Say how a kind of cell is read.

    Attributes:
        read: Reads its text; raises ValueError.
        right: What would be right, for those who wrote something else.
    """

    read: Callable[[str], T]
    right: str


def _text(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _count(text: str) -> int:
    number = float(text)
    if not number.is_integer() or not 1 <= number <= _MOST_STEPS:
        raise ValueError
    return int(number)


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < _MOST_SECONDS:
        raise ValueError
    return number


def _moment_s(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not abs(number) < _MOST_SECONDS:
        raise ValueError
    return number


def _ending(text: str) -> Ending:
    return Ending(text.capitalize())


def _is_maximise(text: str) -> bool:
    if text.lower() not in ("minimize", "maximize"):
        raise ValueError
    return text.lower() == "maximize"


TRIAL: Final = Cell(_text, "every row names its trial")
VALUE: Final = Cell(float, "write a number, or nan where the trial diverged")
STEP: Final = Cell(
    _count,
    "write what the trial had spent by then, a whole number from 1; without a column step, values "
    "are counted",
)
TIME: Final = Cell(
    _moment_s,
    "write ISO 8601, such as 2026-11-24T09:00:00Z, or seconds on a clock that all trials share",
)
ELAPSED: Final = Cell(_seconds, "write the seconds since the trial's beginning, such as 12.5")
FULL: Final = Cell(_count, "write how many steps the trial was to make, a whole number from 1")
STATUS: Final = Cell(_ending, "write how the trial ended: Completed, Stopped or Failed")
GOAL: Final = Cell(_is_maximise, "write Minimize or Maximize")
