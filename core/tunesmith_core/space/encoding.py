"""Translate configurations: to and from points in the unit cube, to and from text.

One coordinate for each parameter. A categorical value is the middle of its equal share of [0, 1];
a surrogate that wants one-hot coordinates makes them from that.
"""

import math
import re
from collections.abc import Sequence
from typing import assert_never

import numpy as np

from tunesmith_core.errors import SpaceError
from tunesmith_core.space.ranges import (
    Categorical,
    Configuration,
    Continuous,
    Integer,
    Parameter,
    ParameterValue,
    Scaling,
    SearchSpace,
)
from tunesmith_core.space.scaling import (
    F64,
    continuous_from_unit,
    continuous_to_unit,
    integer_from_unit,
    integer_to_unit,
)

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def to_unit(space: SearchSpace, configurations: Sequence[Configuration]) -> F64:
    """Encode configurations as points.

    Args:
        space: What they are configurations of.
        configurations: n of them.

    Returns:
        (n, d) points in the unit cube.

    Raises:
        SpaceError: A name is missing or unknown, or a value lies outside its range.

    Cost: nd operations.
    """
    for configuration in configurations:
        _check_names(space, configuration)
    points = np.empty((len(configurations), space.dimensions))
    for column, parameter in enumerate(space.parameters):
        values = [check(parameter, each[parameter.name]) for each in configurations]
        points[:, column] = _encode(parameter, values)
    return points


def from_unit(space: SearchSpace, points: F64) -> list[dict[str, ParameterValue]]:
    """Decode points as configurations.

    Args:
        space: What they are to be configurations of.
        points: (n, d), finite; clipped to the unit cube.

    Returns:
        n configurations, each inside the space.

    Raises:
        ValueError: `points` has another shape, or is not finite.

    Cost: nd operations.
    """
    if points.ndim != 2 or points.shape[1] != space.dimensions:  # noqa: PLR2004 - rows, columns
        raise ValueError(f"points have shape {points.shape}, not (n, {space.dimensions})")
    if not np.isfinite(points).all():
        raise ValueError("a point has a coordinate that is not finite; give finite coordinates")
    configurations: list[dict[str, ParameterValue]] = [{} for _ in points]
    for column, parameter in enumerate(space.parameters):
        values = decode(parameter, points[:, column])
        for configuration, value in zip(configurations, values, strict=True):
            configuration[parameter.name] = value
    return configurations


def from_unit_each(
    spaces: Sequence[SearchSpace], points: Sequence[F64]
) -> list[dict[str, ParameterValue]]:
    """Decode one point (d,) of each of several spaces, as `from_unit` does each, but all at once.

    Cost: the continuous parameters of one scaling are decoded all at once.
    """
    configurations: list[dict[str, ParameterValue]] = [
        dict.fromkeys(space.names, 0.0) for space in spaces
    ]
    real: dict[Scaling, list[tuple[int, Continuous, float]]] = {}
    for place, (space, point) in enumerate(zip(spaces, points, strict=True)):
        for parameter, u in zip(space.parameters, point.tolist(), strict=True):
            match parameter:
                case Continuous(scaling=scaling):
                    real.setdefault(scaling, []).append((place, parameter, u))
                case Categorical(values=texts):
                    index = int(min(max(u * len(texts), 0), len(texts) - 1))
                    configurations[place][parameter.name] = texts[index]
                case Integer():
                    (value,) = decode(parameter, np.array([u]))
                    configurations[place][parameter.name] = value
                case _:
                    assert_never(parameter)
    for scaling, found in real.items():
        u = np.array([each for _, _, each in found])
        lo, hi = (
            np.array(each, dtype=np.float64)
            for each in zip(*((p.lo, p.hi) for _, p, _ in found), strict=True)
        )
        values = continuous_from_unit(u, lo=lo, hi=hi, scaling=scaling).tolist()
        for (place, parameter, _), value in zip(found, values, strict=True):
            configurations[place][parameter.name] = value
    return configurations


