"""SageMaker's words for a broken constraint: one table over protovalidate's rule ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from tunesmith.v1 import options_pb2

_SHOWN = 60  # characters of a value: a message must not grow with what it complains about
_PATTERN = "string.pattern"
_ANCHORED = re.compile(r"\^\(\?:(.*)\)\$", re.DOTALL)


def excerpt(value: object) -> str:
    """Write a value for a message as JSON has it, cut where it is long."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def requirement(rule_id: str, field: FieldDescriptor, rules: Message, value: object) -> str | None:
    """Say what a member must satisfy, in SageMaker's words; None for a rule without words here.

    Args:
        rule_id: Protovalidate's name of the broken rule, e.g. ``string.max_len``.
        field: The member that breaks it.
        rules: The rules of the member's type, e.g. its ``StringRules``.
        value: The member's value.
    """
    if rule_id.partition(".")[2] in _BOUNDS:
        return _bound(rules, value)
    words = _WORDS.get(rule_id)
    if words is None:
        return None
    return words(field, rules) + (_file_uri(rules, value) if rule_id == _PATTERN else "")


def enum_spellings(field: FieldDescriptor) -> Mapping[int, str]:
    """Give the values of an enum in SageMaker's spelling, in the order of the contract."""
    values = field.enum_type.values if field.enum_type else ()
    return {
        value.number: value.GetOptions().Extensions[options_pb2.sagemaker_name] or value.name
        for value in values
        if value.number != 0
    }


def _length_at_most(attribute: str) -> Callable[[FieldDescriptor, Message], str]:
    return lambda _, rules: (
        f"Member must have length less than or equal to {getattr(rules, attribute)}"
    )


def _length_at_least(attribute: str) -> Callable[[FieldDescriptor, Message], str]:
    return lambda _, rules: (
        f"Member must have length greater than or equal to {getattr(rules, attribute)}"
    )


def _pattern(_field: FieldDescriptor, rules: Message) -> str:
    pattern = rules.pattern if isinstance(rules, validate_pb2.StringRules) else ""
    bare = _ANCHORED.fullmatch(pattern)
    return f"Member must satisfy regular expression pattern: {bare[1] if bare else pattern}"


def _file_uri(rules: Message, value: object) -> str:
    """Offer a URI in place of the plain path that was given, where a URI is asked for."""
    asks_for_uri = isinstance(rules, validate_pb2.StringRules) and "file://" in rules.pattern
    if not asks_for_uri or not isinstance(value, str) or "://" in value:
        return ""
    if not value.startswith("/"):
        return "; write file:// and the absolute path, such as file:///tmp/out"
    return f"; write {excerpt('file://' + value.translate(_ESCAPES))}"


def _enum(field: FieldDescriptor, _rules: Message) -> str:
    return f"Member must satisfy enum value set: [{', '.join(enum_spellings(field).values())}]"


_WORDS: Mapping[str, Callable[[FieldDescriptor, Message], str]] = {
    "required": lambda _field, _rules: "Member must not be null",
    "string.max_len": _length_at_most("max_len"),
    "string.min_len": _length_at_least("min_len"),
    _PATTERN: _pattern,
    "enum.defined_only": _enum,
    "enum.not_in": _enum,
    "repeated.max_items": _length_at_most("max_items"),
    "repeated.min_items": _length_at_least("min_items"),
    "map.max_pairs": _length_at_most("max_pairs"),
    "map.min_pairs": _length_at_least("min_pairs"),
    "double.finite": lambda _field, _rules: "Member must be a finite number",
}

_ESCAPES = str.maketrans({"%": "%25", "?": "%3F", "#": "%23"})

_BOUNDS = frozenset({"gte", "lte", "gte_lte"})


def _bound(rules: Message, value: object) -> str:
    """Name the side of a numeric range that the value is beyond; one rule id stands for both."""
    least, most = getattr(rules, "gte", 0), getattr(rules, "lte", 0)
    has_least = rules.HasField("gte")
    if has_least and (not isinstance(value, int | float) or value < least):
        return f"Member must have value greater than or equal to {least}"
    return f"Member must have value less than or equal to {most}"
