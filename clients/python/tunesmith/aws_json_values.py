"""Convert single values between Protobuf and SageMaker's JSON, and collect what does not fit.

The lower half of ``aws_json``: scalars, enum values, times, and the findings that become one
refusal. Not for whole messages.
"""

from __future__ import annotations

import difflib
import enum
import math
import re
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, TypeGuard

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from tunesmith.errors import Violation
from tunesmith.v1 import options_pb2

#: Where a value stands: a member's name, an index or a map's key, below its parent's path.
Path: TypeAlias = "tuple[Path, str | int | Key] | None"
Render: TypeAlias = Callable[[Any], Any]
Parse: TypeAlias = "Callable[[Any, Path, Findings], Any]"

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_ANCHORED: Final = re.compile(r"\^\(\?:(.*)\)\$", re.DOTALL)
_LISTED: Final = 100
_SHOWN_CHARACTERS: Final = 100
_INTEGERS: Final = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
_NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FLOATS: Final = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
#: The largest finite number of 32 bits, of IEEE 754's binary32.
_LARGEST_SINGLE: Final = float.fromhex("0x1.fffffep127")
# The years 1 to 9999, which is what a Timestamp may hold.
_SECONDS: Final = (-62_135_596_800, 253_402_300_799)


@dataclass(frozen=True, slots=True)
class Key:
    """Name an entry of a map, as a step of a path."""

    text: str


class Misfit(enum.Enum):
    """Say in what way something does not fit, for those who tell their callers in other words."""

    SHAPE = "of the wrong JSON type, or nothing that a message can carry"
    CONSTRAINT = "of the right type, and beyond a constraint of its member"
    RULE = "a member that is unknown there, or excluded by another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Hold one thing that does not fit.

    Attributes:
        steps: Where it is: members' names, indices and keys, from the outermost on.
        kind: In what way.
        sentence: For a constraint what follows "Member must", for others the whole sentence.
        shown: For a constraint the value, cut where it is long.
    """

    steps: tuple[str | int | Key, ...]
    kind: Misfit
    sentence: str
    shown: str = ""

    @property
    def path(self) -> str:
        """Write where it is, as its user would."""
        return _written(self.steps)

    @property
    def violation(self) -> Violation:
        """Word it for those who wrote it."""
        where = self.path
        if self.kind is Misfit.CONSTRAINT:
            message = (
                f"Value '{self.shown}' at '{where}' failed to satisfy constraint: "
                f"Member must {self.sentence}"
            )
        else:
            message = self.sentence
        return Violation(path=where, message=message)


class Findings:
    """Collect what does not fit. The first hundred are kept; of the rest, the number."""

    def __init__(self, *, ignore_unknown: bool) -> None:
        self.ignore_unknown = ignore_unknown
        self.found: list[Finding] = []
        self.left_out = 0

    def add(self, path: Path, sentence: str, *, kind: Misfit = Misfit.SHAPE) -> None:
        """Note that the member at a path is not what it should be."""
        where = written(path)
        whole = f"'{where}' {sentence}" if where else f"The request {sentence}"
        self._keep(Finding(steps=_steps(path), kind=kind, sentence=whole))

    def add_constraint(self, path: Path, value: object, constraint: str) -> None:
        """Note a value that breaks a constraint, in SageMaker's words."""
        self._keep(
            Finding(
                steps=_steps(path),
                kind=Misfit.CONSTRAINT,
                sentence=constraint,
                shown=_shown(value),
            )
        )

    def add_unknown(self, path: Path, name: object, known: Collection[str]) -> None:
        """Note a member that is not known there, with the nearest one that is."""
        sentence = (
            f"Unknown member '{_shown(name)}' at '{written(path) or 'the request'}': "
            f"{_suggestion(str(name), known)}"
        )
        steps = (*_steps(path), str(name))
        self._keep(Finding(steps=steps, kind=Misfit.RULE, sentence=sentence))

    def is_list(self, value: object, path: Path, zero_rule: str | None) -> bool:
        """Tell whether a value is a list; note it if it is none, or empty against the rule."""
        if not isinstance(value, list):
            self.add(path, f"is {json_kind(value)}; expected a list")
            return False
        if zero_rule is not None and not value:
            self.add_constraint(path, "[]", zero_rule)
        return True

    def is_text(self, value: object, path: Path) -> bool:
        """Tell whether a value is a string that Unicode can encode; note it if it is not."""
        if not isinstance(value, str):
            hint = f': write "{_shown(value)}", in quotes' if _is_number(value) else ""
            self.add(path, f"is {json_kind(value)}; expected a string{hint}")
            return False
        try:
            value.encode()
        except UnicodeEncodeError:
            self.add(path, "is no valid Unicode: it has one half of a surrogate pair")
            return False
        return True

    def _keep(self, finding: Finding) -> None:
        if len(self.found) < _LISTED:
            self.found.append(finding)
        else:
            self.left_out += 1


