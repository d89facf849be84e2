"""The neutral form in which SageMaker's service model and our contract are compared.

Both sides are read into trees of :class:`Structure`; ``comparison.py`` walks two of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Describe what a member, an item, a key or a value may hold.

    Attributes:
        shape: SageMaker's name of the shape; our own side leaves it empty.
        kind: ``string``, ``enum``, ``int32``, ``int64``, ``float``, ``double``, ``bool``,
            ``timestamp``, ``list``, ``map`` or ``structure``.
        minimum: Least value, length or size, inclusive. A length or size of 0 is None.
        maximum: Greatest value, length or size, inclusive.
        pattern: What the whole text must match.
        finite: Whether NaN and infinities are refused.
        words: An enum's values in SageMaker's spelling and order.
        key: A map's keys.
        element: A list's items or a map's values.
        structure: A structure's members.
    """

    kind: str
    shape: str = ""
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    finite: bool = False
    words: tuple[str, ...] = ()
    key: Value | None = None
    element: Value | None = None
    structure: Structure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Describe one member of a structure; the name is as JSON has it."""

    name: str
    required: bool
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Describe a structure and its members."""

    name: str
    members: tuple[Member, ...]
