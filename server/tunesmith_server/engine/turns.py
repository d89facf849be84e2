"""Take turns at what one can have at a time, or several who do not mind each other."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """Give turns, to whoever came first; turns that are shared may be at the same time.

    Nobody overtakes: a turn that is not shared begins when all before it are over, and those after it
    wait for it, shared or not.

    Args:
        most: So many shared turns at a time, at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._shared, self._is_alone = 0, False
        self._line: collections.deque[tuple[asyncio.Future[None], bool]] = collections.deque()

    @contextlib.asynccontextmanager
    async def turn(self, *, is_shared: bool) -> AsyncIterator[None]:
        """Have a turn within the block."""
        begins = asyncio.get_running_loop().create_future()
        self._line.append((begins, is_shared))
        self._go_on()
        try:
            await begins
            yield
        finally:
            if not begins.cancelled():  # it has had its turn, or was given it while it gave up
                self._shared -= is_shared
                self._is_alone = self._is_alone and is_shared
            self._go_on()

    def _go_on(self) -> None:
        """Begin the turns that can begin."""
        while self._line:
            begins, is_shared = self._line[0]
            if not begins.done():
                if self._is_alone or self._shared >= (self._most if is_shared else 1):
                    return
                self._shared += is_shared
                self._is_alone = not is_shared
                begins.set_result(None)
            self._line.popleft()
