"""Convert between the messages of ``tunesmith.v1`` and SageMaker's JSON, by their descriptors.

The one codec, for every client, command and front door. ``google.protobuf.json_format`` cannot
do it: SageMaker spells enum values its own way, sends times as epoch seconds and whole numbers of
64 bits as numbers. What each message type needs is worked out once and kept.

It checks shape: names, JSON types, enum values, and what a message could not carry. Bounds,
patterns and rules across members are the server's. Text is ``aws_json_text``'s.

Numbers that are not finite are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, as in
Smithy's AWS JSON 1.1 protocol. AWS's Python clients pass these on as text, which no program of
their users expects, so that answers with numbers of 32 bits have none of them.

Sources: SageMaker's service model in botocore 1.44.5; Smithy's AWS JSON 1.1 protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tunesmith.aws_json_values import (
    Finding,
    Findings,
    Key,
    Misfit,
    Parse,
    Path,
    Render,
    explicit_zero_rule,
    is_repeated,
    is_timestamp,
    json_kind,
    map_value,
    parse_timestamp,
    scalar_parser,
    scalar_renderer,
    timestamp_seconds,
)
from tunesmith.errors import Violation, refusal

# JSON is untyped by nature: the codec is the place where `Any` ends.
JsonObject: TypeAlias = dict[str, Any]
M = TypeVar("M", bound=Message)

_Blank: TypeAlias = Callable[[], Any]
_Read: TypeAlias = Callable[[Message, Any, Path, Findings], None]

# Members that SageMaker always shows, and that its clients index without looking, though a
# message cannot tell "empty" from "absent"; and those of our own events whose zero says something.
_ALWAYS_SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "ParameterRanges": (
        "IntegerParameterRanges",
        "ContinuousParameterRanges",
        "CategoricalParameterRanges",
    ),
    "TrainingJobStatusCounters": (
        "Completed",
        "InProgress",
        "RetryableError",
        "NonRetryableError",
        "Stopped",
    ),
    "ObjectiveStatusCounters": ("Succeeded", "Pending", "Failed"),
    "DescribeHyperParameterTuningJobResponse": (
        "TrainingJobStatusCounters",
        "ObjectiveStatusCounters",
    ),
    "HyperParameterTuningJobSummary": ("TrainingJobStatusCounters", "ObjectiveStatusCounters"),
    "HyperParameterTrainingJobSummary": ("TunedHyperParameters",),
    "ListHyperParameterTuningJobsResponse": ("HyperParameterTuningJobSummaries",),
    "ListTrainingJobsForHyperParameterTuningJobResponse": ("TrainingJobSummaries",),
    "ListTrainingJobsResponse": ("TrainingJobSummaries",),
    "AddTagsResponse": ("Tags",),
    "ListTagsResponse": ("Tags",),
    "DescribeTrainingJobResponse": ("ModelArtifacts",),
    "ModelArtifacts": ("S3ModelArtifacts",),
    "MetricEmitted": ("Value", "Step"),
}

# Items of lists that say nothing without this number: a list of 32 bits' numbers leaves out those
# in which it is NaN.
_SAYS_NOTHING_WITHOUT: Final[Mapping[str, str]] = {"MetricData": "Value"}


def to_aws(message: Message, *, single_precision: bool = False) -> JsonObject:
    """Give a message in SageMaker's JSON; what is absent has no key.

    Args:
        message: Of any type without ``bytes`` members.
        single_precision: Round numbers to 32 bits, as SageMaker itself shows them. All are finite
            then: the largest of 32 bits stands for what is beyond, and a NaN, or a metric whose
            value is one, is absent.
    """
    return _writing_plan(message.DESCRIPTOR, single_precision).write(message)


def from_aws(
    data: object, message_type: type[M], *, unknown: Literal["refuse", "ignore"] = "refuse"
) -> M:
    """Make a message from SageMaker's JSON, as ``json.loads`` gives it. ``null`` means absent.

    Args:
        data: The whole request or response.
        message_type: What it should be.
        unknown: What becomes of members that the message has not; AWS ignores them.

    Raises:
        InvalidRequest: The JSON does not fit; every misfit is listed, by the path as written.
    """
    reading = read_aws(data, message_type, unknown=unknown)
    if reading.findings:
        raise refusal(reading.violations, left_out=reading.left_out)
    return reading.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[M]):
    """Hold what could be read of SageMaker's JSON, and what could not.

    Attributes:
        message: All that fits; what does not is absent, or the type's zero in a list.
        findings: Every misfit; the first hundred.
        left_out: How many more there are.
    """

    message: M
    findings: tuple[Finding, ...]
    left_out: int

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Give every misfit in words, by the path as written."""
        return tuple(finding.violation for finding in self.findings)


