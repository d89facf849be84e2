"""Work that nobody waits for: its trouble is logged, and ends nothing else."""

from __future__ import annotations

import logging
from collections.abc import Coroutine

logger = logging.getLogger(__name__)


async def logged(work: Coroutine[None, None, None], *, doing: str) -> None:
    """Do a piece of work; an error in it is a bug, and its own only."""
    try:
        await work
    except Exception:
        logger.exception("failed while %s", doing)
