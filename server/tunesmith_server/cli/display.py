"""Show a tuning job's progress on standard error: live on a terminal, else a line per event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse
from tunesmith.v1.tuning_job_pb2 import HyperParameterTrainingJobSummary
from tunesmith_server.cli import wording
from tunesmith_server.cli.progress import Progress, duration

_SHOWN_RUNNING: Final = 12
_BAR_WIDTH: Final = 32

Clock = Callable[[], datetime]


def standard_error() -> Console:
    """Give the console on standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


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
            return _picture(progress, clock())

    live: AbstractContextManager[object] = nullcontext()
    if console.is_terminal:
        live = Live(get_renderable=picture, console=console, refresh_per_second=4)
    with live:
        for event in events:
            with lock:
                ended = progress.apply(event)
                line = None if ended is None else _ended_line(progress, ended)
            if line is not None:
                console.print(line)


def _ended_line(progress: Progress, ended: HyperParameterTrainingJobSummary) -> Text:
    of_total = "" if progress.total is None else f"/{progress.total}"
    facts = [
        f"[{progress.ended_count}{of_total}]",
        ended.training_job_name,
        wording.training_status(ended.training_job_status),
        wording.objective(ended),
        wording.span(duration(ended).total_seconds()),
        wording.parameters(ended.tuned_hyper_parameters),
        ended.failure_reason,
    ]
    return Text("  ".join(fact for fact in facts if fact))


def _picture(progress: Progress, now: datetime) -> RenderableType:
    parts: list[RenderableType] = [_head(progress, now), _counts(progress)]
    if progress.best is not None:
        parts.append(_best(progress.best))
    if progress.running:
        parts.append(_running_table(progress, now))
    return Group(*parts)


def _head(progress: Progress, now: datetime) -> RenderableType:
    left_s = progress.time_left_s(now)
    total = progress.total
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(progress.name, style="bold"),
        Text(wording.tuning_status(progress.status)),
        ProgressBar(total=total, completed=progress.ended_count, width=_BAR_WIDTH),
        Text(f"{progress.ended_count}/{total}" if total is not None else f"{progress.ended_count}"),
        Text("" if left_s is None else f"about {wording.span(left_s)} left"),
    )
    return head


def _counts(progress: Progress) -> Text:
    counters = progress.counters
    failed = counters.retryable_error + counters.non_retryable_error
    counts = Text(
        f"{len(progress.running)} running, {counters.completed} completed, "
        f"{counters.stopped} stopped, "
    )
    counts.append(f"{failed} failed", style="red" if failed else "")
    return counts


def _best(best: HyperParameterTrainingJobSummary) -> Text:
    shown = Text("best  ")
    shown.append(wording.objective(best), style="bold green")
    shown.append(f"  {best.training_job_name}\n      ")
    shown.append(wording.parameters(best.tuned_hyper_parameters))
    return shown


def _running_table(progress: Progress, now: datetime) -> Table:
    rows = Table.grid(padding=(0, 2))
    for name, running in list(progress.running.items())[:_SHOWN_RUNNING]:
        summary = running.summary
        started = summary.HasField("training_start_time")
        elapsed_s = (
            (now - summary.training_start_time.ToDatetime(tzinfo=UTC)).total_seconds()
            if started
            else 0.0
        )
        value = "" if running.objective is None else wording.number(running.objective)
        rows.add_row(
            Text(name, style="dim"),
            Text(wording.span(max(0.0, elapsed_s)) if started else "waiting"),
            Text(f"{value} (value {running.emitted})" if value else ""),
            Text(
                wording.parameters(summary.tuned_hyper_parameters),
                style="dim",
                no_wrap=True,
                overflow="ellipsis",
            ),
        )
    hidden = len(progress.running) - _SHOWN_RUNNING
    if hidden > 0:
        rows.add_row(Text(f"and {hidden} more", style="dim"))
    return rows
