"""Lay out a message for reading: a member a line, named as SageMaker does, below its parent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tunesmith_server.cli import wording

#: Members whose text is in lines.
_OF_LINES: Final = frozenset({"ObjectiveFailureReason"})

# A member's value is whatever its descriptor says.
_Value: TypeAlias = Any


def lines(message: Message, depth: int = 0) -> Iterator[str]:
    """Give the lines of a message; members that are empty have none."""
    for field, value in message.ListFields():
        yield from _member(field.json_name, field, value, depth)


def _member(name: str, field: FieldDescriptor, value: _Value, depth: int) -> Iterator[str]:
    pad = "  " * depth
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        entry = nested.fields_by_name["value"]
        yield f"{pad}{name}:"
        for key in sorted(value):
            yield from _single(wording.plain(str(key)), entry, value[key], depth + 1)
    elif isinstance(field.default_value, list):
        yield f"{pad}{name}:"
        for index, item in enumerate(value):
            yield from _single(f"[{index}]", field, item, depth + 1)
    else:
        yield from _single(name, field, value, depth)


def _single(name: str, field: FieldDescriptor, value: _Value, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, Timestamp):
        yield f"{pad}{name}: {wording.moment(value)}"
    elif isinstance(value, Message):
        inner = list(lines(value, depth + 1))
        if inner:
            yield f"{pad}{name}:"
            yield from inner
    elif name in _OF_LINES:
        first, *rest = wording.several_lines(value)
        yield f"{pad}{name}: {first}"
        yield from (f"{pad}  {line}" for line in rest)
    else:
        yield f"{pad}{name}: {_scalar(field, value)}"


def _scalar(field: FieldDescriptor, value: _Value) -> str:
    if field.enum_type is not None:
        return wording.spelled(field.enum_type, value)
    return wording.plain(value) if isinstance(value, str) else json.dumps(value)
