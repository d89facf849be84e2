"""Our contract, read from the generated descriptors and the annotations in their options."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from buf.validate import validate_pb2
from tests.conformance.members import Member, Structure, Value
from tunesmith.v1 import options_pb2, tuning_service_pb2

SERVICE = tuning_service_pb2.DESCRIPTOR.services_by_name["TuningService"]

_KINDS = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
}


def contract_operations() -> dict[str, tuple[Structure, Structure]]:
    """Return the request and response of each unary RPC of the tuning service."""
    return {
        method.name: (structure(method.input_type), structure(method.output_type))
        for method in SERVICE.methods
        if not method.server_streaming
    }


def contract_messages() -> dict[str, Descriptor]:
    """Return every message of ours that an operation's request or response reaches."""
    found: dict[str, Descriptor] = {}
    for method in SERVICE.methods:
        if not method.server_streaming:
            for root in (method.input_type, method.output_type):
                found.update({message.name: message for message in reachable(root)})
    return found


def reachable(root: Descriptor) -> Iterator[Descriptor]:
    """Yield a message and those below it, Timestamp and map entries left out."""
    pending, seen = [root], {root.full_name}
    while pending:
        message = pending.pop()
        yield message
        for field in message.fields:
            below = field.message_type
            if below is None or below.GetOptions().map_entry:
                continue
            if below.file.package == "tunesmith.v1" and below.full_name not in seen:
                seen.add(below.full_name)
                pending.append(below)


def structure(message: Descriptor) -> Structure:
    """Read a message and, through its fields, all below it."""
    return Structure(
        name=message.name,
        members=tuple(
            Member(name=field.json_name, required=rules_of(field).required, value=_value(field))
            for field in message.fields
        ),
    )


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """Return the protovalidate annotations of a field."""
    return field.GetOptions().Extensions[validate_pb2.field]


def is_map(field: FieldDescriptor) -> bool:
    """Tell whether the field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def sagemaker_words(enum: EnumDescriptor) -> tuple[str, ...]:
    """Return SageMaker's spellings of an enum's values, the unspecified one left out."""
    return tuple(
        value.GetOptions().Extensions[options_pb2.sagemaker_name]
        for value in enum.values
        if value.number != 0
    )


def _value(field: FieldDescriptor) -> Value:
    rules = rules_of(field)
    if field.message_type is not None and is_map(field):
        entry = field.message_type.fields_by_name
        return Value(
            kind="map",
            minimum=rules.map.min_pairs if rules.map.HasField("min_pairs") else None,
            maximum=rules.map.max_pairs if rules.map.HasField("max_pairs") else None,
            key=_single(entry["key"], rules.map.keys),
            element=_single(entry["value"], rules.map.values),
        )
    if field.is_repeated:
        return Value(
            kind="list",
            minimum=rules.repeated.min_items if rules.repeated.HasField("min_items") else None,
            maximum=rules.repeated.max_items if rules.repeated.HasField("max_items") else None,
            element=_single(field, rules.repeated.items),
        )
    return _single(field, rules)


def _single(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Value:
    if field.message_type is not None:
        below = field.message_type
        if below.full_name == "google.protobuf.Timestamp":
            return Value(kind="timestamp")
        return Value(kind="structure", structure=structure(below))
    if field.enum_type is not None:
        # An enum that admits numbers outside its values is no enum to a reader.
        kind = "enum" if rules.enum.defined_only else "int32"
        return Value(kind=kind, words=sagemaker_words(field.enum_type))
    kind = _KINDS[field.type]
    match kind:
        case "string":
            text = rules.string
            return Value(
                kind=kind,
                minimum=text.min_len if text.HasField("min_len") else None,
                maximum=text.max_len if text.HasField("max_len") else None,
                pattern=text.pattern if text.HasField("pattern") else None,
            )
        case "int32" | "int64":
            number = rules.int32 if kind == "int32" else rules.int64
            return Value(
                kind=kind,
                minimum=number.gte if number.HasField("gte") else None,
                maximum=number.lte if number.HasField("lte") else None,
            )
        case _:
            return Value(kind=kind, finite=rules.double.finite)
