"""Check a request, member by member, against the constraints that its contract declares.

Length, size, value, pattern, enum and presence are declared in the protos and checked by
protovalidate; whether members go together is for `rules`, whether they are served for `unserved`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence, Sized
from typing import TypeVar, cast

import protovalidate
from google.protobuf.descriptor import FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from buf.validate import validate_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import Violation
from tunesmith_server.domain.validation.members import (
    Key,
    Member,
    MemberPath,
    can_hold,
    cut_to_limits,
    inner_type,
    is_bounded,
    is_map,
    limit_of,
    messages_in,
    overlong,
    walk,
)
from tunesmith_server.domain.validation.wording import excerpt, requirement

MessageT = TypeVar("MessageT", bound=Message)

# 0001-01-01 and 9999-12-31: what a Timestamp may hold, and what a datetime can.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_LENGTHS = frozenset({"string.max_len", "string.min_len"})
_NANOS_PER_S = 1_000_000_000


def warm_up() -> None:
    """Compile the rules of the largest request, which the first check would otherwise wait for."""
    check_constraints(pb.CreateHyperParameterTuningJobRequest())


def check_constraints(message: Message) -> tuple[Violation, ...]:
    """List the constraints that a request breaks, in SageMaker's words.

    Elements beyond a list's limit are not looked at: the list itself is refused.
    """
    return check_and_cut(message)[0]


def check_and_cut(message: MessageT) -> tuple[tuple[Violation, ...], MessageT]:
    """List the broken constraints, and give the request with its lists cut to their limits.

    What checks the request further takes that one: its size is bounded. It is the request itself
    where no list is too long.
    """
    too_long = [] if is_bounded(message) else overlong(message)
    bounded = cut_to_limits(message) if too_long else message
    broken = _validator().collect_violations(bounded)
    found = [
        *(_too_long(member) for member in too_long),
        *(_violation(bounded, each) for each in _told_once(broken)),
        *_impossible_times(bounded),
    ]
    return tuple(found), bounded


def check_unknown_members(message: Message) -> tuple[Violation, ...]:
    """List what a request carries that this release's contract does not have.

    A client of a later release may send it. To leave it out of account would be to run another
    job than the one that was asked for.
    """
    stripped = type(message)()
    stripped.CopyFrom(message)
    stripped.DiscardUnknownFields()
    if stripped.ByteSize() == message.ByteSize():
        return ()
    return tuple(_unknown_members(message))


@functools.cache
def _validator() -> protovalidate.Validator:
    return protovalidate.Validator()


def _too_long(member: Member) -> Violation:
    size = len(member.value) if isinstance(member.value, Sized) else 0
    rule = "map.max_pairs" if is_map(member.field) else "repeated.max_items"
    words = f"Member must have length less than or equal to {limit_of(member.field)}"
    return _worded(member.path, rule, words, f"'[{size} items]'")


def _told_once(broken: Sequence[protovalidate.Violation]) -> Iterator[protovalidate.Violation]:
    """Pass over the pattern of a text whose length is wrong: most patterns bound it too."""
    wrong_lengths = {_place(each) for each in broken if each.proto.rule_id in _LENGTHS}
    for each in broken:
        if each.proto.rule_id != "string.pattern" or _place(each) not in wrong_lengths:
            yield each


def _place(broken: protovalidate.Violation) -> tuple[object, ...]:
    """Give the member as protovalidate names it, a map's key apart from the key's value."""
    elements = broken.proto.field.elements if broken.proto.field else ()
    return broken.proto.for_key, *(
        (element.field_name, element.subscript.value if element.subscript else None)
        for element in elements
    )


def _violation(message: Message, broken: protovalidate.Violation) -> Violation:
    proto = broken.proto
    path, where = _locate(message, proto.field.elements if proto.field else ())
    rule_path = [element.field_name for element in proto.rule.elements] if proto.rule else []
    words = None
    if isinstance(where, FieldDescriptor):
        rules = _rules_at(where, rule_path)
        words = requirement(proto.rule_id, where, rules, broken.field_value)
    elif where is not None:
        choices = ", ".join(field.json_name for field in where.fields)
        words = f"Member must have exactly one of [{choices}]"
    words = words or f"Member {proto.message}"
    shown = "null" if proto.rule_id == "required" else f"'{excerpt(broken.field_value)}'"
    if proto.for_key:
        words = f"Map keys must satisfy constraint: [{words}]"
    return _worded(path, proto.rule_id, words, shown)


def _worded(path: MemberPath, rule: str, words: str, shown: str) -> Violation:
    message = f"Value {shown} at '{path.sagemaker_path}' failed to satisfy constraint: {words}"
    return Violation(path=str(path), message=message, rule=rule, is_constraint=True)


def _locate(
    message: Message, elements: Sequence[protovalidate.FieldPathElementPb]
) -> tuple[MemberPath, FieldDescriptor | OneofDescriptor | None]:
    """Follow protovalidate's path, which has the contract's names, to the JSON's names."""
    path, descriptor = MemberPath(), message.DESCRIPTOR
    where: FieldDescriptor | OneofDescriptor | None = None
    for element in elements:
        # The stubs keep the descriptors of protobuf's two implementations apart.
        field = cast("FieldDescriptor | None", descriptor.fields_by_name.get(element.field_name))
        if field is None:
            oneof = descriptor.oneofs_by_name.get(element.field_name)
            return path / element.field_name, cast("OneofDescriptor | None", oneof)
        where = field
        path /= field.json_name
        if element.subscript is not None:
            subscript = element.subscript.value
            is_index = element.subscript.field == "index"
            path /= int(subscript) if is_index else Key(str(subscript))
        if (inner := inner_type(field)) is not None:
            descriptor = inner
    return path, where


