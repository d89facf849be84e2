"""Call the function that is tuned, in the caller's thread or in several threads.

Not for what its values mean; see ``tuning.py``.
"""

from __future__ import annotations

import contextlib
import queue
import reprlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, SupportsFloat, TypeAlias

from tunesmith.optimizer import Trial, number_of

Function: TypeAlias = Callable[[dict[str, Any]], SupportsFloat]
"""What is tuned: takes a trial's parameters by name and gives its objective value."""

#: How long it may take, at most, until an interrupt is noticed.
_NOTICE_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Hold how the function ended on a trial.

    Attributes:
        value: The objective that it returned.
        error: What it raised instead.
        is_misuse: Whether the error is that it returned no number, which no ``catch`` covers.
    """

    trial: Trial
    value: float | None = None
    error: BaseException | None = None
    is_misuse: bool = False


class Calls(Protocol):
    """Call the function, somewhere."""

    def start(self, trial: Trial) -> None:
        """Begin with a trial, at most as many at a time as there are workers."""

    def wait(self) -> Ending:
        """Wait until one of the trials has ended."""

    def close(self) -> None:
        """Begin with no more; what runs is not waited for."""


class Inline:
    """Call the function in the caller's thread, where plots and signals work."""

    def __init__(self, fn: Function) -> None:
        self._fn = fn
        self._started: list[Trial] = []

    def start(self, trial: Trial) -> None:
        """Keep the trial until it is waited for."""
        self._started.append(trial)

    def wait(self) -> Ending:
        """Call the function."""
        return _called(self._fn, self._started.pop())

    def close(self) -> None:
        """Do nothing: nothing runs."""


class Threads:
    """Call the function in threads, which do not keep the process from ending."""

    def __init__(self, fn: Function, count: int) -> None:
        self._fn = fn
        self._count = count
        self._threads: list[threading.Thread] = []
        self._started: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Ending] = queue.SimpleQueue()

    def start(self, trial: Trial) -> None:
        """Give the trial to a thread that is free."""
        self._started.put(trial)
        if len(self._threads) < self._count:
            name = f"tunesmith-trials-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait(self) -> Ending:
        """Wait until one of the trials has ended."""
        while True:
            # An interrupt that comes just before the wait is noticed only after it.
            with contextlib.suppress(queue.Empty):
                return self._ended.get(timeout=_NOTICE_S)

    def close(self) -> None:
        """Have each thread end with the trial that it runs."""
        for _ in self._threads:
            self._started.put(None)

    def _run(self) -> None:
        while (trial := self._started.get()) is not None:
            self._ended.put(_called(self._fn, trial))


def _called(fn: Function, trial: Trial) -> Ending:
    try:
        value = fn(dict(trial.parameters))
    except BaseException as error:  # noqa: BLE001 - it is raised, or kept, in the caller's thread
        return Ending(trial=trial, error=error)
    try:
        return Ending(trial=trial, value=number_of(value))
    except TypeError:
        given = reprlib.repr(value)
        misuse = TypeError(f"the function returned {given}; return the objective, one number")
        return Ending(trial=trial, error=misuse, is_misuse=True)
