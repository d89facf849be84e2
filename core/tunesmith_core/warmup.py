"""Have the kernels compiled, or loaded from the disk, before anybody waits for them.

A fork waits for a warm-up that is under way: the child would have the compiler's locks held by a
thread that it does not have.
"""

# Hooks that run before a fork do so in the opposite order of their registration, and logging's must
# come after ours: it takes a lock for which the compiler would wait, and we for the compiler.
import logging  # noqa: F401 - see above
import os
import threading

_ready = threading.Event()
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


def is_warm() -> bool:
    """Tell whether a suggestion would not wait for a compiler."""
    return _ready.is_set()


def warm_up() -> None:
    """Load or compile every kernel; returns when they are ready. Idempotent, thread-safe."""
    with _lock:
        if _ready.is_set():
            return
        _call_every_kernel()
        _ready.set()


def start() -> threading.Thread:
    """Warm up in the background."""
    thread = threading.Thread(target=warm_up, name="tunesmith-warm-up", daemon=True)
    thread.start()
    return thread


def _call_every_kernel() -> None:
    from tunesmith_core.optimizer import Optimizer
    from tunesmith_core.space.ranges import Categorical, Continuous, SearchSpace

    space = SearchSpace(
        (Continuous(name="x", lo=0, hi=1), Categorical(name="c", values=("a", "b")))
    )
    optimizer = Optimizer(space, seed=0)
    for number in range(8):
        (configuration,) = optimizer.ask()
        optimizer.tell(configuration, float(number % 3))
