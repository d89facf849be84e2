"""Say what a task is: a space, and where the value of a configuration comes from.

Less is better on every task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from benchmarks.optimizer.space import Configuration, Parameter

Setting: TypeAlias = str | int | float


class Kind(StrEnum):
    """Say what makes a task hard."""

    SMOOTH = "smooth"
    MULTIMODAL = "multimodal"
    MIXED = "mixed"
    NOISY = "noisy"


class Half(StrEnum):
    """Say what a task may be used for; settled once and for all."""

    TUNING = "tuning"
    REPORTING = "reporting"


class Source(StrEnum):
    """Say which module knows the value of a configuration."""

    FORMULA = "formula"
    BBOB = "bbob"
    MODEL = "model"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Describe one task.

    Attributes:
        name: Unique; ends in the number of parameters.
        kind: What makes it hard.
        half: What it may be used for.
        source: Who evaluates it.
        settings: What the source has to know, such as the function's number or the data set.
        space: What is searched.
        noise: Standard deviation of what is added to a value, in the value's unit.
        slow_peers: Whether methods that need seconds for an ask are run on it, too.
    """

    name: str
    kind: Kind
    half: Half
    source: Source
    space: tuple[Parameter, ...]
    settings: dict[str, Setting] = field(default_factory=dict)
    noise: float = 0.0
    slow_peers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Hold what a configuration was worth.

    Attributes:
        value: What the method is told.
        mean: What it would be on average, without noise.
    """

    value: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Hold what a source makes of a task.

    Attributes:
        evaluate: Give the value of a configuration; the integer seeds the noise.
        optimum: The least mean value, where it is known.
    """

    evaluate: Callable[[Configuration, int], Evaluation]
    optimum: float | None = None
