"""How a trial's program ended, and how that is said to the server."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import datetime

from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.v1 import runner_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramExit:
    """Describe the end of a trial's program.

    Attributes:
        code: Its exit status; of a signal, the negative number.
        by_itself: Whether nobody had told it to end.
        started_at: When it began.
    """

    code: int
    by_itself: bool
    started_at: datetime


def ended(
    outcome: pb.TrialOutcome.ValueType, program: ProgramExit, *, model_artifacts_uri: str = ""
) -> pb.TrialEnded:
    """Say how a trial ended whose program ran."""
    said = pb.TrialEnded(outcome=outcome, model_artifacts_uri=model_artifacts_uri)
    said.training_started_at.FromDatetime(program.started_at)
    if program.code >= 0:
        said.exit_code = program.code
    return said


def failed(failure: TrialFailure, program: ProgramExit | None = None) -> pb.TrialEnded:
    """Say that a trial failed, and why; ``None``: its program never ran."""
    said = pb.TrialEnded() if program is None else ended(pb.TRIAL_OUTCOME_FAILED, program)
    said.outcome = pb.TRIAL_OUTCOME_FAILED
    said.failure_reason = failure.reason
    said.retryable = failure.retryable
    return said


def algorithm_failure(program: ProgramExit, failure_text: str) -> TrialFailure:
    """Blame the program: in its own words if it left any, else by its exit code."""
    text = failure_text
    if not text and program.code < 0:
        # As a shell and docker count a signal.
        text = f"Exit Code: {128 - program.code} ({_signal_name(-program.code)})"
    return TrialFailure(FailureKind.ALGORITHM, text or f"Exit Code: {program.code}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
