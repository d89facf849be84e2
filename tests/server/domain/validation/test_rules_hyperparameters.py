from __future__ import annotations

from typing import TypeAlias

import pytest

from tests.server.domain.create_requests import CreateRequest, Ranges, create_request
from tests.server.domain.validation.rule_checks import found, paths, rule_violations
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith_server.domain.validation.search_space import Finding

RANGES = "HyperParameterTuningJobConfig.ParameterRanges"
STATIC = "TrainingJobDefinition.StaticHyperParameters"

AUTO = space_pb.HYPER_PARAMETER_SCALING_TYPE_AUTO
LINEAR = space_pb.HYPER_PARAMETER_SCALING_TYPE_LINEAR
LOGARITHMIC = space_pb.HYPER_PARAMETER_SCALING_TYPE_LOGARITHMIC
REVERSE = space_pb.HYPER_PARAMETER_SCALING_TYPE_REVERSE_LOGARITHMIC
Scaling: TypeAlias = space_pb.HyperParameterScalingType.ValueType


def ranges_of(request: CreateRequest) -> Ranges:
    return request.hyper_parameter_tuning_job_config.parameter_ranges


def with_integers(*bounds: tuple[str, str], scaling: Scaling = AUTO) -> CreateRequest:
    request = create_request()
    ranges = ranges_of(request)
    del ranges.integer_parameter_ranges[:]
    for index, (low, high) in enumerate(bounds):
        ranges.integer_parameter_ranges.add(
            name=f"n{index}", min_value=low, max_value=high, scaling_type=scaling
        )
    return request


def with_continuous(low: str, high: str, scaling: Scaling = AUTO) -> CreateRequest:
    request = create_request()
    del ranges_of(request).continuous_parameter_ranges[:]
    ranges_of(request).continuous_parameter_ranges.add(
        name="x", min_value=low, max_value=high, scaling_type=scaling
    )
    return request


@pytest.mark.parametrize(
    "bounds", [("-5", "5"), ("3", "3"), ("-9223372036854775808", "9223372036854775807")]
)
def test_integer_bounds_are_taken(bounds: tuple[str, str]) -> None:
    assert rule_violations(with_integers(bounds)) == ()


@pytest.mark.parametrize(
    ("bounds", "path"),
    [
        (("1.0", "5"), "[0].MinValue"),
        (("1", "five"), "[0].MaxValue"),
        (("", "5"), "[0].MinValue"),
        (("1", "1e3"), "[0].MaxValue"),
        (("1", "nan"), "[0].MaxValue"),
        (("1_0", "50"), "[0].MinValue"),
        (("5", "1"), "[0]"),
        (("0", "9223372036854775808"), "[0]"),
    ],
)
def test_integer_bounds_are_refused(bounds: tuple[str, str], path: str) -> None:
    assert paths(with_integers(bounds), "ranges_are_sound") == [
        f"{RANGES}.IntegerParameterRanges{path}"
    ]


@pytest.mark.parametrize(
    ("low", "high", "scaling"),
    [
        ("-1.5", "2", AUTO),
        ("1e-08", "1E2", LINEAR),
        ("0.25", "0.25", AUTO),
        ("1e-9", "1", LOGARITHMIC),
        ("0", "0.999", REVERSE),
    ],
)
def test_continuous_ranges_are_taken(low: str, high: str, scaling: Scaling) -> None:
    request = with_continuous(low, high, scaling)
    assert paths(request, "ranges_are_sound") == []


@pytest.mark.parametrize(
    ("low", "high", "scaling", "path"),
    [
        ("a", "2", AUTO, "[0].MinValue"),
        ("0", "inf", AUTO, "[0].MaxValue"),
        ("0", "1e999", AUTO, "[0].MaxValue"),
        ("2", "1", AUTO, "[0]"),
        ("0", "1", LOGARITHMIC, "[0]"),
        ("-1", "1", LOGARITHMIC, "[0]"),
        ("0", "1", REVERSE, "[0]"),
        ("-0.1", "0.5", REVERSE, "[0]"),
        ("-1e308", "1e308", LINEAR, "[0]"),
    ],
)
def test_continuous_ranges_are_refused(low: str, high: str, scaling: Scaling, path: str) -> None:
    assert paths(with_continuous(low, high, scaling), "ranges_are_sound") == [
        f"{RANGES}.ContinuousParameterRanges{path}"
    ]


def test_a_range_is_refused_by_its_name_and_told_what_is_right() -> None:
    assert found(with_integers(("9", "1")), "ranges_are_sound") == [
        Finding(
            path=f"{RANGES}.IntegerParameterRanges[0]",
            message="Parameter 'n0': min 9 is above max 1; min must be at most max",
        )
    ]


@pytest.mark.parametrize(("low", "scaling"), [("0", LOGARITHMIC), ("1", REVERSE)])
def test_integer_scalings_are_refused(low: str, scaling: Scaling) -> None:
    request = with_integers((low, "5"), scaling=scaling)
    assert paths(request, "ranges_are_sound") == [f"{RANGES}.IntegerParameterRanges[0]"]