def _steps(path: Path) -> tuple[str | int | Key, ...]:
    steps: list[str | int | Key] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return tuple(reversed(steps))


def written(path: Path) -> str:
    """Write a path as its user would, e.g. ``Tags[2].Key`` or ``Environment['a b']``."""
    return _written(_steps(path))


def _written(steps: Iterable[str | int | Key]) -> str:
    parts: list[str] = []
    for step in steps:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif isinstance(step, Key) and not _PLAIN_KEY.fullmatch(step.text):
            parts.append(f"[{_shown(step.text)!r}]")
        else:
            parts.append(f".{_shown(step.text if isinstance(step, Key) else step)}")
    return "".join(parts).removeprefix(".")


def json_kind(value: object) -> str:
    """Name the JSON type of a value, with its article."""
    names: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        int: "a whole number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def is_repeated(field: FieldDescriptor) -> bool:
    """Tell whether a field is a list or map."""
    # `label` is gone from protobuf 7, and `is_repeated` came with 6.31; this is in all of them.
    return isinstance(field.default_value, list)


def map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """Give the field that holds a map's values, or None where the field is no map."""
    nested = field.message_type
    if nested is None or not nested.GetOptions().map_entry:
        return None
    return nested.fields_by_name["value"]


def is_timestamp(descriptor: Descriptor) -> bool:
    """Tell whether a message type is the well-known point in time."""
    return descriptor.full_name == Timestamp.DESCRIPTOR.full_name


