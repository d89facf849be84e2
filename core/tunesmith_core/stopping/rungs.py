"""Where the rungs of successive halving lie, for both of its variants."""

from __future__ import annotations

import math
from typing import Final

ETA: Final = 4.0
"""One of so many goes on from a rung; 3, the usual number, was measured a little worse."""

FIRST_RUNG: Final = 1 / 30
"""Where the first rung lies, of the full resource, if nobody says. The first value or two of a trial
were measured to mislead."""


class Rungs:
    r"""Lay rungs at :math:`r_{min}\,\eta^k`, below the full resource.

    Args:
        min_resource: Where the first rung lies, at least 1, and below which no trial has one; None:
            at `FIRST_RUNG`.
        max_resource: The full resource of a trial that has none of its own, at least 1.
        eta: One of so many goes on, above 1.

    Attributes:
        max_resource: As given.
        levels: The resource of each rung, rising, of a trial with that full resource.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, min_resource: int | None, max_resource: int, eta: float = ETA) -> None:
        # Who gives a least resource means it of every trial, however short.
        self._least = 1 if min_resource is None else min_resource
        if min_resource is None:
            min_resource = max(1, math.ceil(FIRST_RUNG * max_resource))
        if min_resource < 1 or max_resource < 1 or not eta > 1:
            raise ValueError(
                f"min_resource {min_resource} and max_resource {max_resource} must be at least 1, "
                f"eta {eta:g} above 1"
            )
        self.max_resource = max_resource
        levels: list[int] = []
        level = float(min_resource)
        while round(level) < max_resource:
            if not levels or round(level) > levels[-1]:
                levels.append(round(level))
            level *= eta
        self.levels = tuple(levels)

    def levels_of(self, full: int) -> tuple[int, ...]:
        """Give the resource of each rung of a trial with a full resource of its own, at least 1."""
        if full == self.max_resource:
            return self.levels  # the usual case, shared
        # In whole numbers: a fraction of a float may lie a hair above the level that it means.
        return tuple(
            max(self._least, -(-level * full // self.max_resource)) for level in self.levels
        )