def test_all_wrong_ranges_are_told_at_once() -> None:
    request = with_integers(("1", "x"), ("y", "2"), ("3", "2"), ("1", "2"))
    assert paths(request, "ranges_are_sound") == [
        f"{RANGES}.IntegerParameterRanges[0].MaxValue",
        f"{RANGES}.IntegerParameterRanges[1].MinValue",
        f"{RANGES}.IntegerParameterRanges[2]",
    ]


def test_bounds_that_break_constraints_are_not_complained_of_twice() -> None:
    request = with_integers(("9" * 300, "5"), ("1", "2"))
    assert rule_violations(request) == ()


def test_hyperparameters_need_names() -> None:
    request = create_request()
    ranges_of(request).integer_parameter_ranges[0].name = ""
    request.training_job_definition.static_hyper_parameters[""] = "1"
    assert paths(request, "hyperparameters_have_names") == [
        f"{RANGES}.IntegerParameterRanges[0].Name",
        f"{STATIC}['']",
    ]


def test_a_name_has_one_range_of_whatever_kind() -> None:
    request = create_request()
    ranges_of(request).categorical_parameter_ranges.add(name="lr", values=["1"])
    ranges_of(request).integer_parameter_ranges.add(name="depth", min_value="1", max_value="2")
    assert found(request, "ranges_have_different_names") == [
        Finding(
            path=f"{RANGES}.IntegerParameterRanges[1].Name",
            message=f"Hyperparameter 'depth' has another range already, at {RANGES}."
            "IntegerParameterRanges[0]; give it one range",
        ),
        Finding(
            path=f"{RANGES}.CategoricalParameterRanges[1].Name",
            message=f"Hyperparameter 'lr' has another range already, at {RANGES}."
            "ContinuousParameterRanges[0]; give it one range",
        ),
    ]


def test_a_hyperparameter_is_not_both_tuned_and_static() -> None:
    request = create_request()
    request.training_job_definition.static_hyper_parameters["lr"] = "0.1"
    assert found(request, "tuned_are_not_static") == [
        Finding(
            path=f"{RANGES}.ContinuousParameterRanges[0].Name",
            message="Hyperparameter 'lr' is both tuned and in StaticHyperParameters; take it out of one of "
            "them",
        )
    ]


def test_the_services_own_hyperparameter_cannot_be_given() -> None:
    request = create_request()
    name = "_tuning_objective_metric"
    request.training_job_definition.static_hyper_parameters[name] = "loss"
    ranges_of(request).categorical_parameter_ranges[0].name = name
    assert paths(request, "reserved_names_are_free") == [
        f"{STATIC}.{name}",
        f"{RANGES}.CategoricalParameterRanges[0].Name",
    ]


def test_thirty_hyperparameters_can_be_tuned() -> None:
    request = create_request()
    for index in range(27):
        ranges_of(request).continuous_parameter_ranges.add(
            name=f"x{index}", min_value="0", max_value="1"
        )
    assert rule_violations(request) == ()
    ranges_of(request).categorical_parameter_ranges.add(name="one more", values=["1"])
    assert found(request, "tuned_are_few_enough") == [
        Finding(
            path=RANGES,
            message="31 hyperparameters are tuned; at most 30 can be, integer, continuous and categorical "
            "ones together",
        )
    ]


def test_a_hundred_hyperparameters_can_be_given_the_objectives_name_among_them() -> None:
    request = create_request()
    static = request.training_job_definition.static_hyper_parameters
    for index in range(95):
        static[f"s{index}"] = "1"
    assert len(static) + 3 + 1 == 100
    assert rule_violations(request) == ()
    static["one more"] = "1"
    assert paths(request, "hyperparameters_are_few_enough") == [STATIC]


def test_too_few_combinations_are_told_in_sagemakers_words() -> None:
    request = with_integers(("1", "3"))
    del ranges_of(request).continuous_parameter_ranges[:]
    del ranges_of(request).categorical_parameter_ranges[:]
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    limits.max_number_of_training_jobs = 10
    assert found(request, "combinations_suffice") == [
        Finding(
            path=RANGES,
            message="You don't have enough combinations of hyperparameter ranges. The total number of "
            "hyperparameter combinations for the provided ranges [3.0] must be equal or greater "
            "than the value of MaxNumberOfJobs, [10]. Provide additional ranges.",
        )
    ]
    limits.max_number_of_training_jobs = 3
    assert rule_violations(request) == ()
    ranges_of(request).continuous_parameter_ranges.add(name="x", min_value="1", max_value="1")
    limits.max_number_of_training_jobs = 4
    assert len(rule_violations(request)) == 1  # a fixed value adds no combination
    ranges_of(request).continuous_parameter_ranges[0].max_value = "2"
    assert rule_violations(request) == ()


def test_no_ranges_at_all_make_one_training_job() -> None:
    request = create_request()
    config = request.hyper_parameter_tuning_job_config
    config.ClearField("parameter_ranges")
    config.resource_limits.max_number_of_training_jobs = 1
    assert rule_violations(request) == ()
    config.resource_limits.max_number_of_training_jobs = 2
    assert paths(request, "combinations_suffice") == [RANGES]
