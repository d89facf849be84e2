"""SageMaker's tuning operations, read from botocore's service model. Source of truth."""

from __future__ import annotations

from typing import Any

import botocore.session

from tests.conformance.members import Member, Structure, Value

OPERATIONS = (
    "CreateHyperParameterTuningJob",
    "DescribeHyperParameterTuningJob",
    "ListHyperParameterTuningJobs",
    "StopHyperParameterTuningJob",
    "DeleteHyperParameterTuningJob",
    "ListTrainingJobsForHyperParameterTuningJob",
    "DescribeTrainingJob",
    "ListTrainingJobs",
    "StopTrainingJob",
    "DeleteTrainingJob",
    "AddTags",
    "ListTags",
    "DeleteTags",
)

_KINDS = {
    "integer": "int32",
    "long": "int64",
    "float": "float",
    "boolean": "bool",
    "timestamp": "timestamp",
}


def sagemaker_operations() -> dict[str, tuple[Structure, Structure]]:
    """Return each operation's request and response; a void response has the name ``(void)``."""
    model = botocore.session.Session().get_service_model("sagemaker")
    operations = {}
    for name in OPERATIONS:
        operation = model.operation_model(name)
        response = operation.output_shape
        operations[name] = (
            _structure(operation.input_shape),
            Structure(name="(void)", members=()) if response is None else _structure(response),
        )
    return operations


# botocore has no types; its shapes end here.
def _structure(shape: Any) -> Structure:
    return Structure(
        name=shape.name,
        members=tuple(
            Member(name=name, required=name in shape.required_members, value=_value(member))
            for name, member in shape.members.items()
        ),
    )


def _value(shape: Any) -> Value:
    bounds = {
        "shape": shape.name,
        "minimum": shape.metadata.get("min"),
        "maximum": shape.metadata.get("max"),
    }
    match shape.type_name:
        case "structure":
            return Value(kind="structure", shape=shape.name, structure=_structure(shape))
        case "list":
            bounds["minimum"] = bounds["minimum"] or None
            return Value(kind="list", element=_value(shape.member), **bounds)
        case "map":
            bounds["minimum"] = bounds["minimum"] or None
            return Value(kind="map", key=_value(shape.key), element=_value(shape.value), **bounds)
        case "string" if shape.enum:
            return Value(kind="enum", shape=shape.name, words=tuple(shape.enum))
        case "string":
            bounds["minimum"] = bounds["minimum"] or None
            return Value(kind="string", pattern=shape.metadata.get("pattern"), **bounds)
        case plain:
            return Value(kind=_KINDS[plain], **bounds)
