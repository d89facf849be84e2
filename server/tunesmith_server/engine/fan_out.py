"""Wakes watchers when a tuning job's events grew; what they send they read from the store.

A slow watcher costs nothing but its place here: no event is ever kept for it in memory.
"""

from __future__ import annotations

import asyncio


class FanOut:
    """Hold one wake-up call per tuning job that is being watched."""

    def __init__(self) -> None:
        self._calls: dict[int, asyncio.Event] = {}

    def next_change(self, job_id: int) -> asyncio.Event:
        """Give the event that the tuning job's next change will set.

        Take it before reading: a change between the read and the wait is then not missed.
        """
        return self._calls.setdefault(job_id, asyncio.Event())

    def changed(self, job_id: int) -> None:
        """Wake everyone who waits for a change of this tuning job."""
        call = self._calls.pop(job_id, None)
        if call is not None:
            call.set()
