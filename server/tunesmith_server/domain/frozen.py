"""Quick copies of frozen dataclasses, of which the state machine makes a dozen for every event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import replace
else:
    Item = TypeVar("Item")

    def replace(item: Item, **changes: Any) -> Item:
        """Copy an item with some of its fields changed, as ``dataclasses.replace`` does.

        It takes a seventh of the time for a class of twenty fields, since it copies what is there
        and initialises nothing: the class must have no slots and no ``__post_init__``.

        Raises:
            TypeError: The class has no field of that name.
        """
        copy = object.__new__(type(item))
        fields = copy.__dict__
        fields.update(item.__dict__)
        known = len(fields)
        fields.update(changes)
        if len(fields) != known:
            unknown = ", ".join(sorted(changes.keys() - item.__dict__.keys()))
            raise TypeError(f"{type(item).__name__} has no field {unknown}")
        return copy


__all__ = ["replace"]
