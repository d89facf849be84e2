"""A runner's places: slots and GPUs, taken by trials and given back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.gpus import HostGpu


class Places:
    """Hand out slots and GPUs, each to one trial at a time."""

    def __init__(self, *, runner_name: str, slots: int, gpus: Sequence[HostGpu]) -> None:
        self._runner_name = runner_name
        self._free_slots = slots
        self._gpus = tuple(gpu.device_id for gpu in gpus)
        self._free_gpus = set(self._gpus)

    @contextmanager
    def taken(self, *, gpu_count: int) -> Iterator[tuple[str, ...]]:
        """Take a slot and GPUs for as long as the context lasts.

        Raises:
            TrialFailure: They are not there, which the server should have known.
        """
        if gpu_count > len(self._gpus):
            raise TrialFailure(
                FailureKind.CLIENT,
                f"the trial needs {gpu_count} GPUs, and runner {self._runner_name} has "
                f"{len(self._gpus)}",
                retryable=True,
            )
        if self._free_slots < 1 or gpu_count > len(self._free_gpus):
            raise TrialFailure(
                FailureKind.INTERNAL,
                f"runner {self._runner_name} has {self._free_slots} free slots and "
                f"{len(self._free_gpus)} free GPUs; the trial needs 1 and {gpu_count}",
            )
        free = [gpu for gpu in self._gpus if gpu in self._free_gpus]
        gpus = tuple(free[:gpu_count])
        self._free_slots -= 1
        self._free_gpus.difference_update(gpus)
        try:
            yield gpus
        finally:
            self._free_slots += 1
            self._free_gpus.update(gpus)
