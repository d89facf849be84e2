"""Have several pieces of work evaluate their functions together, one round after the other.

A minimiser calls a function, and goes on from what it gives. Where many minimisers run at once, and a GPU
evaluates all their functions in the time of one, each has a thread of its own, and waits in the call for the
others. So it is the same minimiser, with the same steps, as one that runs alone.

One thread runs at a time, and hands over to the next: threads that have to be waited for, or that wait for
the interpreter, would take twenty times as long.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from tunesmith_core.space.scaling import F64

Value: TypeAlias = tuple[float, F64]
"""A value, and its gradient."""

Function: TypeAlias = Callable[[F64], Value]
Together: TypeAlias = Callable[[Sequence[int], Sequence[F64]], Sequence[Value]]
"""Evaluates the functions with these indices, rising, at these points."""

_T = TypeVar("_T")


class _Abandoned(BaseException):
    """Nobody waits for this work any more."""


class _Ring(Generic[_T]):
    """Hand the turn from one thread to the next, and at last to the one that evaluates."""

    def __init__(self, works: Sequence[Callable[[Function], _T]]) -> None:
        self._works = works
        self._turns = [threading.Lock() for _ in range(len(works) + 1)]
        for turn in self._turns:
            turn.acquire()
        self._next = list(range(1, len(works) + 1))
        self._is_abandoned = False
        self.asked: dict[int, F64] = {}
        self.values: dict[int, Value] = {}
        self.results: dict[int, _T] = {}
        self.errors: dict[int, BaseException] = {}

    def run(self, index: int) -> None:
        """Do a piece of work, on a thread of its own."""

        def function(point: F64) -> Value:
            self.asked[index] = point.copy()  # a minimiser may overwrite its own
            self._hand_over(self._next[index])
            self._wait(index)
            return self.values.pop(index)

        try:
            self._wait(index)
            self.results[index] = self._works[index](function)
        except _Abandoned:
            return
        except BaseException as error:  # noqa: BLE001 - the thread that evaluates raises it
            self.errors[index] = error
        self._hand_over(self._next[index])

    def round(self, moving: Sequence[int]) -> None:
        """Have each of these go on until it calls its function, or ends."""
        home = len(self._works)
        for index, following in zip(moving, [*moving[1:], home], strict=True):
            self._next[index] = following
        self._hand_over(moving[0])
        self._turns[home].acquire()

    def abandon(self) -> None:
        """Have all work end where it is."""
        self._is_abandoned = True
        for index in range(len(self._works)):
            self._hand_over(index)

    def _wait(self, index: int) -> None:
        self._turns[index].acquire()
        if self._is_abandoned:
            raise _Abandoned

    def _hand_over(self, index: int) -> None:
        # Whoever is abandoned may have been given the turn already.
        with contextlib.suppress(RuntimeError):
            self._turns[index].release()


def in_lockstep(works: Sequence[Callable[[Function], _T]], together: Together) -> list[_T]:
    """Do all work at once, each with a function of its own that it may call as often as it likes.

    Args:
        works: Is each given its function.
        together: Evaluates the functions that were called in this round; called by this thread.

    Returns:
        What each of them gave.

    Raises:
        Exception: What ``together`` raised, or a piece of work, the first of them in their order; all
            others are then abandoned.

    Cost: about 10 µs for each call of a function, beside what it computes.
    """
    ring = _Ring(works)
    threads = [
        threading.Thread(target=ring.run, args=(index,), name=f"lockstep-{index}", daemon=True)
        for index in range(len(works))
    ]
    moving = list(range(len(works)))
    try:
        for thread in threads:
            thread.start()
        while moving:
            ring.round(moving)
            for index in sorted(ring.errors):
                raise ring.errors[index]
            moving = sorted(ring.asked)
            if moving:
                values = together(moving, [ring.asked.pop(index) for index in moving])
                ring.values.update(zip(moving, values, strict=True))
    finally:
        ring.abandon()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    return [ring.results[index] for index in range(len(works))]
