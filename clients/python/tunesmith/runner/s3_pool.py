"""The threads in which a runner talks to S3: so many for all of its trials, and given out in turn.

What waits for an answer that never comes holds its thread until the connection's own limit is over, and
nobody else: who asked looks away when the answer is no longer wanted. So the threads are daemons, and a
process that ends waits for none.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

_T = TypeVar("_T")

REQUESTS: Final = 16
"""Requests that are on their way at a time, of all trials together."""

#: Of one trial, so that one whose requests all hang leaves some for others.
_REQUESTS_OF_ONE: Final = 12


class TransferPool:
    """Run requests in threads, each owner's in order, and one owner after the other.

    Args:
        requests: How many run at a time, at least 1.
        of_one: How many of one owner, at least 1.
    """

    def __init__(self, requests: int = REQUESTS, *, of_one: int = _REQUESTS_OF_ONE) -> None:
        self._requests = requests
        self._of_one = of_one
        self._changed = threading.Condition()
        self._waiting: dict[object, deque[tuple[Future[None], Callable[[], None]]]] = {}
        self._running: Counter[object] = Counter()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def submit(self, owner: object, request: Callable[[], _T]) -> Future[_T]:
        """Have a request run in its turn.

        Args:
            owner: On whose behalf; told from others by being another object.
            request: Blocks until it is answered.

        Raises:
            RuntimeError: The pool was closed, or there is no thread and none can be started.
        """
        answer: Future[_T] = Future()

        def run() -> None:
            try:
                answer.set_result(request())
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is read
                answer.set_exception(error)

        with self._changed:
            if self._is_closed:
                raise RuntimeError("the pool was closed")
            if not self._threads:
                # Before the request waits: where no thread can be had, it is not taken.
                self._start()
            self._waiting.setdefault(owner, deque()).append((answer, run))  # type: ignore[arg-type]  # of a future only its state is used here
            while self._runnable() > self._free() and len(self._threads) < self._requests:
                if not self._start():
                    break
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Start nothing any more; what waits is cancelled, and what is on its way left alone."""
        with self._changed:
            self._is_closed = True
            for waiting in self._waiting.values():
                for answer, _ in waiting:
                    answer.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def _free(self) -> int:
        """Count the threads that run nothing: they wait, or are on their way to the next request."""
        return len(self._threads) - sum(self._running.values())

    def _runnable(self) -> int:
        """Count the waiting requests that a thread would take: each has to have a free one of its own."""
        return sum(
            min(len(waiting), self._of_one - self._running[owner])
            for owner, waiting in self._waiting.items()
        )

    def _start(self) -> bool:
        thread = threading.Thread(target=self._work, name="runner-s3", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The threads that there are take the request in its turn, and the next one tries again.
            if not self._threads:
                raise
            return False
        self._threads.append(thread)
        return True

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            owner, run = taken
            run()
            # Not kept until the next one: it may hold what its owner needs no more.
            del run, taken
            with self._changed:
                self._running[owner] -= 1
                if not self._running[owner]:
                    del self._running[owner]
                self._changed.notify()
            del owner

    def _next(self) -> tuple[object, Callable[[], None]] | None:
        with self._changed:
            while not self._is_closed:
                for owner in self._waiting:
                    if self._running[owner] < self._of_one:
                        break
                else:
                    self._changed.wait()
                    continue
                waiting = self._waiting.pop(owner)
                answer, run = waiting.popleft()
                if waiting:
                    # To the end: the others come first now.
                    self._waiting[owner] = waiting
                if answer.set_running_or_notify_cancel():
                    self._running[owner] += 1
                    return owner, run
            return None
