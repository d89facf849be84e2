"""Walk the members of a request, and say where one is as its author would.

Which values are right is said elsewhere; this knows only where they are and how many there may be.
"""

from __future__ import annotations

import functools
import re
from collections.abc import (
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sized,
)
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2

MessageT = TypeVar("MessageT", bound=Message)

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_KEY_SHOWN = 64  # characters


@dataclass(frozen=True, slots=True)
class Key:
    """Name an entry of a map."""

    text: str


@dataclass(frozen=True, slots=True)
class MemberPath:
    """Say where a member is: member names, list indices from 0, and map keys."""

    steps: tuple[str | int | Key, ...] = ()

    def __truediv__(self, step: str | int | Key) -> MemberPath:
        return MemberPath((*self.steps, step))

    def __str__(self) -> str:
        """Write the path as the request's JSON has it, e.g. ``Tags[2].Key``."""
        text = ""
        for step in self.steps:
            match step:
                case int():
                    text += f"[{step}]"
                case Key(text=key) if not _PLAIN_KEY.fullmatch(key) or len(key) > _KEY_SHOWN:
                    shown = key if len(key) <= _KEY_SHOWN else f"{key[:_KEY_SHOWN]}…"
                    text += f"[{shown!r}]"
                case Key(text=name) | str(name):
                    text += f".{name}" if text else name
        return text

    @property
    def sagemaker_path(self) -> str:
        """Write the path as SageMaker's messages do, e.g. ``tags.3.member.key``."""
        words: list[str] = []
        for step in self.steps:
            match step:
                case int():
                    words += [str(step + 1), "member"]
                case Key(text=key):
                    words += [key[:_KEY_SHOWN], "member"]
                case _:
                    words.append(step[:1].lower() + step[1:])
        return ".".join(words)

    @property
    def template(self) -> str:
        """Write the path without indices and keys, e.g. ``Tags[].Key``."""
        text = ""
        for step in self.steps:
            match step:
                case int() | Key():
                    text += "[]"
                case _:
                    text += f".{step}" if text else step
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Hold a member that is set.

    Attributes:
        path: Where it is.
        field: What it is.
        value: The scalar, message, list or map itself, not a copy.
    """

    path: MemberPath
    field: FieldDescriptor
    value: object


def walk(message: Message, path: MemberPath | None = None) -> Iterator[Member]:
    """Give every member that is set, each before those inside it.

    Of a list longer than it may be, only so many elements as are allowed are entered: a hostile
    request costs no more than a large one.
    """
    parent = path or MemberPath()
    for field, value in message.ListFields():
        here = parent / field.json_name
        yield Member(path=here, field=field, value=value)
        for step, inner in messages_in(field, value):
            yield from walk(inner, here if step is None else here / step)


def is_bounded(message: Message) -> bool:
    """Tell quickly, for the many requests that are so, that no list or map is too long."""
    if not _has_limits(message.DESCRIPTOR):
        return True
    for field, value in message.ListFields():
        limit = limit_of(field)
        if limit is not None and len(value) > limit:
            return False
        if inner_type(field) is None:
            continue
        if not all(is_bounded(inner) for _, inner in messages_in(field, value)):
            return False
    return True


def overlong(message: Message) -> list[Member]:
    """Find the lists and maps that hold more than they may."""
    return [member for member in walk(message) if _is_overlong(member)]


def cut_to_limits(message: MessageT) -> MessageT:
    """Return a copy in which every list and map ends where its limit is."""
    copy = type(message)()
    copy.CopyFrom(message)
    for member in walk(copy):
        limit = limit_of(member.field)
        if limit is None or not _is_overlong(member):
            continue
        if isinstance(member.value, MutableMapping):
            for key in sorted(member.value)[limit:]:
                del member.value[key]
        elif isinstance(member.value, MutableSequence):
            del member.value[limit:]
    return copy


@functools.cache
def limit_of(field: FieldDescriptor) -> int | None:
    """Read how many elements a list or map may hold from its annotation; None for any number."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if rules.repeated.HasField("max_items"):
        return int(rules.repeated.max_items)
    return int(rules.map.max_pairs) if rules.map.HasField("max_pairs") else None


@functools.cache
def _has_limits(descriptor: Descriptor) -> bool:
    """Tell whether messages of a type can hold, at any depth, a list or map with a limit."""
    inner = {
        kind.full_name: kind for kind in map(inner_type, descriptor.fields) if kind is not None
    }
    return any(limit_of(field) is not None for field in descriptor.fields) or any(
        _has_limits(kind) for kind in inner.values()
    )


def is_map(field: FieldDescriptor) -> bool:
    """Tell whether a member is a map, which protobuf describes as a list of entries."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


@functools.cache
def can_hold(outer: Descriptor, full_name: str) -> bool:
    """Tell whether messages of one type can hold messages of another, at any depth."""
    inner = {kind.full_name: kind for kind in map(inner_type, outer.fields) if kind is not None}
    return full_name in inner or any(can_hold(kind, full_name) for kind in inner.values())


@functools.cache
def inner_type(field: FieldDescriptor) -> Descriptor | None:
    """Give the type of the messages that a member, list or map holds; None where it holds none."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return kind.fields_by_name["value"].message_type
    return kind


def messages_in(
    field: FieldDescriptor, value: object
) -> Iterator[tuple[int | Key | None, Message]]:
    """Give the messages directly inside a member, each with its index or key, if it has one.

    Ends where the limit of a list does.
    """
    if inner_type(field) is None:
        return
    if isinstance(value, Message):
        yield None, value
    elif isinstance(value, Mapping):
        for key in islice(sorted(value), limit_of(field)):
            yield Key(str(key)), value[key]
    elif isinstance(value, Iterable):
        yield from enumerate(islice(value, limit_of(field)))


def _is_overlong(member: Member) -> bool:
    limit = limit_of(member.field)
    return limit is not None and isinstance(member.value, Sized) and len(member.value) > limit
