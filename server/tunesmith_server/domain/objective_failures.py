"""Why a training job ended without an objective, in words, with what its output held instead.

The sentence comes first, on one line. Lines of output follow it, indented, one a line; they are as
the program wrote them, control characters included: who shows them on a terminal escapes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from tunesmith_server.domain.events import NearestLine, ObjectiveMissing
from tunesmith_server.domain.trial import INFEASIBLE, Trial

#: A training job's ObjectiveFailureReason is at most this long.
OBJECTIVE_FAILURE_LENGTH: Final = 4096

_NEAREST: Final = "Nearest lines:"
_LAST: Final = "Last lines:"


def objective_failure(
    trial: Trial, metric_name: str, *, by_caller: bool, missing: ObjectiveMissing | None
) -> str:
    """Say why an ended trial has no objective, in at most 4096 characters.

    Args:
        trial: The trial, which failed or has no last finite value of the metric.
        metric_name: The objective metric.
        by_caller: A caller ran it, and no runner.
        missing: What its program wrote in place of the objective, if a runner says.
    """
    why = _by_caller(trial, metric_name) if by_caller else _on_runner(trial, metric_name, missing)
    return why[:OBJECTIVE_FAILURE_LENGTH]


def _by_caller(trial: Trial, metric_name: str) -> str:
    told = trial.transitions[-1].message
    if told.startswith(INFEASIBLE):
        return f"The caller completed the trial as infeasible{told[len(INFEASIBLE) :] or '.'}"
    value = _emitted(trial, metric_name)
    if value is not None:
        return _does_not_count(metric_name, value)
    if trial.training_started_at is None:
        return "The trial ended before a caller held it."
    return f'The caller gave no value of the objective metric "{metric_name}".'


def _on_runner(trial: Trial, metric_name: str, missing: ObjectiveMissing | None) -> str:
    value = _emitted(trial, metric_name)
    if value is not None:
        return _does_not_count(metric_name, value)
    if trial.training_started_at is None:
        return "The training job ended before its program was started."
    found = f'The objective metric "{metric_name}" was never found in the output'
    if missing is None:
        return f"{found}."
    if not missing.last_lines:
        return f"{found}, which is empty."
    return "\n".join((f"{found}.", *_attached(missing)))


def _emitted(trial: Trial, metric_name: str) -> float | None:
    last = trial.metrics.get(metric_name)
    return None if last is None else last.value


def _does_not_count(metric_name: str, value: float) -> str:
    if not math.isfinite(value):
        return (
            f'The last value of the objective metric "{metric_name}" is {value}, by which training '
            "jobs cannot be ranked."
        )
    # With a finite value it would have an objective, had it not failed.
    return (
        f'The training job failed: the value {value!r} of the objective metric "{metric_name}" that '
        "it had emitted does not count."
    )


def _attached(missing: ObjectiveMissing) -> Iterable[str]:
    if missing.nearest_lines:
        yield _NEAREST
        for near in missing.nearest_lines:
            yield f"  {near.line.strip()}"
            yield f"    {_how_near(near)}"
    yield _LAST
    yield from (f"  {line}" for line in missing.last_lines)


def _how_near(near: NearestLine) -> str:
    if near.captured is not None:
        return f"the pattern is found, but captures {near.captured!r}, which is no number"
    return f"found {near.matched_text!r}, but not {near.unmatched_pattern} after it"
