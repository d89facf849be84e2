"""Read SageMaker's ParameterRanges, a dict of lists with bounds as texts, as a search space.

The server reads the same from the message, with all that is wrong at once; this is for programs
that hold the dict. Importing this loads nothing numerical; reading does.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from tunesmith_core.errors import SpaceError
from tunesmith_core.space.ranges import (
    Categorical,
    Continuous,
    Integer,
    Parameter,
    Scaling,
    SearchSpace,
)

#: The order in which the server lays ranges out; with it a seed means the same in both.
_KINDS: Final = (
    "IntegerParameterRanges",
    "ContinuousParameterRanges",
    "CategoricalParameterRanges",
)
_AUTO_PARAMETERS: Final = "AutoParameters"
_NUMERIC: Final = frozenset({"Name", "MinValue", "MaxValue", "ScalingType"})
_CATEGORICAL: Final = frozenset({"Name", "Values"})


def is_parameter_ranges(space: Mapping[str, Any]) -> bool:
    """Tell whether a dict is SageMaker's ParameterRanges rather than ranges by name."""
    return any(name in space for name in (*_KINDS, _AUTO_PARAMETERS))


def read_parameter_ranges(ranges: Mapping[str, Any]) -> SearchSpace:
    """Read SageMaker's ParameterRanges.

    Raises:
        SpaceError: With what is wrong first, by the member's path.
    """
    for member in ranges:
        if member not in (*_KINDS, _AUTO_PARAMETERS):
            right = f"ParameterRanges has {', '.join(_KINDS)}"
            raise SpaceError(None, f"{member!r} stands among SageMaker's ranges", right)
    if ranges.get(_AUTO_PARAMETERS):
        raise SpaceError(None, f"{_AUTO_PARAMETERS} are not served", "give a range for each")
    readers = zip(_KINDS, (_integer, _continuous, _categorical), strict=True)
    return SearchSpace(
        tuple(
            _read(each, f"{kind}[{index}]", reader)
            for kind, reader in readers
            for index, each in enumerate(_list(ranges.get(kind, ()), kind))
        )
    )


def _read(
    each: object, path: str, reader: Callable[[Mapping[str, Any], str], Parameter]
) -> Parameter:
    if not isinstance(each, Mapping):
        raise SpaceError(None, f"{path} is {reprlib.repr(each)}", 'give {"Name": ..., ...}')
    try:
        return reader(each, path)
    except SpaceError as error:
        if error.parameter_name is None:
            raise
        raise SpaceError(error.parameter_name, f"{path}: {error.wrong}", error.right) from None


def _integer(each: Mapping[str, Any], path: str) -> Parameter:
    from tunesmith_core.space.encoding import parse_whole

    _check_members(each, path, _NUMERIC)
    name = _text(each, "Name", path)
    lo, hi = (_bound(each, bound, path, parse_whole) for bound in ("MinValue", "MaxValue"))
    return Integer(name=name, lo=lo, hi=hi, scaling=_scaling(each, path))


def _continuous(each: Mapping[str, Any], path: str) -> Parameter:
    from tunesmith_core.space.encoding import parse_real

    _check_members(each, path, _NUMERIC)
    name = _text(each, "Name", path)
    lo, hi = (_bound(each, bound, path, parse_real) for bound in ("MinValue", "MaxValue"))
    return Continuous(name=name, lo=lo, hi=hi, scaling=_scaling(each, path))


def _categorical(each: Mapping[str, Any], path: str) -> Parameter:
    _check_members(each, path, _CATEGORICAL)
    values = _list(_member(each, "Values", path), f"{path}.Values")
    for index, value in enumerate(values):
        if not isinstance(value, str):
            wrong = f"{path}.Values[{index}] is {value!r}"
            right = f'SageMaker\'s values are texts: give "{value}", or use tunesmith.choice'
            raise SpaceError(None, wrong, right)
    return Categorical(name=_text(each, "Name", path), values=tuple(values))


def _bound(each: Mapping[str, Any], member: str, path: str, parse: Callable[[str], Any]) -> Any:
    text = _text(each, member, path)
    try:
        return parse(text)
    except ValueError as error:
        right = 'give a number as a text, such as "8" or, where it is continuous, "0.1"'
        raise SpaceError(None, f"{path}.{member}: {error}", right) from None


def _scaling(each: Mapping[str, Any], path: str) -> Scaling:
    given = each.get("ScalingType", Scaling.AUTO)
    if given not in list(Scaling):
        right = f"give one of {', '.join(Scaling)}"
        raise SpaceError(None, f"{path}.ScalingType is {given!r}", right)
    return Scaling(given)


def _text(each: Mapping[str, Any], member: str, path: str) -> str:
    value = _member(each, member, path)
    if not isinstance(value, str):
        right = f'give a text: "{value}"'
        raise SpaceError(None, f"{path}.{member} is {reprlib.repr(value)}", right)
    if not value:
        raise SpaceError(None, f"{path}.{member} is empty", "give at least one character")
    return value


def _member(each: Mapping[str, Any], member: str, path: str) -> Any:
    if member not in each:
        raise SpaceError(None, f"{path} has no {member}", f"give its {member}")
    return each[member]


def _list(value: object, path: str) -> Sequence[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise SpaceError(None, f"{path} is {reprlib.repr(value)}", "give a list")
    return value


def _check_members(each: Mapping[str, Any], path: str, known: Iterable[str]) -> None:
    for member in each:
        if member not in known:
            right = f"it has {', '.join(sorted(known))}"
            raise SpaceError(None, f"{path} has no member {member!r}", right)
