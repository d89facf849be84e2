"""Requests made of SageMaker's service model: the least of each, and each constraint broken once.

Nothing here knows what this server does with them; the one table is of texts that patterns ask for.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.members import Structure, Value

# JSON is untyped by nature.
Json = Any

#: The least text of each shape whose pattern asks for more than some letters.
TEXTS: Final[Mapping[str, str]] = {
    "RoleArn": "arn:aws:iam::123456789012:role/a",
    "S3Uri": "s3://a",
    "FileSystemId": "fs-01234567",
    "HubDataSetArn": "arn:aws:sagemaker:eu-north-1:aws:hub-content/a/DataSet/a",
    "TrainingPlanArn": "arn:aws:sagemaker:local:123456789012:training-plan/a",
    "ResourceArn": "arn:aws:sagemaker:local:123456789012:a",
}
#: What a text of no pattern has in it: a control character, white space and a mark of each kind.
_ODD: Final = ("\x07", " !", "-", "%", "ä\n")
_UNICODE_CLASSES: Final = (r"\p{L}\p{Z}\p{N}", r"\w\s")
_KEY: Final = "k"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """Hold a request in which one constraint is broken.

    Attributes:
        path: The member, as the JSON has it; elements are written ``[0]``, entries ``[k]``.
        constraint: Which of its constraints.
        request: The whole request.
    """

    path: str
    constraint: str
    request: dict[str, Json]

    @property
    def template(self) -> str:
        """Give the path without places in lists and maps."""
        return re.sub(r"\[\w*\]", "[]", self.path)

    @property
    def sagemaker_path(self) -> str:
        """Give the path as SageMaker's messages have it."""
        steps = re.sub(r"\[0\]", ".1.member", self.path)
        steps = re.sub(rf"\[{_KEY}\]", f".{_KEY}.member", steps)
        return ".".join(step[:1].lower() + step[1:] for step in steps.split("."))


def least_structure(structure: Structure) -> dict[str, Json]:
    """Give the least that a structure may be: its required members, each the least it may be."""
    return {member.name: least(member.value) for member in structure.members if member.required}


def least(value: Value) -> Json:
    """Give the least that a member may be."""
    made: Json = max(value.minimum or 0, 1)
    match value.kind:
        case "structure":
            made = least_structure(value.structure) if value.structure else {}
        case "list":
            made = [least(value.element)] * max(1, value.minimum or 0) if value.element else []
        case "map":
            made = {_KEY: least(value.element)} if value.element else {}
        case "enum":
            made = value.words[0]
        case "string":
            made = TEXTS.get(value.shape) or "a" * made
        case "bool":
            made = False
        case "timestamp":
            made = 0
        case "float":
            made = 0.5
    return made


def members_of(structure: Structure) -> Iterator[str]:
    """Give the templates of all members; those of maps' entries and lists' elements are no members."""
    for path, _, _ in _members(structure, ""):
        if not path.endswith("]"):
            yield re.sub(r"\[\w*\]", "[]", path)


def breakages(
    structure: Structure, base: Mapping[str, Json], *, patterns: Mapping[str, str]
) -> Iterator[Breakage]:
    """Give a request for each constraint of each member: that one broken, and the base otherwise.

    Args:
        structure: What the requests are of.
        base: A request; what leads to a member is added to it where it is not there.
        patterns: By shape, what stands in the place of SageMaker's patterns.
    """
    for path, value, is_required in _members(structure, ""):
        for constraint, broken in _broken(value, patterns):
            request = copy.deepcopy(dict(base))
            _put(request, structure, path, broken)
            yield Breakage(path=path, constraint=constraint, request=request)
        if is_required:
            request = copy.deepcopy(dict(base))
            _put(request, structure, path, least(value))
            _remove(request, path)
            yield Breakage(path=path, constraint="required", request=request)


def _members(structure: Structure, prefix: str) -> Iterator[tuple[str, Value, bool]]:
    for member in structure.members:
        path = f"{prefix}{member.name}"
        yield path, member.value, member.required
        yield from _inside(member.value, path)


def _inside(value: Value, path: str) -> Iterator[tuple[str, Value, bool]]:
    if value.structure is not None:
        yield from _members(value.structure, f"{path}.")
    if value.element is not None:
        place = f"{path}[{0 if value.kind == 'list' else _KEY}]"
        yield place, value.element, False
        yield from _inside(value.element, place)


def _broken(value: Value, patterns: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    """Give the values of a member that break one constraint each."""
    match value.kind:
        case "list":
            yield from _broken_sizes(value, [least(value.element)] if value.element else [])
        case "map":
            yield from _broken_map(value, patterns)
        case "enum":
            yield "enum", "Nonsense"
        case "string":
            yield from _broken_texts(value, patterns)
        case "int32" | "int64" | "float":
            if value.minimum is not None:
                yield "minimum", value.minimum - 1
            if value.maximum is not None:
                yield "maximum", value.maximum + 1


def _broken_sizes(value: Value, elements: list[Json]) -> Iterator[tuple[str, Json]]:
    if value.minimum:
        yield "minimum", elements * (value.minimum - 1)
    if value.maximum is not None:
        yield "maximum", elements * (value.maximum + 1)


def _broken_map(value: Value, patterns: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    assert value.key is not None
    assert value.element is not None
    element = least(value.element)
    if value.maximum is not None:
        yield "maximum", {f"{_KEY}{number}": element for number in range(value.maximum + 1)}
    for constraint, key in _broken_texts(value.key, patterns):
        yield f"key {constraint}", {key: element}


def _broken_texts(value: Value, patterns: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    text = TEXTS.get(value.shape, "")
    if value.minimum:
        yield "minimum", text[: value.minimum - 1]
    if value.maximum is not None:
        yield "maximum", text + "a" * (value.maximum + 1 - len(text))
    pattern = patterns.get(value.shape, value.pattern)
    if pattern is None:
        return
    matcher = re.compile(pattern.replace(*_UNICODE_CLASSES))
    for odd in _ODD:
        broken = odd * max(1, -(-(value.minimum or 0) // len(odd)))
        if not matcher.fullmatch(broken):
            yield "pattern", broken
            return


def _put(request: dict[str, Json], structure: Structure, path: str, value: Json) -> None:
    """Set a member, and what leads to it, each the least that it may be, where it is not there."""
    here: Json = request
    steps = _steps(path)
    around: Structure | Value = structure
    for number, step in enumerate(steps):
        inner = _value_at(around, step)
        if number == len(steps) - 1:
            here[step] = value
            return
        if isinstance(step, str) and not here.get(step):
            here[step] = least(inner)
        here = here[step]
        around = inner


def _value_at(around: Structure | Value, step: str | int) -> Value:
    if isinstance(around, Value):
        if around.element is not None:
            return around.element
        assert around.structure is not None
        around = around.structure
    return next(member.value for member in around.members if member.name == step)


def _remove(request: dict[str, Json], path: str) -> None:
    here: Json = request
    *parents, last = _steps(path)
    for step in parents:
        here = here[step]
    del here[last]


def _steps(path: str) -> list[str | int]:
    words = re.findall(r"[^.\[\]]+", path)
    return [int(word) if word.isdigit() else word for word in words]
