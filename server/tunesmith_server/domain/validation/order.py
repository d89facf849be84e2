"""Put violations into the order of the request that they are about, whichever check found them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tunesmith_server.domain.errors import Violation
from tunesmith_server.domain.validation.members import inner_type, is_map

_NAME = re.compile(r"\.?(\w+)")
_INDEX = re.compile(r"\[(\d+)\]")


def in_request_order(message: Message, violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Sort violations by their members: as the contract has them, maps by key.

    Of one member, broken constraints come first, and what is not served last. The order depends
    on nothing else, so that the same request is always refused in the same words.
    """
    # The stubs keep the descriptors of protobuf's two implementations apart.
    descriptor = cast("Descriptor", message.DESCRIPTOR)
    return tuple(sorted(violations, key=lambda each: _place(descriptor, each)))


def _place(descriptor: Descriptor, violation: Violation) -> tuple[object, ...]:
    kind = 0 if violation.is_constraint else 2 if violation.unimplemented else 1
    return position(descriptor, violation.path), kind, violation.rule, violation.message


def position(descriptor: Descriptor, path: str) -> tuple[int | str, ...]:
    """Give a sortable form of a path: field numbers, indices and keys.

    It ends where the contract does not know the path.
    """
    steps: list[int | str] = []
    where: Descriptor | None = descriptor
    while where is not None and (name := _NAME.match(path)):
        field = _field(where, name[1])
        if field is None:
            break
        steps.append(field.number)
        path = path[name.end() :]
        if is_map(field):
            return (*steps, _key(path)) if path else tuple(steps)
        if index := _INDEX.match(path):
            steps.append(int(index[1]))
            path = path[index.end() :]
        where = inner_type(field)
    return tuple(steps)


def _field(descriptor: Descriptor, json_name: str) -> FieldDescriptor | None:
    return next((each for each in descriptor.fields if each.json_name == json_name), None)


def _key(rest: str) -> str:
    """Take a map's key out of ``.plain`` or ``['any other']``."""
    return rest[1:] if rest.startswith(".") else rest[2:-2]
