"""What a method is: it says which of the recorded runs begins next, and when one need not go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from benchmarks.fidelity.pools import Pool


class Method(Protocol):
    """Choose runs of a pool, one at a time, and learn what they emit.

    Runs are named by their place in ``Pool.runs``. Less is better.
    """

    def ask(self, remaining: Sequence[int]) -> int:
        """Say which run begins.

        Args:
            remaining: The runs that were not begun yet, rising; at least one.
        """

    def report(self, run: int, resource: int, value: float) -> bool:
        """Learn a value of the run that goes on; tell whether to stop it.

        Args:
            run: Which run.
            resource: How many values it has emitted, from 1.
            value: The last of them; infinite if the run has diverged.
        """

    def end(self, run: int, *, stopped: bool) -> None:
        """Learn that a run has ended: stopped, or else by itself."""


class Make(Protocol):
    """Make a method for one replay."""

    def __call__(self, pool: Pool, *, seed: int) -> Method:
        """Make it.

        Args:
            pool: What is drawn from. A method must not look at values that were not reported to it.
            seed: Of everything random.
        """
