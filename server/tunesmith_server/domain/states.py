"""States and their transitions: one table for tuning jobs, one for training jobs.

The spellings are SageMaker's (``HyperParameterTuningJobStatus``, ``TrainingJobStatus``,
``SecondaryStatus``, ``ObjectiveStatus``); they stand in SQL and on the wire as they are here.
A pair outside the tables is a bug, and raises :class:`IllegalTransition` with the item's story.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class TuningJobStatus(StrEnum):
    """Name the states of a tuning job."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing can happen any more."""
        return self in (self.COMPLETED, self.FAILED, self.STOPPED)


class TrainingJobStatus(StrEnum):
    """Name the states of a training job."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing can happen any more."""
        return self in (self.COMPLETED, self.FAILED, self.STOPPED)


class SecondaryStatus(StrEnum):
    """Name the finer states of a training job."""

    PENDING = "Pending"
    STARTING = "Starting"
    DOWNLOADING = "Downloading"
    TRAINING = "Training"
    INTERRUPTED = "Interrupted"
    UPLOADING = "Uploading"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"
    COMPLETED = "Completed"
    FAILED = "Failed"


class ObjectiveStatus(StrEnum):
    """Say whether a training job's objective value is known."""

    PENDING = "Pending"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Cause(StrEnum):
    """Say who may cause a transition."""

    ENGINE = "engine"
    RUNNER = "runner"
    CALLER = "caller"
    CLOCK = "clock"


class IllegalTransition(Exception):
    """Report a transition that the tables do not allow.

    Attributes:
        item: Name of the tuning job or training job.
        story: Its states up to now, oldest first.
    """

    def __init__(
        self, *, item: str, start: str, end: str, cause: str, story: tuple[str, ...]
    ) -> None:
        self.item = item
        self.story = story
        told = " -> ".join(story) or "nothing"
        super().__init__(f"{item}: {start} -> {end} by {cause} is not allowed; its story: {told}")


_S = SecondaryStatus
_J = TuningJobStatus
_ENGINE, _RUNNER, _CALLER, _CLOCK = Cause.ENGINE, Cause.RUNNER, Cause.CALLER, Cause.CLOCK

#: (from, to) -> who may cause it.
TUNING_JOB_TRANSITIONS: Final[dict[tuple[TuningJobStatus, TuningJobStatus], frozenset[Cause]]] = {
    # The last training job ended, or one of the limits was reached.
    (_J.IN_PROGRESS, _J.COMPLETED): frozenset({_ENGINE, _RUNNER, _CLOCK, _CALLER}),
    # No training job succeeded.
    (_J.IN_PROGRESS, _J.FAILED): frozenset({_ENGINE, _RUNNER, _CALLER}),
    (_J.IN_PROGRESS, _J.STOPPING): frozenset({_CALLER}),
    # The last running training job ended.
    (_J.STOPPING, _J.STOPPED): frozenset({_RUNNER, _CALLER}),
}

_FROM_RUNNER = frozenset({_RUNNER})
#: What a runner may report of a trial that it holds, in the order of a trial's life.
_RUNNER_STEPS: Final = {
    _S.STARTING: (_S.DOWNLOADING, _S.TRAINING, _S.UPLOADING, _S.STOPPING),
    _S.DOWNLOADING: (_S.TRAINING, _S.UPLOADING, _S.STOPPING),
    _S.TRAINING: (_S.UPLOADING, _S.STOPPING),
    _S.UPLOADING: (),
    # A stopped trial uploads too, and stays Stopping while it does.
    _S.STOPPING: (),
}
_ENDS: Final = (_S.COMPLETED, _S.FAILED, _S.STOPPED, _S.MAX_RUNTIME_EXCEEDED)

#: (from, to) -> who may cause it.
TRAINING_JOB_TRANSITIONS: Final[dict[tuple[SecondaryStatus, SecondaryStatus], frozenset[Cause]]] = {
    **{(a, b): _FROM_RUNNER for a, steps in _RUNNER_STEPS.items() for b in steps},
    # It ended there, or the runner was lost.
    **{(held, end): _FROM_RUNNER for held in _RUNNER_STEPS for end in _ENDS},
    # A runner shut down and gave the trial back; it waits for another one.
    **{(held, _S.INTERRUPTED): _FROM_RUNNER for held in _RUNNER_STEPS},
    # At once, or, where it was paused, once it has earned to go on.
    (_S.INTERRUPTED, _S.PENDING): frozenset({_RUNNER, _ENGINE}),
    # A runner with a free slot was found.
    (_S.PENDING, _S.STARTING): frozenset({_ENGINE}),
    # A caller took it, who runs it.
    (_S.PENDING, _S.TRAINING): frozenset({_CALLER}),
    # Nobody holds the trial: it stops at once.
    (_S.PENDING, _S.STOPPED): frozenset({_CALLER, _ENGINE, _CLOCK, _RUNNER}),
    (_S.INTERRUPTED, _S.STOPPED): frozenset({_CALLER, _ENGINE, _CLOCK, _RUNNER}),
    # Somebody wants it stopped, and the runner is told.
    **{
        (held, _S.STOPPING): frozenset({_RUNNER, _CALLER, _ENGINE, _CLOCK})
        for held in _RUNNER_STEPS
        if held != _S.STOPPING
    },
}

#: What a secondary status is called at the first level.
STATUS_OF: Final[dict[SecondaryStatus, TrainingJobStatus]] = {
    **dict.fromkeys(
        (_S.PENDING, _S.STARTING, _S.DOWNLOADING, _S.TRAINING, _S.INTERRUPTED, _S.UPLOADING),
        TrainingJobStatus.IN_PROGRESS,
    ),
    _S.STOPPING: TrainingJobStatus.STOPPING,
    _S.STOPPED: TrainingJobStatus.STOPPED,
    _S.MAX_RUNTIME_EXCEEDED: TrainingJobStatus.STOPPED,
    _S.COMPLETED: TrainingJobStatus.COMPLETED,
    _S.FAILED: TrainingJobStatus.FAILED,
}