def _rules_at(field: FieldDescriptor, rule_path: Sequence[str]) -> Message:
    """Find the rules that a rule's path ends in, e.g. ``repeated.items.string`` of the field's."""
    rules: Message = field.GetOptions().Extensions[validate_pb2.field]
    for name in rule_path[:-1]:
        rules = getattr(rules, name)
    return rules


def _impossible_times(message: Message) -> Iterator[Violation]:
    if _has_possible_times(message):
        return
    for member in walk(message):
        value = member.value
        if isinstance(value, Timestamp) and not _is_possible(value):
            words = "Member must be a time from the year 1 to the year 9999"
            shown = f"'{value.seconds} s {value.nanos} ns'"
            yield _worded(member.path, "timestamp.valid", words, shown)


def _has_possible_times(message: Message) -> bool:
    """Tell quickly, for the many requests that are so, that no time is out of range."""
    if isinstance(message, Timestamp):
        return _is_possible(message)
    if not can_hold(message.DESCRIPTOR, Timestamp.DESCRIPTOR.full_name):
        return True
    return all(
        _has_possible_times(inner)
        for field, value in message.ListFields()
        for _, inner in messages_in(field, value)
    )


def _is_possible(time: Timestamp) -> bool:
    is_second = _FIRST_SECOND <= time.seconds <= _LAST_SECOND
    return is_second and 0 <= time.nanos < _NANOS_PER_S


def _unknown_members(message: Message) -> Iterator[Violation]:
    yield from _unknown_in(message, MemberPath())
    for member in walk(message):
        if isinstance(member.value, Message):
            yield from _unknown_in(member.value, member.path)
        for step, element in messages_in(member.field, member.value):
            if step is not None:
                yield from _unknown_in(element, member.path / step)


def _unknown_in(message: Message, path: MemberPath) -> Iterator[Violation]:
    unknown = UnknownFieldSet(message)
    numbers = sorted({unknown[index].field_number for index in range(len(unknown))})
    if numbers:
        listed = ", ".join(map(str, numbers))
        kind = message.DESCRIPTOR.name
        yield Violation(
            path=str(path),
            message=f"{kind} has members that this release does not know, under the numbers "
            f"{listed}; leave them out, or use a server of the release that the client is of",
            rule="unknown_member",
        )
