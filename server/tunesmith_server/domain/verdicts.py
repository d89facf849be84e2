"""Why a training job is stopped or paused before its program has ended by itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StoppingRule(StrEnum):
    """Name what a training job can be judged by; the names stand in SQL, too."""

    MEDIAN = "Median"
    HALVING = "Halving"
    FULL_RESOURCE = "FullResource"
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingVerdict:
    """Hold what a training job was judged by, and how it did.

    Attributes:
        rule: What it was judged by.
        resource: What it had spent: the step of the value, from 1.
        value: Its objective there, in the metric's own unit; may be NaN or infinite.
        rung: Which rung it had reached, from 1; None but with `StoppingRule.HALVING` and
            `StoppingRule.PAUSED`.
        rank: Its place among the values there, from 1, the best; None like ``rung``.
        entries: How many values it was compared with, at a rung its own included; None where it
            was compared with none.
        threshold: The worst value with which it would have gone on; None like ``entries``, and
            where no value would have done.
    """

    rule: StoppingRule
    resource: int
    value: float
    rung: int | None = None
    rank: int | None = None
    entries: int | None = None
    threshold: float | None = None
