"""The lock that keeps a second server away from a database.

SQLite itself would let two servers write by turns, and each would decide on what it holds in
memory. The lock is the operating system's: it ends with the processes that have it, the server and its
writer, however they end.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

import psutil

from tunesmith_server.store.open_errors import StoreInUse

#: The writer of a server that was killed ends within this time, at its last change.
_WRITER_ENDS_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.02


class DatabaseLock:
    """Hold ``<database>.lock`` for as long as this object is not released."""

    def __init__(self, path: Path) -> None:
        """Take the lock; wait for it if the server that took it has ended, and its writer has not.

        Raises:
            StoreInUse: Somebody else has it.
        """
        self._file: int | None = os.open(
            f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            self._take(path)
        except BaseException:
            self.release()
            raise

    def _take(self, path: Path) -> None:
        patience = time.monotonic() + _WRITER_ENDS_S
        while not self._is_taken():
            pid = os.pread(self.fileno(), 32, 0).decode("ascii", errors="replace").strip()
            if time.monotonic() >= patience or not pid.isdigit() or _is_alive(int(pid)):
                raise StoreInUse(path, int(pid) if pid.isdigit() else None)
            time.sleep(_LOOK_AGAIN_S)
        os.ftruncate(self.fileno(), 0)
        os.pwrite(self.fileno(), f"{os.getpid()}\n".encode("ascii"), 0)

    def _is_taken(self) -> bool:
        """Try to take the lock."""
        try:
            fcntl.flock(self.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def fileno(self) -> int:
        """Give the open file that has the lock; whoever inherits it holds on to the lock too.

        Raises:
            ValueError: It was released.
        """
        if self._file is None:
            raise ValueError("the lock was released")
        return self._file

    def release(self) -> None:
        """Let go of the lock; the file stays, since another server may be waiting at it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended, and nobody has taken note of, does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # somebody else's
