"""Why a trial is made to end before its time, which reason counts, and what its end is called."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from tunesmith.v1 import runner_service_pb2 as pb


class StopReason(StrEnum):
    """Say why a trial is made to end before its time."""

    DRAINING = "the runner shuts down"
    PAUSED = "the server asked for it back"
    REQUESTED = "the server asked"
    MAX_RUNTIME = "its maximum runtime is over"
    REVOKED = "its lease is no longer good"


#: A reason is only replaced by one of a higher rank.
RANKS: Final = {
    StopReason.DRAINING: 0,
    StopReason.PAUSED: 0,
    StopReason.REQUESTED: 1,
    StopReason.MAX_RUNTIME: 1,
    StopReason.REVOKED: 2,
}
#: How a trial that was stopped for a reason has ended.
OUTCOMES: Final = {
    StopReason.DRAINING: pb.TRIAL_OUTCOME_RETURNED,
    StopReason.PAUSED: pb.TRIAL_OUTCOME_RETURNED,
    StopReason.REQUESTED: pb.TRIAL_OUTCOME_STOPPED,
    StopReason.MAX_RUNTIME: pb.TRIAL_OUTCOME_MAX_RUNTIME_EXCEEDED,
}
