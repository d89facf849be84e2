from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.server.domain.create_requests import (
    SITE,
    CreateRequest,
    add_channel,
    create_request,
    grid_request,
    plural_request,
)
from tests.server.domain.validation.rule_checks import Edit
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.job_spec import filled_request, read_job_spec
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.validation import check_constraints, validate_create
from tunesmith_server.domain.validation.members import Key, MemberPath, inner_type, is_map
from tunesmith_server.domain.validation.rules.catalogue import RULES

PATIENCE_S = 1.0  # generous: what is tested for is seconds and minutes


def violations(request: CreateRequest) -> tuple[Violation, ...]:
    try:
        validate_create(request, site=SITE)
    except InvalidRequest as refusal:
        return refusal.violations
    return ()


def test_everything_wrong_is_told_at_once() -> None:
    request = create_request()
    config = request.hyper_parameter_tuning_job_config
    request.hyper_parameter_tuning_job_name = "a_b"
    config.resource_limits.max_parallel_training_jobs = 0
    config.parameter_ranges.integer_parameter_ranges[0].min_value = "20"
    request.training_job_definition.algorithm_specification.algorithm_name = "forest"
    request.training_job_definition.enable_network_isolation = True
    assert [(each.path, each.rule) for each in violations(request)] == [
        ("HyperParameterTuningJobName", "string.pattern"),
        (
            "HyperParameterTuningJobConfig.ResourceLimits.MaxParallelTrainingJobs",
            "required",
        ),
        (
            "HyperParameterTuningJobConfig.ParameterRanges.IntegerParameterRanges[0]",
            "ranges_are_sound",
        ),
        (
            "TrainingJobDefinition.AlgorithmSpecification.ContainerEntrypoint",
            "program_is_named_once",
        ),
        ("TrainingJobDefinition.EnableNetworkIsolation", "unserved"),
    ]


def test_an_empty_request_is_told_only_what_is_missing() -> None:
    assert [(each.path, each.rule) for each in violations(CreateRequest())] == [
        ("HyperParameterTuningJobName", "required"),
        ("HyperParameterTuningJobConfig", "required"),
        ("HyperParameterTuningJobConfig.HyperParameterTuningJobObjective", "objective_is_given"),
    ]


def test_a_member_that_breaks_a_constraint_is_not_complained_of_by_rules_too() -> None:
    request = create_request()
    request.training_job_definition.environment["LONG"] = "\0" * 600
    assert [(each.path, each.rule) for each in violations(request)] == [
        ("TrainingJobDefinition.Environment.LONG", "string.max_len")
    ]


