"""Read the bodies of requests into bounded room: of each, of all together, and in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from tunesmith_server.domain.errors import MalformedRequest, Overloaded
from tunesmith_server.operations.limits import MAX_REQUEST_BYTES

#: All bodies that are being read or understood; what comes beyond is throttled.
MAX_BODIES_BYTES: Final = 8 * MAX_REQUEST_BYTES
#: A client has this long to send a body, in seconds.
BODY_S: Final = 30.0

_RETRY_AFTER: Final = timedelta(seconds=1)


class Bodies:
    """Count what all bodies take."""

    def __init__(self) -> None:
        self._taken_bytes = 0

    @contextlib.asynccontextmanager
    async def whole(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Give a whole body, which takes its room within the block.

        Raises:
            MalformedRequest: It is too long, or did not come in time.
            Overloaded: There is no room for it now.
        """
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(BODY_S):
                    async for part in parts:
                        self._taken_bytes += len(part)
                        body += part
                        self._check(len(body))
            except TimeoutError:
                raise MalformedRequest(f"The body did not come within {BODY_S:g} s.") from None
            yield bytes(body)
        finally:
            self._taken_bytes -= len(body)

    def _check(self, length: int) -> None:
        if length > MAX_REQUEST_BYTES:
            raise MalformedRequest(
                f"The body is longer than {MAX_REQUEST_BYTES} bytes, the most that a request may "
                "have."
            )
        if self._taken_bytes > MAX_BODIES_BYTES:
            raise Overloaded(
                "Rate exceeded: too many long requests came at the same time; try again soon.",
                retry_after=_RETRY_AFTER,
            )
