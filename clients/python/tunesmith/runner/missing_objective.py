"""What a program's output held that never emitted the objective: for the end's report.

Looked for once, when the program has ended, in the end of the log file: trials that emit their
objective pay nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tunesmith.runner.log_end import lines_at_end
from tunesmith.runner.metrics import NearMiss, nearest_misses
from tunesmith.v1 import runner_service_pb2 as pb

#: The hyperparameter by which SageMaker tells a training job its objective metric's name.
OBJECTIVE_HYPER_PARAMETER: Final = "_tuning_objective_metric"

#: How much of each line of the log's end is looked at.
_LOOKED_AT_CHARACTERS: Final = 500
# A hostile pattern takes milliseconds a line. One that is compiled, or matched, is not interrupted.
_SEARCH_S: Final = 1.0

_LAST_LINES: Final = 10
_NEAREST_LINES: Final = 3
# Of UTF-8. Ten lines, three more and what is said of these make 3 KiB at most.
_LINE_BYTES: Final = 160
_PART_BYTES: Final = 80
_CUT_MARK: Final = "…"


def objective_name(assignment: pb.TrialAssignment) -> str | None:
    """Give the name of a trial's objective metric, if it is known."""
    return assignment.hyper_parameters.get(OBJECTIVE_HYPER_PARAMETER)


def objective_patterns(assignment: pb.TrialAssignment) -> tuple[str, ...]:
    """Give the regular expressions of a trial's objective metric; none if it is not known."""
    name = objective_name(assignment)
    return tuple(d.regex for d in assignment.metric_definitions if d.name == name)


def missing_objective(
    log: Path, patterns: Sequence[str], *, clock: Callable[[], float] = time.monotonic
) -> pb.ObjectiveMissing:
    """Look up the last lines of a log and those that came nearest to a value of the objective.

    Args:
        log: The output of the program, which has ended.
        patterns: The objective's regular expressions, which RE2 takes.
        clock: Gives seconds; the search ends after one.

    Raises:
        OSError: The log cannot be read.
    """
    lines = lines_at_end(log)
    until = clock() + _SEARCH_S

    def in_time() -> Iterator[str]:
        for line in lines:
            if clock() > until:
                return
            yield line[:_LOOKED_AT_CHARACTERS]

    found = [
        _worth_showing(nearest_misses(pattern, in_time(), limit=_NEAREST_LINES))
        for pattern in patterns
    ]
    return pb.ObjectiveMissing(
        nearest_lines=map(_nearest_line, _in_turn(found)),
        last_lines=[_cut(line, _LINE_BYTES) for line in lines[-_LAST_LINES:]],
    )


def _worth_showing(misses: Sequence[NearMiss]) -> Sequence[NearMiss]:
    """Leave out lines in which much less of the pattern is found than in the nearest one.

    Of nearly every pattern there is a first letter in nearly every line.
    """
    least = max([2, *(len(miss.matched_pattern) // 2 for miss in misses[:1])])
    return [miss for miss in misses if len(miss.matched_pattern) >= least]


def _in_turn(found: Sequence[Sequence[NearMiss]]) -> Iterable[NearMiss]:
    """Give the nearest of each pattern, then the second of each, as many as are wanted."""
    ranked = [
        miss
        for place in range(_NEAREST_LINES)
        for misses in found
        for miss in misses[place : place + 1]
    ]
    return ranked[:_NEAREST_LINES]


def _nearest_line(miss: NearMiss) -> pb.NearestLine:
    return pb.NearestLine(
        line=_cut(miss.line.strip(), _LINE_BYTES),
        matched_text=_cut(miss.matched_text, _PART_BYTES),
        unmatched_pattern=_cut(miss.unmatched_pattern, _PART_BYTES),
        captured=None if miss.captured is None else _cut(miss.captured, _PART_BYTES),
    )


def _cut(text: str, limit_bytes: int) -> str:
    """Cut a text to so many bytes of UTF-8; one that is cut says so at its end."""
    encoded = text.encode("utf-8", errors="replace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    kept = encoded[: limit_bytes - len(_CUT_MARK.encode())].decode(errors="ignore")
    return f"{kept}{_CUT_MARK}"
