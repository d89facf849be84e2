"""The threads that read, each on a read-only connection: they never wait for the writer."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tunesmith_server.domain.errors import StoreUnavailable
from tunesmith_server.store.database import Database

Result = TypeVar("Result")


class Readers:
    """Carry out reads on a few threads."""

    def __init__(self, databases: Sequence[Database]) -> None:
        self._free: queue.SimpleQueue[Database] = queue.SimpleQueue()
        for database in databases:
            self._free.put(database)
        self._executor = ThreadPoolExecutor(len(databases), thread_name_prefix="store-reader")

    async def read(self, look: Callable[[Database], Result]) -> Result:
        """Read from one state of the database, not older than any write acknowledged by now.

        Raises:
            StoreUnavailable: The database could not be read, or the store is closed.
        """
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(self._executor, self._look, look)
        except RuntimeError as error:
            raise StoreUnavailable("Nothing was read: the store is closed.") from error
        return await future

    def _look(self, look: Callable[[Database], Result]) -> Result:
        # There are as many connections as threads: one is always free.
        database = self._free.get()
        try:
            with database.snapshot():
                return look(database)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"Nothing was read: {error}.") from error
        finally:
            self._free.put(database)

    def close(self) -> None:
        """Finish what is being read and end the threads. Idempotent."""
        self._executor.shutdown()
