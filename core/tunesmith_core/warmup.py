"""Have the kernels compiled, or loaded from the disk, before anybody waits for them."""

import threading

_ready = threading.Event()
_lock = threading.Lock()


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
