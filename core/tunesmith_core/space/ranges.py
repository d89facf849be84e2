"""Describe a search space: its parameters, their ranges and how each is scaled.

Values are checked when they are made, so whoever holds a space may trust it. What a scaling does
to numbers is in `scaling`. How many parameters a tuning job may have is for the server to say.
"""

import enum
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tunesmith_core.errors import SpaceError

ParameterValue: TypeAlias = float | int | str
"""A value as users see it: float for continuous, int for integer, str for categorical."""

Configuration: TypeAlias = Mapping[str, ParameterValue]
"""One value for each parameter of a space, by name."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
"""Bounds of integer parameters, both included: what the wire and the stores can carry."""

MAX_RATIO = 1e300
"""The largest max/min of a logarithmic range: above it the ratio overflows a float64."""


class Scaling(enum.StrEnum):
    """Say how distances within a numeric range are measured, in SageMaker's spelling."""

    AUTO = "Auto"
    LINEAR = "Linear"
    LOGARITHMIC = "Logarithmic"
    REVERSE_LOGARITHMIC = "ReverseLogarithmic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuous:
    """Describe a real parameter.

    Attributes:
        name: Unique within its space.
        lo: Smallest value, included. Above 0 for Logarithmic, at least 0 for ReverseLogarithmic.
        hi: Largest value, included, at least `lo`. Below 1 for ReverseLogarithmic.
        scaling: How distances are measured.

    Raises:
        SpaceError: The bounds break one of these rules.
    """

    name: str
    lo: float
    hi: float
    scaling: Scaling = Scaling.AUTO

    def __post_init__(self) -> None:
        for bound in ("lo", "hi"):
            value = float(getattr(self, bound))
            if not math.isfinite(value):
                raise SpaceError(self.name, f"the bound {value} is not finite", "give a number")
            object.__setattr__(self, bound, value)
        _check_order(self.name, self.lo, self.hi)
        match self.scaling:
            case Scaling.LOGARITHMIC:
                _check_positive(self.name, self.lo)
                if self.hi / self.lo > MAX_RATIO:
                    wrong = f"the logarithmic range [{self.lo!r}, {self.hi!r}] is too wide"
                    raise SpaceError(self.name, wrong, f"max/min is at most {MAX_RATIO:g}")
            case Scaling.REVERSE_LOGARITHMIC:
                if self.lo < 0 or self.hi >= 1:
                    wrong = f"ReverseLogarithmic scaling with range [{self.lo!r}, {self.hi!r}]"
                    raise SpaceError(self.name, wrong, "it needs 0 <= min and max < 1")
            case Scaling.AUTO | Scaling.LINEAR:
                if not math.isfinite(self.hi - self.lo):
                    wrong = f"the range [{self.lo!r}, {self.hi!r}] is too wide"
                    raise SpaceError(self.name, wrong, "max - min must be finite in float64")

    @property
    def cardinality(self) -> int | None:
        """Give the number of distinct values: 1 for a fixed parameter, otherwise None."""
        return 1 if self.lo == self.hi else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """Describe a whole-number parameter.

    Attributes:
        name: Unique within its space.
        lo: Smallest value, included, a 64-bit integer. At least 1 for Logarithmic.
        hi: Largest value, included, a 64-bit integer, at least `lo`.
        scaling: How distances are measured; never ReverseLogarithmic.

    Raises:
        SpaceError: The bounds or the scaling break one of these rules.
    """

    name: str
    lo: int
    hi: int
    scaling: Scaling = Scaling.AUTO

    def __post_init__(self) -> None:
        for value in (self.lo, self.hi):
            if not INT64_MIN <= value <= INT64_MAX:
                wrong = f"the bound {value} is not a 64-bit integer"
                raise SpaceError(self.name, wrong, f"give one in [{INT64_MIN}, {INT64_MAX}]")
        _check_order(self.name, self.lo, self.hi)
        if self.scaling is Scaling.REVERSE_LOGARITHMIC:
            wrong = "ReverseLogarithmic scaling of an integer range"
            raise SpaceError(self.name, wrong, "use Auto, Linear or Logarithmic")
        if self.scaling is Scaling.LOGARITHMIC:
            _check_positive(self.name, self.lo)

    @property
    def cardinality(self) -> int:
        """Give the number of distinct values."""
        return self.hi - self.lo + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical:
    """Describe a parameter that takes one of a few texts.

    Attributes:
        name: Unique within its space.
        values: At least one; repeated values collapse onto the first, the order is kept.

    Raises:
        SpaceError: There is no value.
    """

    name: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SpaceError(self.name, "no values are given", "give at least one")
        object.__setattr__(self, "values", tuple(dict.fromkeys(self.values)))

    @property
    def cardinality(self) -> int:
        """Give the number of distinct values."""
        return len(self.values)


Parameter: TypeAlias = Continuous | Integer | Categorical


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Hold the parameters of a tuning job, in the order that encodes a configuration.

    Attributes:
        parameters: Names are unique. None at all is a space of one, empty, configuration.

    Raises:
        SpaceError: Two parameters share a name.
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        for name, count in Counter(self.names).items():
            if count > 1:
                raise SpaceError(name, f"{count} ranges have this name", "give each its own")

    @property
    def names(self) -> tuple[str, ...]:
        """Give the parameters' names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def dimensions(self) -> int:
        """Give the number of unit-cube coordinates, one for each parameter."""
        return len(self.parameters)

    @property
    def cardinality(self) -> int | None:
        """Give the number of distinct configurations; None when a continuous range is free."""
        total = 1
        for parameter in self.parameters:
            if parameter.cardinality is None:
                return None
            total *= parameter.cardinality
        return total


def _check_order(name: str, lo: float, hi: float) -> None:
    if lo > hi:
        raise SpaceError(name, f"min {lo!r} is above max {hi!r}", "min must be at most max")


def _check_positive(name: str, lo: float) -> None:
    if lo <= 0:
        wrong = f"Logarithmic scaling with min {lo!r}"
        raise SpaceError(name, wrong, "every value must be above 0")
