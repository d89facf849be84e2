"""Compute workers to test with: some that start quickly, never get warm, or misbehave."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tunesmith_server.engine.compute import Compute

#: From a signal until a process has ended.
END_S = 10.0


def worker_with(warm_up: str, *, before: str = "") -> tuple[str, ...]:
    """Give the command of a worker that warms up in another way.

    Args:
        warm_up: What it calls, in Python.
        before: Statements that are run first.
    """
    program = (
        "import os, sys, threading, time\n"
        "from tunesmith_server.engine import compute_worker\n"
        f"{before}\n"
        f"compute_worker.main({warm_up})\n"
    )
    return (sys.executable, "-P", "-c", program)


#: Says that it is warm without being it: kernels are loaded by the first suggestion with a model.
QUICK = worker_with("lambda: None")
#: Compiles for ever.
COLD = worker_with("threading.Event().wait")


def program(source: str) -> tuple[str, ...]:
    """Give the command of something else than a worker."""
    return (sys.executable, "-I", "-S", "-u", "-c", f"import os, sys, time\n{source}")


@asynccontextmanager
async def running(compute: Compute) -> AsyncIterator[Compute]:
    """Keep workers going within the block."""
    task = asyncio.create_task(compute.run())
    try:
        yield compute
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


def has_ended(descriptor: int, *, within_s: float = END_S) -> bool:
    """Tell whether a process, which need not be a child, ends within a time."""
    try:
        ended, _, _ = select.select([descriptor], [], [], within_s)
        return bool(ended)
    finally:
        os.close(descriptor)
