"""Blocking work beside the event loop, bounded in number and told when it is no longer wanted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class WorkUnwanted(Exception):
    """End work in a thread whose result is no longer wanted."""


class Wanted:
    """Carry the news that work is no longer wanted into a thread."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def end(self) -> None:
        """Say that the work is no longer wanted."""
        self._ended.set()

    def check(self) -> None:
        """Go on if the work is still wanted.

        Raises:
            WorkUnwanted: It is not.
        """
        if self._ended.is_set():
            raise WorkUnwanted


class WorkerThreads:
    """Run functions in threads of their own, apart from the loop's."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="runner-work")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def run(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a short function in a thread and wait for it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    async def run_while(self, wanted: Wanted, function: Callable[[], _T], *, limit_s: float) -> _T:
        """Run a long function, which checks now and then whether it is still wanted.

        When the caller is cancelled or the limit is over, the function is told, and waited for:
        what it writes to is its caller's again then.

        Raises:
            TimeoutError: The limit was over.
            WorkUnwanted: The work ended early, because it was told to.
        """
        work = asyncio.get_running_loop().run_in_executor(self._pool, function)
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.shield(work)
        except BaseException:
            wanted.end()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()
            raise