def decode(parameter: Parameter, u: F64) -> list[ParameterValue]:
    """Decode one coordinate of n points, finite and clipped to [0, 1], as n values."""
    match parameter:
        case Continuous(lo=lo, hi=hi, scaling=scaling):
            real: list[ParameterValue] = continuous_from_unit(
                u, lo=lo, hi=hi, scaling=scaling
            ).tolist()
            return real
        case Integer(lo=first, hi=last, scaling=scaling):
            whole: list[ParameterValue] = integer_from_unit(
                u, lo=first, hi=last, scaling=scaling
            ).tolist()
            return whole
        case Categorical(values=values):
            indices = np.clip(u * len(values), 0, len(values) - 1).astype(np.intp)
            return [values[index] for index in indices]
        case _:
            assert_never(parameter)


def check(parameter: Parameter, value: ParameterValue) -> ParameterValue:
    """Return a value in its parameter's own type, or refuse it.

    Raises:
        SpaceError: The value has another type, or lies outside the range.
    """
    match parameter, value:
        case Continuous(lo=lo, hi=hi), float() | int() if lo <= value <= hi:
            return float(value)
        case Integer(lo=first, hi=last), int() if first <= value <= last:
            return int(value)
        case Categorical(values=values), str() if value in values:
            return value
    raise SpaceError(parameter.name, f"the value {value!r} is outside its range", _range(parameter))


def render(value: ParameterValue) -> str:
    """Write a value the way a training job is given it.

    A float is the shortest decimal that reads back as the same float (`1.3494417573713629e-08`),
    an integer has no point (`8`), a categorical value is passed exactly as given.
    """
    match value:
        case str():
            return value
        case float():
            return repr(float(value))
        case int():
            return str(int(value))
        case _:
            assert_never(value)


def parse(parameter: Parameter, text: str) -> ParameterValue:
    """Read a value of a parameter from text; the inverse of `render`.

    Raises:
        SpaceError: The text is no such number, or the value lies outside the range.
    """
    try:
        match parameter:
            case Continuous():
                return check(parameter, parse_real(text))
            case Integer():
                return check(parameter, parse_whole(text))
            case Categorical():
                return check(parameter, text)
            case _:
                assert_never(parameter)
    except SpaceError:
        raise
    except ValueError as error:
        raise SpaceError(parameter.name, str(error), _range(parameter)) from None


def parse_real(text: str) -> float:
    """Read a finite decimal number, such as `0.1`, `-3` or `1e-08`.

    Raises:
        ValueError: The text is anything else; Python's `1_0`, ` 1` and `nan` are refused too.
    """
    if _DECIMAL.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    raise ValueError(f"{text[:80]!r} is not a finite decimal number")


def parse_whole(text: str) -> int:
    """Read a whole number, such as `8` or `-3`.

    Raises:
        ValueError: The text is anything else; `8.0`, `1e3` and `1_0` are refused too.
    """
    if _WHOLE.fullmatch(text):
        return int(text)
    raise ValueError(f"{text[:80]!r} is not a whole number")


def _encode(parameter: Parameter, values: list[ParameterValue]) -> F64:
    match parameter:
        case Continuous(lo=lo, hi=hi, scaling=scaling):
            x = np.array(values, dtype=np.float64)
            return continuous_to_unit(x, lo=lo, hi=hi, scaling=scaling)
        case Integer(lo=first, hi=last, scaling=scaling):
            whole = np.array(values, dtype=np.int64)
            return integer_to_unit(whole, lo=first, hi=last, scaling=scaling)
        case Categorical(values=texts):
            position = {text: index for index, text in enumerate(texts)}
            indices = np.array([position[str(value)] for value in values], dtype=np.float64)
            return (indices + 0.5) / len(texts)
        case _:
            assert_never(parameter)


def _check_names(space: SearchSpace, configuration: Configuration) -> None:
    names = set(space.names)
    for name in space.names:
        if name not in configuration:
            raise SpaceError(name, "the configuration has no value for it", "give one")
    for name in configuration:
        if name not in names:
            raise SpaceError(name, "the space has no such parameter", f"it has {sorted(names)}")


def _range(parameter: Parameter) -> str:
    match parameter:
        case Continuous(lo=lo, hi=hi):
            return f"give a number in [{lo!r}, {hi!r}]"
        case Integer(lo=first, hi=last):
            return f"give a whole number in [{first}, {last}]"
        case Categorical(values=values):
            return f"give one of {', '.join(map(repr, values))}"
        case _:
            assert_never(parameter)
