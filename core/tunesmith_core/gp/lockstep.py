"""Have several pieces of work evaluate their functions together, one round after the other.

A minimiser calls a function, and goes on from what it gives. Where many minimisers run at once, and a GPU
evaluates all their functions in the time of one, each runs on a thread of its own, and waits in the call
for the others. So it is the same minimiser, with the same steps, as one that runs alone.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Done(Generic[_T]):
    """Hold what came of a piece of work."""

    result: _T | None = None
    error: BaseException | None = None


def in_lockstep(works: Sequence[Callable[[Function], _T]], together: Together) -> list[_T]:
    """Do all work at once, each with a function of its own that it may call as often as it likes.

    Args:
        works: Is each given its function.
        together: Evaluates the functions that were called in this round; called by this thread.

    Returns:
        What each of them gave.

    Raises:
        Exception: What ``together`` or the first piece of work raised; all others are then abandoned.

    Cost: about 20 µs for each call of a function, beside what it computes.
    """
    said: queue.SimpleQueue[tuple[int, F64 | _Done[_T]]] = queue.SimpleQueue()
    replies: list[queue.SimpleQueue[Value | None]] = [queue.SimpleQueue() for _ in works]

    def run(index: int) -> None:
        def function(point: F64) -> Value:
            said.put((index, point.copy()))  # a minimiser may overwrite its own
            value = replies[index].get()
            if value is None:
                raise _Abandoned
            return value

        try:
            done = _Done(works[index](function))
        except BaseException as error:  # noqa: BLE001 - is raised where it is waited for
            done = _Done(error=error)
        said.put((index, done))

    threads = [
        threading.Thread(target=run, args=(index,), name=f"lockstep-{index}", daemon=True)
        for index in range(len(works))
    ]
    results: dict[int, _T | None] = {}
    try:
        for thread in threads:
            thread.start()
        moving = set(range(len(works)))
        while moving:
            asked: dict[int, F64] = {}
            for _ in range(len(moving)):
                index, what = said.get()
                if not isinstance(what, _Done):
                    asked[index] = what
                    continue
                if what.error is not None:
                    raise what.error
                results[index] = what.result
            # In their order: what is computed must not depend on who came first.
            moving = set(asked)
            which = sorted(asked)
            if which:
                values = together(which, [asked[index] for index in which])
                for index, value in zip(which, values, strict=True):
                    replies[index].put(value)
    finally:
        for index, thread in enumerate(threads):
            replies[index].put(None)
            if thread.ident is not None:
                thread.join()
    return [results[index] for index in range(len(works))]  # type: ignore[misc] - each gave one
