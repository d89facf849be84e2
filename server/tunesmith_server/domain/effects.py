"""What must be done after a decision: the outputs of the state machine.

The first group is durable and is committed together with the tuning job's own row; the second
is carried out once the commit is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tunesmith.v1 import event_pb2
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTrial:
    """Write a trial's row; ``is_new`` says that there is none yet."""

    trial: Trial
    is_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveMeasurement:
    """Add one value to a trial's metrics."""

    trial_name: str
    lease_token: int
    sequence: int
    metric_name: str
    value: float
    step: int
    measured_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DropMeasurements:
    """Forget what an unfinished attempt of a trial measured."""

    trial_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Add an event for watchers; the store numbers it.

    Attributes:
        message: The event without its sequence.
        trial_name: The training job that it is about, if it is about one.
    """

    message: event_pb2.WatchHyperParameterTuningJobResponse
    trial_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceState:
    """Add an event for watchers: how the tuning job stands.

    Of several in one commit the last one tells all.

    Attributes:
        state: The tuning job after the change.
    """

    state: JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggest:
    """Ask the strategy for more configurations.

    Attributes:
        first_index: Launch index of the first one, from 1.
        count: How many.
    """

    first_index: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Ask who of the paused trials may go on.

    Attributes:
        number: Of the ask, which its answer repeats.
        is_last: Nothing new is to be launched, and nothing runs.
    """

    number: int
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueue:
    """Find a runner for a waiting trial."""

    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Look for a runner for this trial no longer."""

    trial_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A trial's lease ended: its place on the runner, or with the caller, is free."""

    trial_name: str
    instance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lend:
    """A caller holds this trial from now on."""

    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class StopOnRunner:
    """Tell whoever holds a trial to stop it; ``gives_back``: to pause it, and give it back."""

    trial_name: str
    lease_token: int
    instance_id: str
    gives_back: bool = False


Durable = SaveTrial | SaveMeasurement | DropMeasurements | Announce | AnnounceState
Command = Suggest | Promote | Enqueue | Withdraw | Lend | Release | StopOnRunner
Effect = Durable | Command
