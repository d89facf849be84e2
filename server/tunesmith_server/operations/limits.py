"""How much one call may bring, whichever front door it comes through."""

from __future__ import annotations

from typing import Final

#: A request is at most so long; a front reads more only to refuse it in words.
MAX_REQUEST_BYTES: Final = 4 * 2**20

#: Characters of a caller's idempotency key.
MAX_REQUEST_ID: Final = 128
