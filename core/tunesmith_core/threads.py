"""Keep linear algebra on one thread, where its result must be the same bit for bit.

Libraries share out a product among threads, and so round it differently, depending on how many
there are at the moment. At the sizes of a surrogate more threads save no time either.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator

from threadpoolctl import OpenBLASController, ThreadpoolController


class _Limit:
    """Limit the process's BLAS libraries while anybody is within; there is one limit for all.

    Blocks of several threads overlap: the first one in limits, and the last one out restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._restore: Callable[[], None] = _nothing

    def enter(self) -> None:
        with self._lock:
            if not self._within:
                _take_control()
                limited = _libraries().limit(limits=1, user_api="blas")
                self._restore = limited.restore_original_limits
            self._within += 1

    def leave(self) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                _take_control()
                self._restore()
                _take_control()  # for whoever sets a limit next

    def forget(self) -> None:
        """Begin anew, in a child that has none of the threads that were within."""
        self._lock = threading.Lock()
        if self._within:
            self._within = 1
            self.leave()


def _nothing() -> None:
    """Restore nothing."""


def _take_control() -> None:
    """Let this thread set the number of OpenBLAS's threads.

    Newer releases of threadpoolctl let the thread that limited them first do so, and ignore all
    others. Here the last one out is often another one.
    """
    clear = getattr(OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


_limit = _Limit()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_limit.forget)


@contextlib.contextmanager
def on_one_thread() -> Iterator[None]:
    """Limit this process's BLAS libraries to one thread within a ``with`` block."""
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


@functools.cache
def _libraries() -> ThreadpoolController:
    # numpy's and scipy's are both loaded by the time of the first call, and looked for once.
    import scipy.linalg  # noqa: F401 - loads scipy's own

    return ThreadpoolController()
