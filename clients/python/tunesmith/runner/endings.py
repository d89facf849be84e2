"""How a trial's program ended, and how that is said to the server."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tunesmith.runner.errors import FAILURE_REASON_MAX, FailureKind, TrialFailure
from tunesmith.v1 import runner_service_pb2 as pb

_SCRIPT_ERROR: Final = "ExecuteUserScriptError"
_OUTPUT: Final = '\nErrorMessage "{}"'
_LINES: Final = 20
_CUT_MARK: Final = "…"


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


def algorithm_failure(
    program: ProgramExit,
    failure_text: str,
    *,
    last_lines: Sequence[str] = (),
    is_script: bool = False,
) -> TrialFailure:
    """Blame the program: in its own words if it left any, else by its exit code and its output.

    The last lines of output stand where SageMaker's training toolkit has them, behind
    ``ErrorMessage``, as many as there is room for. Of a script from an archive the toolkit's name
    for such an end comes first.

    Two ends may pass: exit status 75, by which a program says so itself (EX_TEMPFAIL of sysexits.h),
    and SIGKILL that nobody here sent, which is the system's when memory runs out.
    """
    text = failure_text
    if not text:
        text = _exit_code(program.code)
        if is_script:
            text = f"{_SCRIPT_ERROR}: {text}"
        text = _with_output(text, last_lines)
    can_pass = program.code in {-signal.SIGKILL, os.EX_TEMPFAIL}
    return TrialFailure(FailureKind.ALGORITHM, text, retryable=can_pass)


def _exit_code(code: int) -> str:
    if code >= 0:
        return f"Exit Code: {code}"
    # As a shell and docker count a signal.
    text = f"Exit Code: {128 - code} ({_signal_name(-code)})"
    if code == -signal.SIGKILL:
        text += ", as the system ends a program when memory runs out"
    return text


def _with_output(text: str, lines: Sequence[str]) -> str:
    """Add the last of some lines, within what a reason may have in all."""
    room = FAILURE_REASON_MAX - len(f"{FailureKind.ALGORITHM}: {text}{_OUTPUT.format('')}")
    output = "\n".join(line.rstrip() for line in lines[-_LINES:]).strip("\n")
    if not output:
        return text
    if len(output) > room:
        # What a program said last is what it died of.
        output = f"{_CUT_MARK}{output[len(_CUT_MARK) - room :]}"
    return text + _OUTPUT.format(output)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
