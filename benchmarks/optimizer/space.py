"""Say what is searched, in plain data that every optimiser's adapter can translate.

Not the product's own space: a peer's environment does not have the product. `unit_to_value` and
`value_to_unit` are for those methods that work in the unit cube themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = float | int | str
"""float for continuous, int for integer, str for categorical."""

Configuration: TypeAlias = Mapping[str, Value]


class Type(StrEnum):
    """Say what values a parameter takes."""

    CONTINUOUS = "continuous"
    INTEGER = "integer"
    CATEGORICAL = "categorical"


class Scaling(StrEnum):
    """Say how distances within a numeric range are measured; Auto is linear to all who ask."""

    AUTO = "Auto"
    LINEAR = "Linear"
    LOGARITHMIC = "Logarithmic"
    REVERSE_LOGARITHMIC = "ReverseLogarithmic"


@dataclass(frozen=True, slots=True)
class Parameter:
    """Describe one parameter.

    Attributes:
        name: Unique within its space.
        type: What values it takes.
        lo: Smallest value of a numeric range, included.
        hi: Largest value of a numeric range, included.
        scaling: Of a numeric range.
        values: Of a categorical parameter.
    """

    name: str
    type: Type
    lo: float = 0.0
    hi: float = 1.0
    scaling: Scaling = Scaling.LINEAR
    values: tuple[str, ...] = ()

    @property
    def log(self) -> bool:
        """Tell whether the range is Logarithmic."""
        return self.scaling is Scaling.LOGARITHMIC

    @property
    def mirrored(self) -> bool:
        """Tell whether the range is ReverseLogarithmic: 1 - x is what is scaled."""
        return self.scaling is Scaling.REVERSE_LOGARITHMIC


def real(
    name: str, lo: float, hi: float, scaling: Scaling = Scaling.LINEAR, *, log: bool = False
) -> Parameter:
    """Describe a continuous parameter."""
    scaling = Scaling.LOGARITHMIC if log else scaling
    return Parameter(name, Type.CONTINUOUS, lo, hi, scaling)


def whole(
    name: str, lo: int, hi: int, scaling: Scaling = Scaling.LINEAR, *, log: bool = False
) -> Parameter:
    """Describe an integer parameter."""
    scaling = Scaling.LOGARITHMIC if log else scaling
    return Parameter(name, Type.INTEGER, lo, hi, scaling)


def choice(name: str, *values: str) -> Parameter:
    """Describe a categorical parameter."""
    return Parameter(name, Type.CATEGORICAL, values=values)


def unit_to_value(parameter: Parameter, u: float) -> Value:
    """Decode a coordinate in [0, 1]; uniform coordinates give uniform values in the scaling."""
    u = min(max(u, 0.0), 1.0)
    if parameter.type is Type.CATEGORICAL:
        count = len(parameter.values)
        return parameter.values[min(int(u * count), count - 1)]
    lo, hi = _edges(parameter)
    x = _unscale(parameter, _scale(parameter, lo) * (1 - u) + _scale(parameter, hi) * u)
    if parameter.type is Type.INTEGER:
        return int(min(max(math.floor(x + 0.5), parameter.lo), parameter.hi))
    return float(min(max(x, parameter.lo), parameter.hi))


def value_to_unit(parameter: Parameter, value: Value) -> float:
    """Encode a value as a coordinate that decodes to it."""
    if isinstance(value, str):
        return (parameter.values.index(value) + 0.5) / len(parameter.values)
    lo, hi = (_scale(parameter, edge) for edge in _edges(parameter))
    return 0.5 if lo == hi else (_scale(parameter, value) - lo) / (hi - lo)


def key(space: Sequence[Parameter], configuration: Configuration) -> tuple[Value, ...]:
    """Give what tells configurations apart."""
    return tuple(configuration[parameter.name] for parameter in space)


def _edges(parameter: Parameter) -> tuple[float, float]:
    half = 0.5 if parameter.type is Type.INTEGER else 0.0
    return parameter.lo - half, parameter.hi + half


def _scale(parameter: Parameter, x: float) -> float:
    if parameter.log:
        return math.log(x)
    return -math.log1p(-x) if parameter.mirrored else float(x)


def _unscale(parameter: Parameter, y: float) -> float:
    if parameter.log:
        return math.exp(y)
    return -math.expm1(-y) if parameter.mirrored else y
