"""Compare two operations member by member and say where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.conformance.deliberate_differences import Deliberate
from tests.conformance.members import Structure, Value

_ANCHORS = ("^(?:", ")$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Say where SageMaker and we differ.

    Attributes:
        where: ``Structure`` or ``Structure.Member``, the structure in SageMaker's name; items
            and map parts as ``[]``, ``{key}`` and ``{value}``.
        shape: SageMaker's name of the shape, empty for an extra member.
        aspect: See :class:`Deliberate`.
        sagemaker: What SageMaker has.
        ours: What we have.
    """

    where: str
    shape: str
    aspect: str
    sagemaker: str
    ours: str

    def __str__(self) -> str:
        return f"{self.where}: {self.aspect}: SageMaker has {self.sagemaker}, we have {self.ours}"

    def is_covered_by(self, line: Deliberate) -> bool:
        """Tell whether a line of the table allows this difference."""
        places = {self.where, self.shape}
        return (
            line.aspect == self.aspect
            and (not line.where or not places.isdisjoint(line.where))
            and line.sagemaker in (None, self.sagemaker)
            and line.ours in (None, self.ours)
        )


def structure_differences(
    sagemaker: Structure, ours: Structure, seen: set[str] | None = None
) -> Iterator[Difference]:
    """Yield every difference between two structures and all below them, each structure once."""
    seen = set() if seen is None else seen
    if sagemaker.name != ours.name:
        yield _difference(sagemaker.name, sagemaker.name, "name", sagemaker.name, ours.name)
    if sagemaker.name in seen:
        return
    seen.add(sagemaker.name)
    theirs = {member.name: member for member in sagemaker.members}
    mine = {member.name: member for member in ours.members}
    for name in theirs.keys() - mine.keys():
        yield _difference(f"{sagemaker.name}.{name}", "", "missing", "it", "nothing")
    for name in mine.keys() - theirs.keys():
        yield _difference(f"{sagemaker.name}.{name}", "", "extra", "nothing", "it")
    for name in theirs.keys() & mine.keys():
        where, value = f"{sagemaker.name}.{name}", theirs[name].value
        if theirs[name].required != mine[name].required:
            needs = str(theirs[name].required), str(mine[name].required)
            yield _difference(where, value.shape, "required", *needs)
        yield from _value_differences(where, value, mine[name].value, seen)


def _value_differences(
    where: str, sagemaker: Value, ours: Value, seen: set[str]
) -> Iterator[Difference]:
    shape = sagemaker.shape
    if sagemaker.kind != ours.kind:
        yield _difference(where, shape, "type", sagemaker.kind, ours.kind)
        if sagemaker.kind == "enum":
            return
    if sagemaker.words != ours.words:
        yield _difference(where, shape, "enum", str(sagemaker.words), str(ours.words))
    for aspect, theirs, mine in (
        ("minimum", sagemaker.minimum, ours.minimum),
        ("maximum", sagemaker.maximum, ours.maximum),
        ("pattern", sagemaker.pattern, unanchored(ours.pattern)),
        ("finite", sagemaker.finite, ours.finite),
    ):
        if theirs != mine:
            yield _difference(where, shape, aspect, str(theirs), str(mine))
    if sagemaker.structure is not None and ours.structure is not None:
        yield from structure_differences(sagemaker.structure, ours.structure, seen)
    if sagemaker.element is not None and ours.element is not None:
        part = "[]" if sagemaker.key is None else "{value}"
        yield from _value_differences(where + part, sagemaker.element, ours.element, seen)
    if sagemaker.key is not None and ours.key is not None:
        yield from _value_differences(where + "{key}", sagemaker.key, ours.key, seen)


def unanchored(pattern: str | None) -> str | None:
    """Return a pattern of ours without its anchors; an unanchored one comes back marked."""
    if pattern is None:
        return None
    start, end = _ANCHORS
    if not (pattern.startswith(start) and pattern.endswith(end)):
        return f"(not anchored) {pattern}"
    return pattern[len(start) : -len(end)]


def _difference(where: str, shape: str, aspect: str, sagemaker: str, ours: str) -> Difference:
    return Difference(where=where, shape=shape, aspect=aspect, sagemaker=sagemaker, ours=ours)