def timestamp_seconds(timestamp: Timestamp) -> float:
    """Give a time as seconds since 1970, in whole milliseconds; what is finer is cut off."""
    return (timestamp.seconds * 1000 + timestamp.nanos // 1_000_000) / 1000


def parse_timestamp(value: object, path: Path, findings: Findings) -> tuple[int, int] | None:
    """Read a time, given as epoch seconds or in ISO 8601, as seconds and nanoseconds."""
    if isinstance(value, str):
        micros = _iso_micros(value)
    elif _is_number(value) and math.isfinite(value):
        micros = round(float(value) * 1000) * 1000
    else:
        micros = None
    if micros is None or not _SECONDS[0] <= micros // 1_000_000 <= _SECONDS[1]:
        findings.add(
            path,
            f"is {_shown(value)!r}; expected a time: seconds since 1970 as a number, or ISO 8601 "
            "with an offset, such as 2026-11-24T09:30:00Z",
        )
        return None
    seconds, rest = divmod(micros, 1_000_000)
    return seconds, rest * 1000


def scalar_renderer(field: FieldDescriptor, *, single_precision: bool) -> Render:
    """Make the function that gives a scalar's JSON value, or None for what has none."""
    if field.enum_type is not None:
        spelling = {value.number: _spelling(value) for value in field.enum_type.values}
        # A value from a newer server is shown by its number rather than lost.
        return lambda number: spelling.get(number, str(number))
    if field.type == FieldDescriptor.TYPE_BYTES:
        raise TypeError(f"{field.full_name} holds bytes, which SageMaker's JSON has no form for")
    if field.type in _FLOATS:
        return _single_precision if single_precision else _number
    return _unchanged


def scalar_parser(field: FieldDescriptor) -> Parse:
    """Make the function that checks a scalar and gives its Protobuf value, or None."""
    if field.enum_type is not None:
        return _enum_parser(field.enum_type)
    if field.type in _INTEGERS:
        return _integer_parser(*_INTEGERS[field.type])
    if field.type in _FLOATS:
        return _parse_number
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _parse_boolean
    if field.type == FieldDescriptor.TYPE_STRING:
        return _parse_text
    raise TypeError(f"{field.full_name} is of a type that SageMaker's JSON has no form for")


def explicit_zero_rule(field: FieldDescriptor) -> str | None:
    """Give the rule that a written zero or empty value breaks, or None where it may stand.

    In a message such a value is the same as absence, which the rules allow: only the codec can
    still see that it was written.
    """
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if rules.ignore != validate_pb2.IGNORE_IF_ZERO_VALUE:
        return None
    if rules.HasField("int32"):
        return f"have value greater than or equal to {rules.int32.gte}"
    if rules.HasField("repeated"):
        return f"have length greater than or equal to {rules.repeated.min_items}"
    if rules.string.min_len:
        return f"have length greater than or equal to {rules.string.min_len}"
    anchored = _ANCHORED.fullmatch(rules.string.pattern)
    pattern = anchored[1] if anchored else rules.string.pattern
    return f"satisfy regular expression pattern: {pattern}"


def _spelling(value: Any) -> str | None:
    spelled: str = value.GetOptions().Extensions[options_pb2.sagemaker_name]
    return spelled or None


def _enum_parser(enum: EnumDescriptor) -> Parse:
    numbers = {_spelling(value): value.number for value in enum.values if _spelling(value)}
    accepted = f"satisfy enum value set: [{', '.join(str(name) for name in numbers)}]"

    def parse(value: Any, path: Path, findings: Findings) -> int | None:
        if not isinstance(value, str):
            findings.add(path, f"is {json_kind(value)}; expected a string that must {accepted}")
            return None
        number = numbers.get(value)
        if number is None:
            findings.add_constraint(path, value, accepted)
        return number

    return parse


def _integer_parser(lowest: int, highest: int) -> Parse:
    def parse(value: Any, path: Path, findings: Findings) -> int | None:
        if type(value) is not int:
            hint = ", without quotes" if isinstance(value, str) else ""
            findings.add(path, f"is {json_kind(value)}; expected a whole number{hint}")
        elif value > highest:
            findings.add_constraint(path, value, f"have value less than or equal to {highest}")
        elif value < lowest:
            findings.add_constraint(path, value, f"have value greater than or equal to {lowest}")
        else:
            return value
        return None

    return parse


def _parse_number(value: Any, path: Path, findings: Findings) -> float | None:
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if _is_number(value):
        try:
            return float(value)
        except OverflowError:
            findings.add(path, "is too large for a number of 64 bits")
            return None
    hint = ", without quotes" if isinstance(value, str) else ""
    findings.add(path, f"is {json_kind(value)}; expected a number{hint}")
    return None


def _parse_boolean(value: Any, path: Path, findings: Findings) -> bool | None:
    if isinstance(value, bool):
        return value
    findings.add(path, f"is {json_kind(value)}; expected true or false")
    return None


def _parse_text(value: Any, path: Path, findings: Findings) -> str | None:
    return value if findings.is_text(value, path) else None


def _unchanged(value: Any) -> Any:
    return value


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return next(name for name, number in _NON_FINITE.items() if str(number) == str(value))


def _single_precision(value: float) -> float | None:
    """Round to 32 bits: what is beyond them is the largest number they hold, and NaN is none."""
    if math.isnan(value):
        return None
    bounded = max(-_LARGEST_SINGLE, min(value, _LARGEST_SINGLE))
    (rounded,) = struct.unpack("f", struct.pack("f", bounded))
    return float(rounded)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _iso_micros(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _shown(value: object) -> str:
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python will write out
        return "a number of thousands of digits"
    # What cannot be encoded could not be sent back either.
    text = text.encode(errors="replace").decode()
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}… ({len(text)} characters)"


def _suggestion(name: str, known: Iterable[str]) -> str:
    by_key = {_key(candidate): candidate for candidate in known}
    near = difflib.get_close_matches(_key(name)[:_SHOWN_CHARACTERS], by_key, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{by_key[near[0]]}'?"
    return f"expected one of {', '.join(sorted(by_key.values())) or 'no member at all'}"


def _key(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
