"""The contract is SageMaker's, member for member, apart from the table of deliberate differences."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import protovalidate
import pytest
import re2
from botocore import xform_name
from google.api import field_behavior_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

import tunesmith.v1
from buf.validate import validate_pb2
from tests.conformance.comparison import Difference, structure_differences
from tests.conformance.contract_model import (
    SERVICE,
    contract_messages,
    contract_operations,
    is_map,
    reachable,
    rules_of,
)
from tests.conformance.deliberate_differences import DELIBERATE_DIFFERENCES, EXTENSION_RPCS
from tests.conformance.members import Structure
from tests.conformance.sagemaker_model import OPERATIONS, sagemaker_operations
from tunesmith.v1 import options_pb2

MESSAGES = contract_messages()
#: The one member of a request structure that SageMaker only fills in itself.
ECHOES = {"ResourceConfig.SelectedInstanceType", "ResourceConfig.SelectedInstanceCount"}
#: Spellings that SageMaker's own words cannot be cut into by rule.
WORDS_BY_HAND = {"FSxLustre": "FSX_LUSTRE"}


@cache
def differences(operation: str) -> tuple[Difference, ...]:
    theirs, ours = sagemaker_operations()[operation], contract_operations()[operation]
    return tuple(
        difference
        for a, b in zip(theirs, ours, strict=True)
        for difference in structure_differences(a, b)
    )


def test_the_service_has_every_operation_and_only_known_extensions() -> None:
    names = {method.name for method in SERVICE.methods}
    assert names - set(OPERATIONS) == set(EXTENSION_RPCS)
    assert set(OPERATIONS) <= names


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_differs_from_sagemaker_only_deliberately(operation: str) -> None:
    unexplained = [
        str(difference)
        for difference in differences(operation)
        if not any(difference.is_covered_by(line) for line in DELIBERATE_DIFFERENCES)
    ]
    assert unexplained == []


def test_every_deliberate_difference_exists() -> None:
    found = [difference for operation in OPERATIONS for difference in differences(operation)]
    stale = [
        (line.aspect, place or "anywhere")
        for line in DELIBERATE_DIFFERENCES
        for place in line.where or ("",)
        if not any(
            difference.is_covered_by(line) and place in ("", difference.where, difference.shape)
            for difference in found
        )
    ]
    assert stale == []


def test_the_comparison_sees_a_missing_member_and_a_changed_bound() -> None:
    theirs = sagemaker_operations()["ListTags"][0]
    ours = contract_operations()["ListTags"][0]
    fewer = Structure(name=ours.name, members=ours.members[:-1])
    aspects = {difference.aspect for difference in structure_differences(theirs, fewer)}
    assert aspects == {"name", "missing"}
    others = contract_operations()["ListTrainingJobs"][0]
    aspects = {difference.aspect for difference in structure_differences(theirs, others)}
    assert {"missing", "extra", "minimum", "maximum"} <= aspects


def fields() -> list[FieldDescriptor]:
    return [field for message in MESSAGES.values() for field in message.fields]


def field_id(field: FieldDescriptor) -> str:
    return f"{container(field)}.{field.json_name}"


def container(field: FieldDescriptor) -> str:
    message = field.containing_type
    assert message is not None
    return message.name


def test_field_names_are_sagemakers_in_snake_case() -> None:
    wrong = [field_id(f) for f in fields() if f.name != xform_name(f.json_name)]
    assert wrong == []


def test_extension_members_have_numbers_from_1000_and_no_others_have() -> None:
    extensions = {
        place for line in DELIBERATE_DIFFERENCES if line.aspect == "extra" for place in line.where
    }
    assert {field_id(field) for field in fields() if field.number >= 1000} == extensions


def zero_is_legal(field: FieldDescriptor) -> bool:
    rules = rules_of(field)
    match field.type:
        case FieldDescriptor.TYPE_ENUM:
            return False
        case FieldDescriptor.TYPE_STRING if field.json_name.endswith("InstanceType"):
            return False  # in place of an enum
        case FieldDescriptor.TYPE_STRING:
            return not rules.string.min_len and bool(re2.fullmatch(rules.string.pattern, ""))
        case FieldDescriptor.TYPE_INT32:
            return rules.int32.gte <= 0
        case FieldDescriptor.TYPE_INT64:
            return rules.int64.gte <= 0
        case _:
            return True


def test_a_scalar_is_optional_exactly_where_its_zero_is_legal() -> None:
    wrong = [
        field_id(field)
        for field in fields()
        if field.message_type is None
        and not field.is_repeated
        and field.has_presence != zero_is_legal(field)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_an_empty_message_breaks_nothing_but_its_required_fields(name: str) -> None:
    message = MESSAGES[name]
    empty = message_factory.GetMessageClass(message)()
    found = {
        (violation.proto.rule_id, violation.proto.field.elements[0].field_name)
        for violation in protovalidate.Validator().collect_violations(empty)
        if violation.proto.field is not None
    }
    assert found == {("required", f.name) for f in message.fields if rules_of(f).required}


def request_structures() -> set[str]:
    return {
        message.name
        for method in SERVICE.methods
        if not method.server_streaming
        for message in reachable(method.input_type)
    }


def expected_behaviour(field: FieldDescriptor, in_requests: set[str]) -> list[int]:
    if container(field) not in in_requests or field_id(field) in ECHOES:
        return [field_behavior_pb2.OUTPUT_ONLY]
    # The one required list that may be empty carries no `required` rule.
    if rules_of(field).required or field_id(field) == "AddTagsRequest.Tags":
        return [field_behavior_pb2.REQUIRED]
    return []


def test_field_behaviour_agrees_with_the_rules() -> None:
    in_requests = request_structures()
    wrong = [
        field_id(field)
        for field in fields()
        if list(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])
        != expected_behaviour(field, in_requests)
    ]
    assert wrong == []


def enums() -> dict[str, EnumDescriptor]:
    found = {field.enum_type.name: field.enum_type for field in fields() if field.enum_type}
    error_reason = importlib.import_module("tunesmith.v1.error_reason_pb2")
    return {**found, "ErrorReason": error_reason.ErrorReason.DESCRIPTOR}


def test_enum_values_carry_sagemakers_spelling_and_the_enums_prefix() -> None:
    wrong = []
    for name, enum in enums().items():
        prefix = xform_name(name).upper()
        for value in enum.values:
            spelling = value.GetOptions().Extensions[options_pb2.sagemaker_name]
            word = WORDS_BY_HAND.get(spelling, xform_name(spelling).upper())
            expected = f"{prefix}_{word}" if value.number else f"{prefix}_UNSPECIFIED"
            if value.name != expected or bool(spelling) != bool(value.number):
                wrong.append(f"{value.name}: {spelling!r}")
    assert wrong == []


def test_enum_names_are_sagemakers_shapes() -> None:
    assert {
        field_id(field): field.enum_type.name
        for field in fields()
        if field.enum_type and field.enum_type.name not in sagemaker_enum_shapes()
    } == {  # of extensions
        "TrialLeaseConfig.LeaseExpiryAction": "LeaseExpiryAction",
        "HyperParameterTuningJobCompletionDetails.CompletionCriterion": "CompletionCriterion",
        "StoppingVerdict.Rule": "StoppingRule",
    }


@cache
def sagemaker_enum_shapes() -> frozenset[str]:
    found: set[str] = set()
    pending = [side for pair in sagemaker_operations().values() for side in pair]
    while pending:
        for member in pending.pop().members:
            value = member.value if member.value.element is None else member.value.element
            if value.kind == "enum":
                found.add(value.shape)
            if value.structure is not None:
                pending.append(value.structure)
    return frozenset(found)


@pytest.mark.parametrize("field", fields(), ids=field_id)
def test_the_rules_are_those_of_the_fields_type(field: FieldDescriptor) -> None:
    kind = rules_of(field).WhichOneof("type")
    expected = {
        FieldDescriptor.TYPE_STRING: "string",
        FieldDescriptor.TYPE_INT32: "int32",
        FieldDescriptor.TYPE_INT64: "int64",
        FieldDescriptor.TYPE_DOUBLE: "double",
        FieldDescriptor.TYPE_ENUM: "enum",
    }.get(field.type)
    if is_map(field):
        expected = "map"
    elif field.is_repeated:
        expected = "repeated"
    assert kind in (None, expected)


def test_no_message_of_the_package_is_left_without_a_comparison() -> None:
    """Messages of other services may stand beside; those of our files of nouns may not."""
    compared = set(MESSAGES)
    nouns = {message.file.name for message in MESSAGES.values()}
    left_out = {
        name
        for module in pkgutil.iter_modules(tunesmith.v1.__path__, "tunesmith.v1.")
        if module.name.endswith("_pb2")
        for name, message in module_messages(module.name).items()
        if message.file.name in nouns and name not in compared
    }
    assert left_out == set()


def module_messages(module: str) -> dict[str, Descriptor]:
    return dict(importlib.import_module(module).DESCRIPTOR.message_types_by_name)


def test_ignored_rules_are_used_only_where_absence_needs_them() -> None:
    wrong = [
        field_id(field)
        for field in fields()
        if rules_of(field).ignore == validate_pb2.IGNORE_ALWAYS
        or (rules_of(field).ignore and (rules_of(field).required or field.has_presence))
    ]
    assert wrong == []
