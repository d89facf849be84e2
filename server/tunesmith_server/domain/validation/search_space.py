"""Read parameter ranges, which travel as strings, into the core's search space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from tunesmith.v1 import options_pb2
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith_core.errors import SpaceError
from tunesmith_core.space.encoding import parse_real, parse_whole, render
from tunesmith_core.space.ranges import (
    Categorical,
    Continuous,
    Integer,
    Parameter,
    Scaling,
    SearchSpace,
)
from tunesmith_server.domain.validation.wording import excerpt

NumericRange: TypeAlias = space_pb.IntegerParameterRange | space_pb.ContinuousParameterRange
ValuedRange: TypeAlias = NumericRange | space_pb.CategoricalParameterRange
Range: TypeAlias = ValuedRange | space_pb.AutoParameter

_SCALING_TYPES: Mapping[Scaling, space_pb.HyperParameterScalingType.ValueType] = {
    Scaling.AUTO: space_pb.HYPER_PARAMETER_SCALING_TYPE_AUTO,
    Scaling.LINEAR: space_pb.HYPER_PARAMETER_SCALING_TYPE_LINEAR,
    Scaling.LOGARITHMIC: space_pb.HYPER_PARAMETER_SCALING_TYPE_LOGARITHMIC,
    Scaling.REVERSE_LOGARITHMIC: space_pb.HYPER_PARAMETER_SCALING_TYPE_REVERSE_LOGARITHMIC,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Say what is wrong with a member, and what would be right."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceReading:
    """Hold what could be made of a set of ranges.

    Attributes:
        search_space: The space; None if any of the ranges makes no sense.
        findings: What is wrong with ranges that break no constraint.
    """

    search_space: SearchSpace | None
    findings: tuple[Finding, ...]

    @property
    def trusted_space(self) -> SearchSpace:
        """Give the search space of ranges that were found right before.

        Raises:
            ValueError: They were not.
        """
        if self.search_space is None:
            wrong = "; ".join(finding.message for finding in self.findings)
            raise ValueError(f"the ranges were never checked: {wrong}")
        return self.search_space


def read_space(
    ranges: space_pb.ParameterRanges, path: str, *, broken: frozenset[str] = frozenset()
) -> SpaceReading:
    """Read ranges as far as they make sense.

    Integers come first, then continuous and categorical ones, each in the request's order: the
    order decides what a seed gives.

    Args:
        ranges: The ranges.
        path: Where the request has them.
        broken: Members that break constraints; ranges with such members are passed over.
    """
    parameters: list[Parameter] = []
    findings: list[Finding] = []
    is_whole = not any(member.startswith(f"{path}.") for member in broken)
    for where, each in named_ranges(ranges, path):
        if isinstance(each, space_pb.AutoParameter):
            continue
        if any(member.startswith(f"{where}.") for member in broken):
            continue
        wrong = list(_unreadable(each, where))
        if not wrong:
            try:
                parameters.append(_parameter(each))
            except SpaceError as error:
                wrong = [Finding(path=where, message=_sentence(error))]
        findings += wrong
    if findings or not is_whole or ranges.auto_parameters:
        return SpaceReading(search_space=None, findings=tuple(findings))
    try:
        search_space = SearchSpace(tuple(parameters))
    except SpaceError:  # names that are not unique, of which a rule speaks
        return SpaceReading(search_space=None, findings=())
    return SpaceReading(search_space=search_space, findings=())


def named_ranges(ranges: space_pb.ParameterRanges, path: str) -> Iterator[tuple[str, Range]]:
    """Give every range of every kind, with its path."""
    kinds: tuple[tuple[str, tuple[Range, ...]], ...] = (
        ("IntegerParameterRanges", tuple(ranges.integer_parameter_ranges)),
        ("ContinuousParameterRanges", tuple(ranges.continuous_parameter_ranges)),
        ("CategoricalParameterRanges", tuple(ranges.categorical_parameter_ranges)),
        ("AutoParameters", tuple(ranges.auto_parameters)),
    )
    for member, each_kind in kinds:
        for index, each in enumerate(each_kind):
            yield f"{path}.{member}[{index}]", each


def tuned_names(ranges: space_pb.ParameterRanges) -> list[str]:
    """Give the name of every range, as often as it has one; AutoParameters have none yet."""
    return [
        each.name
        for _, each in named_ranges(ranges, "")
        if not isinstance(each, space_pb.AutoParameter)
    ]


def add_range(ranges: space_pb.ParameterRanges, parameter: Parameter) -> None:
    """Write a parameter as a range, the inverse of reading it."""
    match parameter:
        case Integer(name=name, lo=lo, hi=hi, scaling=scaling):
            ranges.integer_parameter_ranges.add(
                name=name,
                min_value=render(lo),
                max_value=render(hi),
                scaling_type=_SCALING_TYPES[scaling],
            )
        case Continuous(name=name, lo=low, hi=high, scaling=scaling):
            ranges.continuous_parameter_ranges.add(
                name=name,
                min_value=render(low),
                max_value=render(high),
                scaling_type=_SCALING_TYPES[scaling],
            )
        case Categorical(name=name, values=values):
            ranges.categorical_parameter_ranges.add(name=name, values=values)
        case _:
            assert_never(parameter)


def scaling_of(each: NumericRange) -> Scaling:
    """Give the scaling of a range; one that is left out is Auto."""
    value = space_pb.HyperParameterScalingType.DESCRIPTOR.values_by_number[each.scaling_type]
    return Scaling(value.GetOptions().Extensions[options_pb2.sagemaker_name] or Scaling.AUTO)


def _unreadable(each: ValuedRange, path: str) -> Iterator[Finding]:
    """Find the bounds that are no numbers."""
    parse: Callable[[str], float]
    match each:
        case space_pb.IntegerParameterRange():
            parse = parse_whole
        case space_pb.ContinuousParameterRange():
            parse = parse_real
        case space_pb.CategoricalParameterRange():
            return
        case _:
            assert_never(each)
    for member, text in (("MinValue", each.min_value), ("MaxValue", each.max_value)):
        try:
            parse(text)
        except ValueError as error:
            yield Finding(
                path=f"{path}.{member}", message=f"{member} of {excerpt(each.name)!r}: {error}"
            )


def _parameter(each: ValuedRange) -> Parameter:
    match each:
        case space_pb.IntegerParameterRange():
            return Integer(
                name=each.name,
                lo=parse_whole(each.min_value),
                hi=parse_whole(each.max_value),
                scaling=scaling_of(each),
            )
        case space_pb.ContinuousParameterRange():
            return Continuous(
                name=each.name,
                lo=parse_real(each.min_value),
                hi=parse_real(each.max_value),
                scaling=scaling_of(each),
            )
        case space_pb.CategoricalParameterRange():
            return Categorical(name=each.name, values=tuple(each.values))
        case _:
            assert_never(each)


def _sentence(error: SpaceError) -> str:
    return f"Parameter {excerpt(error.parameter_name)!r}: {error.wrong}; {error.right}"
