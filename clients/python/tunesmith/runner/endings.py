"""How a trial's program ended, and how that is said to the server."""

from __future__ import annotations

import os
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
    """Blame the program: in its own words if it left any, else by its exit code.

    Two ends may pass: exit status 75, by which a program says so itself (EX_TEMPFAIL of sysexits.h),
    and SIGKILL that nobody here sent, which is the system's when memory runs out.
    """
    text, code = failure_text, program.code
    is_killed = code == -signal.SIGKILL
    if not text and code < 0:
        # As a shell and docker count a signal.
        text = f"Exit Code: {128 - code} ({_signal_name(-code)})"
        if is_killed:
            text += ", as the system ends a program when memory runs out"
    can_pass = is_killed or code == os.EX_TEMPFAIL
    return TrialFailure(FailureKind.ALGORITHM, text or f"Exit Code: {code}", retryable=can_pass)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
