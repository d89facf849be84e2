"""Show a tuning job's progress on standard error: live on a terminal, else a line per event."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse
from tunesmith.v1.training_job_pb2 import SecondaryStatus, TrainingJobStatus
from tunesmith.v1.tuning_job_pb2 import HyperParameterTrainingJobSummary
from tunesmith_server.cli import wording
from tunesmith_server.cli.progress import Progress, Running, duration, has_duration

_SHOWN_RUNNING: Final = 12
_BAR_WIDTH: Final = 32
#: Below so many columns there is no room for a bar and for hyperparameters.
_WIDE: Final = 80
_NAME_WIDTH: Final = 16
#: To wait for so long is worth a word.
_LONG_WAIT_S: Final = 5.0
#: Secondary statuses that say why a training job was stopped.
_WHY_STOPPED: Final = frozenset(
    {
        SecondaryStatus.SECONDARY_STATUS_MAX_RUNTIME_EXCEEDED,
        SecondaryStatus.SECONDARY_STATUS_MAX_WAIT_TIME_EXCEEDED,
    }
)

Clock = Callable[[], datetime]


def standard_error() -> Console:
    """Give the console on standard error."""
    return Console(stderr=True, highlight=False)


def follow(
    progress: Progress,
    events: Iterable[WatchHyperParameterTuningJobResponse],
    *,
    console: Console,
    clock: Clock = lambda: datetime.now(UTC),
) -> None:
    """Take in events until they end, showing how the tuning job stands.

    Args:
        progress: Takes the events in.
        events: The tuning job's.
        console: Where to show it; live if it is a terminal.
        clock: For elapsed times and the time left.
    """
    lock = threading.Lock()

    def picture() -> RenderableType:
        # The live display draws on a thread of its own.
        with lock:
            return _picture(progress, clock(), width=console.width)

    if not console.is_terminal:
        for event in events:
            ended = progress.apply(event)
            if ended is not None:
                console.print(_ended_line(progress, ended), soft_wrap=True)
        return
    with Live(get_renderable=picture, console=console, refresh_per_second=4) as live:
        try:
            for event in events:
                with lock:
                    ended = progress.apply(event)
                    line = None if ended is None else _ended_line(progress, ended)
                if line is not None:
                    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        except KeyboardInterrupt:
            # What is shown holds no longer; what follows says how it went on.
            live.transient = True
            raise


def _ended_line(progress: Progress, ended: Running) -> Text:
    summary = ended.summary
    of_total = "" if progress.total is None else f"/{progress.total}"
    facts = [
        f"[{progress.ended_count}{of_total}]",
        wording.plain(summary.training_job_name),
        _ended_status(ended),
        _final_objective(progress, ended),
        wording.span(duration(summary).total_seconds()) if has_duration(summary) else "",
        wording.configuration(summary, has_several=progress.has_several),
        wording.why_no_success(summary),
    ]
    return Text("  ".join(fact for fact in facts if fact))


def _ended_status(ended: Running) -> str:
    status = wording.training_status(ended.summary.training_job_status)
    if ended.secondary_status in _WHY_STOPPED:
        why = wording.spelled(SecondaryStatus.DESCRIPTOR, ended.secondary_status)
    elif ended.summary.training_job_status == TrainingJobStatus.TRAINING_JOB_STATUS_STOPPED:
        why = wording.stopped_by(ended.summary)
    else:
        why = ""  # it ended by itself, whatever it had been told
    return f"{status} ({why})" if why else status


def _final_objective(progress: Progress, ended: Running) -> str:
    """Write the objective of a training job that has ended, or how it comes to have none."""
    written = wording.objective(ended.summary)
    if written:
        return written
    if ended.objective is not None and not math.isfinite(ended.objective):
        metric = wording.plain(progress.metric_of(ended.summary))
        return f"{metric}={wording.number(ended.objective)}"
    completed = TrainingJobStatus.TRAINING_JOB_STATUS_COMPLETED
    return "no objective" if ended.summary.training_job_status == completed else ""


def _picture(progress: Progress, now: datetime, *, width: int) -> RenderableType:
    parts: list[RenderableType] = [_head(progress, now, width=width), _counts(progress)]
    waiting_since = progress.all_wait_since()
    if waiting_since is not None and (now - waiting_since).total_seconds() > _LONG_WAIT_S:
        parts.append(_waiting(progress))
    if progress.best is not None:
        parts.append(_best(progress, progress.best, width=width))
    if progress.running:
        parts.append(_running_table(progress, now, width=width))
    return Group(*parts)


def _head(progress: Progress, now: datetime, *, width: int) -> RenderableType:
    left_s = progress.time_left_s(now)
    total, ended = progress.total, progress.ended_count
    parts: list[RenderableType] = [
        Text(progress.name, style="bold"),
        Text(wording.tuning_status(progress.status)),
    ]
    if width >= _WIDE:
        parts.append(ProgressBar(total=total, completed=ended, width=_BAR_WIDTH))
    parts.append(Text(f"{ended}/{total}" if total is not None else f"{ended}"))
    if left_s is not None and width >= _WIDE:
        parts.append(Text(wording.time_left(left_s)))
    head = Table.grid(padding=(0, 2))
    head.add_row(*parts)
    return head


def _counts(progress: Progress) -> Text:
    ended, waiting = progress.ended_by_status, progress.waiting_count
    stopped = ended[TrainingJobStatus.TRAINING_JOB_STATUS_STOPPED]
    failed = ended[TrainingJobStatus.TRAINING_JOB_STATUS_FAILED]
    parts = [Text(f"{len(progress.running) - waiting} running")]
    if waiting:
        parts.append(Text(f"{waiting} waiting"))
    parts.append(Text(f"{ended[TrainingJobStatus.TRAINING_JOB_STATUS_COMPLETED]} completed"))
    if stopped:
        parts.append(Text(f"{stopped} stopped"))
    if failed:
        parts.append(Text(f"{failed} failed", style="red"))
    return Text(", ").join(parts)


def _waiting(progress: Progress) -> Text:
    wanted = " or ".join(wording.plain(name) for name in progress.instance_types)
    return Text(
        "waiting for a runner with room" + (f" for {wanted}" if wanted else ""), style="yellow"
    )


def _best(progress: Progress, best: HyperParameterTrainingJobSummary, *, width: int) -> Text:
    shown = Text("best  ")
    shown.append(wording.objective(best), style="bold green")
    name = wording.cut_left(wording.plain(best.training_job_name), _name_width(width))
    shown.append(f"  {name}\n      ")
    shown.append(wording.configuration(best, has_several=progress.has_several))
    return shown


def _name_width(width: int) -> int:
    return max(_NAME_WIDTH, width // 3)


def _running_table(progress: Progress, now: datetime, *, width: int) -> Table:
    rows = Table.grid(padding=(0, 2))
    # Those that rest may be many.
    shown = sorted(progress.running.items(), key=lambda each: each[1].is_paused)
    for name, running in shown[:_SHOWN_RUNNING]:
        summary = running.summary
        started = summary.HasField("training_start_time") and not running.is_waiting
        elapsed_s = (
            (now - summary.training_start_time.ToDatetime(tzinfo=UTC)).total_seconds()
            if started
            else 0.0
        )
        value = "" if running.objective is None else wording.number(running.objective)
        cells = [
            Text(wording.cut_left(wording.plain(name), _name_width(width)), style="dim"),
            Text(_since(running, elapsed_s, started=started)),
        ]
        if width >= _WIDE:
            configuration = wording.configuration(summary, has_several=progress.has_several)
            cells.append(Text(f"{value} (value {running.emitted})" if value else ""))
            cells.append(Text(configuration, style="dim", overflow="ellipsis"))
        else:
            cells.append(Text(value))
        for cell in cells:
            cell.no_wrap = True
        rows.add_row(*cells)
    hidden = len(progress.running) - _SHOWN_RUNNING
    if hidden > 0:
        rows.add_row(Text(f"and {hidden} more", style="dim"))
    return rows


def _since(running: Running, elapsed_s: float, *, started: bool) -> str:
    if started:
        return wording.span(max(0.0, elapsed_s))
    if running.is_paused:
        return "paused"
    return "waiting" if running.is_waiting else "starting"
