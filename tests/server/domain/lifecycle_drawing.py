"""Draw the tables of states as the blocks of ``docs/lifecycle.md``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from tunesmith_server.domain.states import (
    STATUS_OF,
    TRAINING_JOB_TRANSITIONS,
    TUNING_JOB_TRANSITIONS,
    Cause,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)

_State = TypeVar("_State", bound=StrEnum)

#: Where a runner holds the trial.
HELD = tuple(
    status
    for status in SecondaryStatus
    if (status, SecondaryStatus.INTERRUPTED) in TRAINING_JOB_TRANSITIONS
)


def drawings() -> dict[str, str]:
    """Give each block of the document by its name."""
    return {
        "tuning job diagram": _diagram(_edges(TUNING_JOB_TRANSITIONS), TuningJobStatus.IN_PROGRESS),
        "tuning job table": _table(TUNING_JOB_TRANSITIONS),
        "training job diagram": _training_diagram(),
        "training job table": _table(TRAINING_JOB_TRANSITIONS),
        "first level": _first_level(),
    }


def _causes(causes: Iterable[Cause]) -> str:
    return ", ".join(cause for cause in Cause if cause in causes)


def _edges(table: Mapping[tuple[_State, _State], frozenset[Cause]]) -> list[str]:
    return [f"{start} --> {end}: {_causes(causes)}" for (start, end), causes in table.items()]


def _diagram(edges: Iterable[str], first: str) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    lines += [f"    {edge}" for edge in edges]
    return "\n".join([*lines, "```"])


def _training_diagram() -> str:
    """Draw what holds for all states on a runner as one arrow from a box around them."""
    inside: list[str] = []
    outside: list[str] = []
    for (start, end), causes in TRAINING_JOB_TRANSITIONS.items():
        edge = f"{start} --> {end}: {_causes(causes)}"
        if start not in HELD or end in HELD:
            (inside if start in HELD else outside).append(edge)
        elif all(TRAINING_JOB_TRANSITIONS.get((held, end)) == causes for held in HELD):
            shared = f"Held --> {end}: {_causes(causes)}"
            if shared not in outside:
                outside.append(shared)
        else:
            outside.append(edge)
    box = ["state Held {", *(f"    {edge}" for edge in inside), "}"]
    return _diagram([*box, *outside], SecondaryStatus.PENDING)


def _table(table: Mapping[tuple[_State, _State], frozenset[Cause]]) -> str:
    """Draw a matrix: rows are left, columns entered, cells hold the initials of who may cause it."""
    initials = {
        Cause.ENGINE: "E",
        Cause.RUNNER: "R",
        Cause.CALLER: "C",
        Cause.CLOCK: "T",
    }
    (kind,) = {type(start) for start, _ in table}
    starts = [status for status in kind if any(start is status for start, _ in table)]
    ends = [status for status in kind if any(end is status for _, end in table)]
    rows = ["| from \\ to | " + " | ".join(ends) + " |", "|---" * (len(ends) + 1) + "|"]
    for start in starts:
        cells = [
            " ".join(initials[c] for c in Cause if c in table.get((start, end), frozenset()))
            for end in ends
        ]
        rows.append(f"| **{start}** | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _first_level() -> str:
    rows = ["| TrainingJobStatus | SecondaryStatus |", "|---|---|"]
    for status in TrainingJobStatus:
        finer = ", ".join(each for each in SecondaryStatus if STATUS_OF[each] is status)
        rows.append(f"| {status} | {finer} |")
    return "\n".join(rows)
