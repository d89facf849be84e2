"""How values are written for people: numbers, times, statuses, hyperparameters, tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Final

from tunesmith.v1.options_pb2 import sagemaker_name
from tunesmith.v1.stopping_verdict_pb2 import (
    STOPPING_RULE_FULL_RESOURCE,
    STOPPING_RULE_HALVING,
    STOPPING_RULE_MEDIAN,
    STOPPING_RULE_PAUSED,
)
from tunesmith.v1.training_job_pb2 import TrainingJobStatus
from tunesmith.v1.tuning_job_pb2 import (
    HyperParameterTrainingJobSummary,
    HyperParameterTuningJobStatus,
)
from tunesmith_server.domain.names import OUTPUT_MARK

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.timestamp_pb2 import Timestamp

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600

#: What acts on a terminal, or breaks or turns a line, instead of being shown in it.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    r"""Write text from elsewhere in one line; control characters as in ``\x1b`` and ``\n``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def log_line(text: str) -> str:
    """Write a line of a trial's output for a terminal: as ``plain``, with its tabs."""
    return plain(text.expandtabs(8))


def several_lines(text: str) -> list[str]:
    """Write text from elsewhere that comes in lines: each as ``log_line`` does."""
    return [log_line(line) for line in text.split("\n")]


def why_no_success(summary: HyperParameterTrainingJobSummary) -> str:
    """Say in one line why a training job failed, or ended without an objective, if it did."""
    if summary.failure_reason:
        return plain(summary.failure_reason.partition(OUTPUT_MARK)[0])
    return several_lines(summary.objective_failure_reason)[0]


def why_stopped(summary: HyperParameterTrainingJobSummary) -> str:
    """Say in a few words by what a training job was stopped early, or is paused, if it was."""
    if not summary.HasField("stopping_verdict"):
        return ""
    verdict = summary.stopping_verdict
    if verdict.rule == STOPPING_RULE_PAUSED:
        return (
            f"paused at rung {verdict.rung} at {verdict.resource}: {number(verdict.value)}, "
            f"number {verdict.rank} of {verdict.entries}"
        )
    place = f"at {verdict.resource}: {number(verdict.value)}"
    if verdict.rung:
        return (
            f"rung {verdict.rung} {place}, number {verdict.rank} of {verdict.entries}, "
            f"needed {number(verdict.threshold)}"
        )
    if verdict.HasField("threshold"):
        return f"{place}, median of {verdict.entries}: {number(verdict.threshold)}"
    return f"{place}, beyond its full resource"


def stopped_by(summary: HyperParameterTrainingJobSummary) -> str:
    """Say in a word or two by what a training job was stopped early, if it was."""
    verdict = summary.stopping_verdict
    if verdict.rule in (STOPPING_RULE_PAUSED, STOPPING_RULE_HALVING):
        how = "paused at rung" if verdict.rule == STOPPING_RULE_PAUSED else "at rung"
        return f"{how} {verdict.rung}"
    names = {STOPPING_RULE_MEDIAN: "by the median", STOPPING_RULE_FULL_RESOURCE: "full resource"}
    return names.get(verdict.rule, "")


def cut_left(text: str, width: int) -> str:
    """Cut a name to a width by its beginning: training jobs differ in their ends."""
    return text if len(text) <= width else f"…{text[len(text) - max(0, width - 1) :]}"


def size(count_bytes: int) -> str:
    """Write a size, e.g. ``812 bytes`` or ``4.0 MiB``."""
    if count_bytes < 1024:  # noqa: PLR2004 - bytes in a KiB
        return f"{count_bytes} bytes"
    kib = count_bytes / 1024
    return f"{kib:.1f} KiB" if kib < 1024 else f"{kib / 1024:.1f} MiB"  # noqa: PLR2004 - KiB in a MiB


def counted(count: int, noun: str) -> str:
    """Write how many there are of something, e.g. ``1 value`` or ``2 values``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def number(value: float) -> str:
    """Write a metric's value in six significant digits."""
    return f"{value:.6g}"


def parameter(value: str) -> str:
    """Write a hyperparameter's value; a long decimal in six significant digits."""
    try:
        rounded = f"{float(value):.6g}"
    except ValueError:
        return plain(value)
    return rounded if "." in value and len(rounded) < len(value) else value


def parameters(values: Mapping[str, str]) -> str:
    """Write hyperparameters in one line, by name."""
    return "  ".join(f"{plain(name)}={parameter(values[name])}" for name in sorted(values))


def span(seconds: float) -> str:
    """Write a duration, e.g. ``1 h 05 min``, ``2 min 05 s``, ``3.1 s`` ``12 s`` or ``40 ms``."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - two digits
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    if seconds < _HOUR_S:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def time_left(seconds: float) -> str:
    """Say an estimate of the time left, in whole seconds: ``about 12 s left``."""
    whole = round(seconds)
    if whole < 1:
        return "less than a second left"
    return f"about {f'{whole} s' if whole < _MINUTE_S else span(whole)} left"


def moment(timestamp: Timestamp) -> str:
    """Write a time in UTC to the second, or nothing for one that is not set."""
    if not timestamp.ByteSize():
        return ""
    return timestamp.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(timestamp: Timestamp) -> str:
    """Write a time in UTC to the microsecond, or nothing for one that is not set."""
    if not timestamp.ByteSize():
        return ""
    return timestamp.ToDatetime(tzinfo=UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def spelled(enum: EnumDescriptor, number: int) -> str:
    """Give an enum value in SageMaker's spelling, or its number if a newer server sent it."""
    value = enum.values_by_number.get(number)
    spelling = value.GetOptions().Extensions[sagemaker_name] if value is not None else ""
    return str(spelling or number)


def training_status(status: int) -> str:
    """Give a training job's status in SageMaker's spelling."""
    return spelled(TrainingJobStatus.DESCRIPTOR, status)


def tuning_status(status: int) -> str:
    """Give a tuning job's status in SageMaker's spelling."""
    return spelled(HyperParameterTuningJobStatus.DESCRIPTOR, status)


def tuning_status_called(name: str) -> str:
    """Give SageMaker's spelling of a tuning job's status; as it is where there is none such."""
    statuses = HyperParameterTuningJobStatus.DESCRIPTOR
    spellings = {spelled(statuses, each.number).lower(): each.number for each in statuses.values}
    known = spellings.get(name.lower())
    return name if known is None else tuning_status(known)


def objective(summary: HyperParameterTrainingJobSummary) -> str:
    """Write a training job's objective, e.g. ``accuracy=0.97``, or nothing if it has none."""
    if not summary.HasField("final_hyper_parameter_tuning_job_objective_metric"):
        return ""
    metric = summary.final_hyper_parameter_tuning_job_objective_metric
    return f"{plain(metric.metric_name)}={number(metric.value)}"


def configuration(summary: HyperParameterTrainingJobSummary, *, has_several: bool) -> str:
    """Write what a training job runs: its hyperparameters, after its definition's name.

    Args:
        summary: Of the training job.
        has_several: Its tuning job has several definitions; the name of an only one says nothing.
    """
    definition = plain(summary.training_job_definition_name) if has_several else ""
    return "  ".join(filter(None, (definition, parameters(summary.tuned_hyper_parameters))))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns, two spaces apart; nothing is cut off."""
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