def read_aws(
    data: object, message_type: type[M], *, unknown: Literal["refuse", "ignore"] = "refuse"
) -> Reading[M]:
    """Read as much of a message from SageMaker's JSON as fits, and note what does not.

    For those who have more to say about a request than its shape, and say it all at once. The
    arguments are ``from_aws``'s.
    """
    message = message_type()
    findings = Findings(ignore_unknown=unknown == "ignore")
    _reading_plan(message.DESCRIPTOR).read(message, data, None, findings)
    return Reading(message=message, findings=tuple(findings.found), left_out=findings.left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _WritingPlan:
    """Hold how each member of one message type becomes JSON.

    Attributes:
        members: JSON name and conversion of a set member's value, by field number.
        always: JSON name and default of the members to be shown even when unset.
    """

    members: Mapping[int, tuple[str, Render]]
    always: tuple[tuple[str, _Blank], ...]

    def write(self, message: Message) -> JsonObject:
        shown: JsonObject = {}
        # What has no form in JSON, and must not be shown as its type's zero instead.
        formless: list[str] = []
        members = self.members
        for field, value in message.ListFields():
            name, render = members[field.number]
            rendered = render(value)
            if rendered is None:
                formless.append(name)
            else:
                shown[name] = rendered
        for name, blank in self.always:
            if name not in shown and name not in formless:
                shown[name] = blank()
        return shown


@cache
def _writing_plan(descriptor: Descriptor, single_precision: bool) -> _WritingPlan:  # noqa: FBT001 - a cache key
    always = _ALWAYS_SHOWN.get(descriptor.name, ())
    fields = {field.json_name: field for field in descriptor.fields}
    return _WritingPlan(
        members={
            field.number: (field.json_name, _renderer(field, single_precision=single_precision))
            for field in descriptor.fields
        },
        always=tuple((name, _blank(fields[name], single_precision)) for name in always),
    )


def _blank(field: FieldDescriptor, single_precision: bool) -> _Blank:  # noqa: FBT001 - as its caller
    if map_value(field) is not None:
        return dict
    if is_repeated(field):
        return list
    nested = field.message_type
    if nested is None:
        return lambda: field.default_value
    # An unset message shows as its always-shown members do.
    plan = _writing_plan(nested, single_precision)
    return lambda: {name: blank() for name, blank in plan.always}


def _renderer(field: FieldDescriptor, *, single_precision: bool) -> Render:
    entry_value = map_value(field)
    if entry_value is not None:
        render = _single_renderer(entry_value, single_precision=single_precision)
        return lambda entries: {key: render(entries[key]) for key in sorted(entries)}
    render = _single_renderer(field, single_precision=single_precision)
    if not is_repeated(field):
        return render
    needed = _SAYS_NOTHING_WITHOUT.get(field.message_type.name) if field.message_type else None
    if single_precision and needed is not None:
        return lambda items: [shown for item in items if needed in (shown := render(item))] or None
    return lambda items: [render(item) for item in items]


def _single_renderer(field: FieldDescriptor, *, single_precision: bool) -> Render:
    nested = field.message_type
    if nested is None:
        return scalar_renderer(field, single_precision=single_precision)
    if is_timestamp(nested):
        return timestamp_seconds
    # The nested plan is made when it is first used: a type may lead back to itself.
    return lambda message: _writing_plan(nested, single_precision).write(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadingPlan:
    """Hold how each member of one message type is read from JSON.

    Attributes:
        members: How to read a member, by JSON name.
        choices: For each ``oneof``, the JSON names of which at most one may be given.
    """

    members: Mapping[str, _Read]
    choices: tuple[frozenset[str], ...]

    def read(self, message: Message, data: object, path: Path, findings: Findings) -> None:
        if not isinstance(data, dict):
            findings.add(path, f"is {json_kind(data)}; expected an object")
            return
        members = self.members
        for name, value in data.items():
            if value is None:
                continue
            read = members.get(name)
            if read is not None:
                read(message, value, (path, name), findings)
            elif not findings.ignore_unknown:
                findings.add_unknown(path, name, members)
        for choice in self.choices:
            given = sorted(name for name in choice.intersection(data) if data[name] is not None)
            if len(given) > 1:
                excludes = f"excludes {given[0]!r}; give only one of them"
                findings.add((path, given[1]), excludes, kind=Misfit.RULE)


@cache
def _reading_plan(descriptor: Descriptor) -> _ReadingPlan:
    return _ReadingPlan(
        members={field.json_name: _reader(field) for field in descriptor.fields},
        choices=tuple(
            frozenset(field.json_name for field in choice.fields)
            for choice in descriptor.oneofs
            # An `optional` field is a oneof of its own to the descriptor.
            if len(choice.fields) > 1
        ),
    )


def _reader(field: FieldDescriptor) -> _Read:
    entry_value = map_value(field)
    if entry_value is not None:
        return _map_reader(field.name, scalar_parser(entry_value))
    nested = field.message_type
    if is_repeated(field):
        return _list_reader(field) if nested is None else _message_list_reader(field)
    if nested is None:
        return _scalar_reader(field)
    return _timestamp_reader(field.name) if is_timestamp(nested) else _message_reader(field)


def _scalar_reader(field: FieldDescriptor) -> _Read:
    name, parse = field.name, scalar_parser(field)
    zero_rule = explicit_zero_rule(field)

    def read(message: Message, value: Any, path: Path, findings: Findings) -> None:
        parsed = parse(value, path, findings)
        if parsed is None:
            return
        if zero_rule is not None and not parsed:
            findings.add_constraint(path, value, zero_rule)
        setattr(message, name, parsed)

    return read


def _timestamp_reader(name: str) -> _Read:
    def read(message: Message, value: Any, path: Path, findings: Findings) -> None:
        parsed = parse_timestamp(value, path, findings)
        if parsed is not None:
            timestamp = getattr(message, name)
            timestamp.SetInParent()
            timestamp.seconds, timestamp.nanos = parsed

    return read


def _message_reader(field: FieldDescriptor) -> _Read:
    name, nested = field.name, field.message_type

    def read(message: Message, value: Any, path: Path, findings: Findings) -> None:
        member = getattr(message, name)
        member.SetInParent()
        _reading_plan(nested).read(member, value, path, findings)

    return read


def _message_list_reader(field: FieldDescriptor) -> _Read:
    name, nested = field.name, field.message_type
    zero_rule = explicit_zero_rule(field)

    def read(message: Message, value: Any, path: Path, findings: Findings) -> None:
        if not findings.is_list(value, path, zero_rule):
            return
        items, plan = getattr(message, name), _reading_plan(nested)
        for index, item in enumerate(value):
            plan.read(items.add(), item, (path, index), findings)

    return read


def _list_reader(field: FieldDescriptor) -> _Read:
    name, parse = field.name, scalar_parser(field)
    zero_rule = explicit_zero_rule(field)
    zero = "" if field.type == FieldDescriptor.TYPE_STRING else 0

    def read(message: Message, value: Any, path: Path, findings: Findings) -> None:
        if not findings.is_list(value, path, zero_rule):
            return
        parsed = [parse(item, (path, index), findings) for index, item in enumerate(value)]
        # What does not fit keeps its place, or the items after it would be known by wrong ones.
        getattr(message, name).extend(zero if item is None else item for item in parsed)

    return read


def _map_reader(name: str, parse: Parse) -> _Read:
    def read(message: Message, value: Any, path: Path, findings: Findings) -> None:
        if not isinstance(value, dict):
            findings.add(path, f"is {json_kind(value)}; expected an object")
            return
        entries = getattr(message, name)
        for key, item in value.items():
            where = (path, Key(str(key)))
            parsed = parse(item, where, findings)
            if parsed is not None and findings.is_text(key, where):
                entries[key] = parsed

    return read
