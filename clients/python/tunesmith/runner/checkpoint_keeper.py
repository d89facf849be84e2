"""Mirror a trial's checkpoints beside its program: now and then, and once it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tunesmith.runner.checkpoint_tree import Check
from tunesmith.runner.checkpoints import Checkpoints, checkpoints_at
from tunesmith.runner.contract import TrialTree
from tunesmith.runner.locations import Buckets
from tunesmith.runner.settings import RunnerLimits
from tunesmith.runner.threads import Wanted, WorkerThreads, WorkUnwanted
from tunesmith.v1 import runner_service_pb2 as pb

_LOGGER: Final = logging.getLogger(__name__)


def checkpoint_keeper(
    assignment: pb.TrialAssignment,
    tree: TrialTree,
    *,
    threads: WorkerThreads,
    limits: RunnerLimits,
    buckets: Buckets,
    tell: Callable[[str], None],
) -> CheckpointKeeper | None:
    """Make what keeps a trial's checkpoints; None: they are not kept.

    Raises:
        TrialFailure: The place is not one that this runner can use.
    """
    if not assignment.HasField("checkpoint_config"):
        return None
    checkpoints = checkpoints_at(
        assignment.checkpoint_config,
        tree,
        training_job_name=assignment.training_job_name,
        lease_token=assignment.lease_token,
        buckets=buckets,
    )
    return CheckpointKeeper(checkpoints, threads=threads, limits=limits, tell=tell)


class CheckpointKeeper:
    """Keep one attempt's checkpoints.

    What can't be stored ends no trial: it is tried again, and said in the trial's output.

    Args:
        checkpoints: The attempt's.
        threads: Where copying is done.
        limits: How often, and for how long at most.
        tell: Takes a line for the trial's output.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        *,
        threads: WorkerThreads,
        limits: RunnerLimits,
        tell: Callable[[str], None],
    ) -> None:
        self._checkpoints = checkpoints
        self._threads = threads
        self._limits = limits
        self._tell = tell
        self._has_ended = asyncio.Event()
        self._wanted = Wanted()
        self._is_wanted = True
        self._told: str | None = None

    def restore(self, *, check: Check) -> None:
        """Copy what earlier attempts have left into the trial's tree, before its program starts.

        Raises:
            TrialFailure: The place cannot be used.
            OSError: The trial's own disk is in trouble.
        """
        self._checkpoints.restore(check=check)

    async def keep(self) -> None:
        """Store what is new, again and again, until the program has ended."""
        loop = asyncio.get_running_loop()
        took_s = 0.0
        while not self._has_ended.is_set():
            # Large checkpoints take long to copy: a tenth of the time, at most, goes there.
            pause_s = max(self._limits.checkpoint_s, 9 * took_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._has_ended.wait()
                    return
            began = loop.time()
            await self.store()
            took_s = loop.time() - began

    def end(self) -> None:
        """Let ``keep`` end once it has stored what it is about."""
        self._has_ended.set()

    def give_up(self) -> None:
        """Store nothing any more: the attempt is another's."""
        self._is_wanted = False
        self._wanted.end()
        self._has_ended.set()

    async def store(self) -> None:
        """Store what is new, if it can be."""
        if not self._is_wanted:
            return
        wanted = self._wanted = Wanted()

        def check(_: int) -> None:
            wanted.check()

        try:
            await self._threads.run_while(
                wanted,
                lambda: self._checkpoints.store(check=check),
                limit_s=self._limits.transfer_s,
            )
        except WorkUnwanted:
            return
        except OSError as error:
            said = "it took too long" if isinstance(error, TimeoutError) else str(error)
            line = f"[runner] the checkpoints could not be stored: {said}"
            _LOGGER.warning("%s", line)
            if line != self._told:
                self._tell(line[:1000])
            self._told = line
        else:
            self._told = None
