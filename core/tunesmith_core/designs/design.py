"""Say what a design is, for those who ask for suggestions and do not care which one answers."""

from typing import Protocol

from tunesmith_core.space.ranges import Configuration


class Design(Protocol):
    """Lay out a sequence of distinct configurations, fixed by (space, seed) alone."""

    def configuration(self, k: int, /) -> Configuration:
        """Give suggestion number k, from 0; the same whenever and however often it is asked.

        Raises:
            SpaceExhausted: The space has no more than k configurations.
            ValueError: k is below 0.
        """
        ...


def check_index(k: int) -> None:
    """Refuse a suggestion number below 0, which a Python sequence would count from its end.

    Raises:
        ValueError: k is below 0.
    """
    if k < 0:
        raise ValueError(f"suggestion number {k}; they count from 0")
