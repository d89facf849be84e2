"""SageMaker's ParameterRanges as a dict: read as the server reads them, mistakes by their path."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith
from tunesmith.space import Range, read_space
from tunesmith.v1.search_space_pb2 import ParameterRanges
from tunesmith_core.errors import SpaceError
from tunesmith_core.space.encoding import render
from tunesmith_core.space.ranges import Categorical, Integer, SearchSpace
from tunesmith_server.domain.validation.search_space import read_space as read_on_server

RANGES: dict[str, Any] = {
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "1e-5", "MaxValue": "0.1", "ScalingType": "Logarithmic"},
        {"Name": "drop", "MinValue": "0", "MaxValue": "0.5"},
    ],
    "IntegerParameterRanges": [{"Name": "depth", "MinValue": "2", "MaxValue": "12"}],
    "CategoricalParameterRanges": [{"Name": "kind", "Values": ["warm", "cold"]}],
}

numbers = st.floats(-1e6, 1e6)
whole = st.integers(-(2**40), 2**40)


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Range]:
    space: dict[str, Range] = {}
    # The order in which SageMaker's ranges are read: whole numbers, real ones, texts.
    for index in range(draw(st.integers(0, 2))):
        first, last = sorted((draw(whole), draw(whole)))
        space[f"n{index}"] = tunesmith.integers(first, last)
    for index in range(draw(st.integers(0, 2))):
        lo, hi = sorted((draw(numbers), draw(numbers)))
        space[f"x{index}"] = tunesmith.uniform(lo, hi)
    texts = draw(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4))
    space["k"] = tunesmith.choice(texts)
    return space


def as_parameter_ranges(space: SearchSpace) -> dict[str, Any]:
    ranges: dict[str, Any] = {
        "IntegerParameterRanges": [],
        "ContinuousParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    for each in space.parameters:
        if isinstance(each, Categorical):
            entry = {"Name": each.name, "Values": list(each.values)}
            ranges["CategoricalParameterRanges"].append(entry)
        else:
            kind = "Integer" if isinstance(each, Integer) else "Continuous"
            ranges[f"{kind}ParameterRanges"].append(
                {
                    "Name": each.name,
                    "MinValue": render(each.lo),
                    "MaxValue": render(each.hi),
                    "ScalingType": str(each.scaling),
                }
            )
    return ranges


@given(spaces())
def test_helpers_and_sagemakers_ranges_say_the_same(space: dict[str, Range]) -> None:
    core = read_space(space).core
    assert read_space(as_parameter_ranges(core)).core == core


def test_the_server_reads_the_same_space_in_the_same_order() -> None:
    message = tunesmith.from_aws(RANGES, ParameterRanges)
    assert read_space(RANGES).core == read_on_server(message, "").search_space
    assert read_space(RANGES).core.names == ("depth", "lr", "drop", "kind")


def test_a_range_without_a_scaling_is_what_the_plain_helpers_are() -> None:
    written = {"depth": tunesmith.integers(2, 12), "drop": tunesmith.uniform(0, 0.5)}
    depth, drop = read_space(written).core.parameters
    read = read_space(RANGES).core.parameters
    assert (depth, drop) == (read[0], read[2])


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("IntegerParameterRanges", "depth", ("IntegerParameterRanges", "give a list")),
        ("IntegerParameterRanges", ["depth"], ("IntegerParameterRanges[0]", '{"Name": ...')),
        ("IntegerParameterRange", [], ("'IntegerParameterRange'", "ParameterRanges has Integer")),
        ("AutoParameters", [{"Name": "x"}], ("AutoParameters", "not served")),
    ],
)
def test_a_list_that_is_none_is_refused(member: str, value: object, words: tuple[str]) -> None:
    with pytest.raises(SpaceError) as refused:
        read_space({**RANGES, member: value})
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("kind", "entry", "words"),
    [
        ("Integer", {"MinValue": 2}, ("[0].MinValue is 2", 'give a text: "2"')),
        ("Integer", {"MinValue": "2.5"}, ("[0].MinValue", "'2.5' is not a whole number")),
        ("Integer", {"MinValue": "40"}, ("'depth'", "[0]", "min must be at most max")),
        ("Integer", {"Min": "2"}, ("no member 'Min'", "MinValue")),
        ("Integer", {"MaxValue": None}, ("[0].MaxValue is None",)),
        ("Integer", {"Name": ""}, ("[0].Name is empty",)),
        ("Integer", {"Name": "lr"}, ("'lr'", "2 ranges have this name")),
        ("Integer", {"ScalingType": "Log"}, ("ScalingType is 'Log'", "Logarithmic")),
        ("Integer", {"ScalingType": "ReverseLogarithmic"}, ("'depth'", "integer range")),
        ("Continuous", {"MaxValue": "inf"}, ("[0].MaxValue", "not a finite decimal")),
        ("Continuous", {"MinValue": "0"}, ("'lr'", "every value must be above 0")),
        ("Categorical", {"Values": "warm"}, ("[0].Values", "give a list")),
        ("Categorical", {"Values": ["a", 3]}, ("Values[1] is 3", "tunesmith.choice")),
        ("Categorical", {"Values": []}, ("'kind'", "at least one")),
    ],
)
def test_a_wrong_member_is_named_with_what_would_be_right(
    kind: str, entry: dict[str, object], words: tuple[str, ...]
) -> None:
    ranges = copy.deepcopy(RANGES)
    ranges[f"{kind}ParameterRanges"][0].update(entry)
    with pytest.raises(SpaceError) as refused:
        read_space(ranges)
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize("member", ["Name", "MinValue", "MaxValue"])
def test_a_missing_member_is_named(member: str) -> None:
    ranges = copy.deepcopy(RANGES)
    del ranges["IntegerParameterRanges"][0][member]
    with pytest.raises(SpaceError, match=rf"IntegerParameterRanges\[0\] has no {member}"):
        read_space(ranges)
