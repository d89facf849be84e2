"""Take runs in random order, each to its end: random search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.fidelity.pools import Pool


class RandomOrder:
    """Draw runs without replacement, and stop none.

    Args:
        pool: What is drawn from.
        seed: Of the order.
    """

    def __init__(self, pool: Pool, *, seed: int) -> None:
        self._order = iter(np.random.default_rng(seed).permutation(len(pool.runs)).tolist())

    def ask(self, remaining: Sequence[int]) -> int:
        """Say which run begins."""
        del remaining
        return int(next(self._order))

    def report(self, run: int, resource: int, value: float) -> bool:
        """Let it go on."""
        del run, resource, value
        return False

    def end(self, run: int, *, stopped: bool) -> None:
        """Take note of nothing."""
