"""The lock that keeps a second server away from a database.

SQLite itself would let two servers write by turns, and each would decide on what it holds in
memory. The lock is the operating system's: it ends with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tunesmith_server.store.open_errors import StoreInUse


class DatabaseLock:
    """Hold ``<database>.lock`` for as long as this object is not released."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            StoreInUse: Somebody else has it.
        """
        self._file: int | None = os.open(
            f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._file, 32, 0).decode("ascii", errors="replace").strip()
            self.release()
            raise StoreInUse(path, int(pid) if pid.isdigit() else None) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let go of the lock; the file stays, since another server may be waiting at it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