def test_what_is_wrong_is_told_in_the_order_of_the_request() -> None:
    request = create_request()
    request.tags.add(key="aws:a", value="")
    request.tags.add(key="{", value="")
    definition = request.training_job_definition
    definition.static_hyper_parameters["_tuning_objective_metric"] = "x"
    for key in ("sagemaker_program", "b", "a", "a b"):
        definition.static_hyper_parameters[key] = "x" * 2501
    for number in range(12):
        request.training_job_definition.input_data_config.add(channel_name=f"c{number}")
    definition.input_data_config[10].channel_name = "c2"
    definition.input_data_config[2].channel_name = ".."
    assert [each.path for each in violations(request) if "DataSource" not in each.path] == [
        "TrainingJobDefinition.StaticHyperParameters._tuning_objective_metric",
        "TrainingJobDefinition.StaticHyperParameters.a",
        "TrainingJobDefinition.StaticHyperParameters['a b']",
        "TrainingJobDefinition.StaticHyperParameters.b",
        "TrainingJobDefinition.StaticHyperParameters.sagemaker_program",
        "TrainingJobDefinition.AlgorithmSpecification.ContainerEntrypoint",
        "TrainingJobDefinition.InputDataConfig[2].ChannelName",
        "Tags[1].Key",
        "Tags[2].Key",
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_does_not_depend_on_the_order_of_a_map(seed: int) -> None:
    request, keys = create_request(), [f"{'k' * number} " for number in range(80)]
    random.Random(seed).shuffle(keys)
    for key in keys:
        request.training_job_definition.static_hyper_parameters[key] = "\0"
    found = [each.path for each in violations(request)]
    expected = [str(MemberPath(("StaticHyperParameters", Key(key)))) for key in sorted(keys)]
    assert found == [f"TrainingJobDefinition.{path}" for path in expected]


def test_a_refusal_names_the_member_except_in_sagemakers_own_words() -> None:
    request = create_request()
    request.training_job_definition.enable_network_isolation = True
    with pytest.raises(InvalidRequest) as refusal:
        validate_create(request, site=SITE)
    assert str(refusal.value) == (
        "TrainingJobDefinition.EnableNetworkIsolation: EnableNetworkIsolation true is not served "
        "by this release: training jobs cannot be cut off from networks yet; leave it out"
    )
    request.hyper_parameter_tuning_job_name = "_"
    with pytest.raises(InvalidRequest) as refusal:
        validate_create(request, site=SITE)
    message = str(refusal.value)
    assert message.startswith("2 validation errors detected: Value '_' at")
    assert "; TrainingJobDefinition.EnableNetworkIsolation: Enable" in message


def test_every_rule_is_tested_by_name() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_rules_*.py"))
    assert [rule.__name__ for rule in RULES if f'"{rule.__name__}"' not in tests] == []


def test_checking_does_not_change_the_request() -> None:
    request = create_request()
    for number in range(100):
        request.tags.add(key=f"k{number}", value="")
    before = request.SerializeToString(deterministic=True)
    assert violations(request)
    assert request.SerializeToString(deterministic=True) == before


def many(container: object, count: int = 100_000) -> None:
    for _ in range(count):
        container.add()  # type: ignore[attr-defined]


HOSTILE: dict[str, Edit] = {
    "long name": lambda r: setattr(r, "hyper_parameter_tuning_job_name", "x" * 10_000_000),
    "many tags": lambda r: many(r.tags),
    "many definitions": lambda r: many(r.training_job_definitions),
    "many parents": lambda r: many(r.warm_start_config.parent_hyper_parameter_tuning_jobs),
    "many ranges": lambda r: many(
        r.hyper_parameter_tuning_job_config.parameter_ranges.integer_parameter_ranges
    ),
    "many values": lambda r: (
        r.hyper_parameter_tuning_job_config.parameter_ranges.categorical_parameter_ranges[
            0
        ].values.extend(["v"] * 100_000)
    ),
    "many metrics": lambda r: many(
        r.training_job_definition.algorithm_specification.metric_definitions
    ),
    "many channels": lambda r: many(r.training_job_definition.input_data_config),
    "many variables": lambda r: r.training_job_definition.environment.update(
        {f"E{number}": "" for number in range(100_000)}
    ),
    "many hyperparameters": lambda r: r.training_job_definition.static_hyper_parameters.update(
        {f"h{number}": "" for number in range(100_000)}
    ),
    "long regex": lambda r: setattr(
        r.training_job_definition.algorithm_specification.metric_definitions[0],
        "regex",
        "(a*)*" * 1_000_000,
    ),
    "long bound": lambda r: setattr(
        r.hyper_parameter_tuning_job_config.parameter_ranges.integer_parameter_ranges[0],
        "max_value",
        "9" * 10_000_000,
    ),
    "long instance type": lambda r: setattr(
        r.training_job_definition.resource_config, "instance_type", "ml." * 1_000_000
    ),
    "endless digits": lambda r: setattr(
        r.hyper_parameter_tuning_job_config.parameter_ranges.continuous_parameter_ranges[0],
        "max_value",
        "1e" + "9" * 250,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_size_is_refused_quickly_and_in_few_words(case: str) -> None:
    request = create_request()
    HOSTILE[case](request)
    begun = time.process_time()
    found = violations(request)
    assert time.process_time() - begun < PATIENCE_S
    assert 0 < len(found) < 500
    assert all(len(violation.message) < 1_000 and len(violation.path) < 300 for violation in found)


SEEDS = tuple(
    make().SerializeToString(deterministic=True)
    for make in (create_request, grid_request, plural_request)
)

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["", "0", "-1", "1e-3", "1e999", "nan", "\0", "(", "file:///x", "s3://b/k", "."]
    ),
    st.text(min_size=1, max_size=3).map(lambda text: text * 300),
)


@st.composite
def mutated(draw: st.DrawFn) -> CreateRequest:
    """Change a few members of a right request, at random but within what protobuf can carry."""
    request = CreateRequest.FromString(draw(st.sampled_from(SEEDS)))
    if draw(st.booleans()):
        add_channel(request, draw(st.sampled_from(["train", ".."])))
    for _ in range(draw(st.integers(1, 6))):
        mutate(draw, request)
    return request


def mutate(draw: st.DrawFn, message: Message) -> None:
    # The stubs keep the descriptors of protobuf's two implementations apart.
    fields = cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields)
    field = draw(st.sampled_from(list(fields)))
    action = draw(st.sampled_from(["clear", "set", "set", "enter", "enter", "enter"]))
    value = getattr(message, field.name)
    if action == "clear":
        message.ClearField(field.name)
    elif is_map(field):
        value[draw(TEXTS)] = draw(TEXTS)
    elif field.is_repeated and inner_type(field) is not None:
        mutate(
            draw,
            draw(st.sampled_from(list(value))) if value and draw(st.booleans()) else value.add(),
        )
    elif field.is_repeated:
        value.append(scalar(draw, field))
    elif inner_type(field) is not None:
        value.SetInParent()
        mutate(draw, value)
    else:
        setattr(message, field.name, scalar(draw, field))


def scalar(draw: st.DrawFn, field: FieldDescriptor) -> object:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return draw(TEXTS)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return draw(st.booleans())
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return draw(st.floats())
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return draw(st.integers(-1, 5))
    return draw(st.one_of(st.integers(-1, 40), st.integers(-(2**31), 2**31 - 1)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(request=mutated())
def test_a_changed_request_is_accepted_or_refused_and_nothing_else(request: CreateRequest) -> None:
    found = violations(request)
    assert all(violation.message and violation.rule for violation in found)
    if not found:
        spec = read_job_spec(request, account=Account(), site=SITE, seed=1)
        assert spec.max_training_jobs >= 1
        assert spec.max_parallel >= 1
        filled = filled_request(spec, SITE)
        assert check_constraints(filled) == ()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.binary(max_size=200), seed=st.sampled_from(SEEDS))
@example(data=b"\x0a\x01\xff", seed=SEEDS[0])
def test_bytes_that_decode_are_accepted_or_refused_and_nothing_else(
    data: bytes, seed: bytes
) -> None:
    try:
        request = CreateRequest.FromString(seed + data)
    except DecodeError:
        return
    violations(request)
