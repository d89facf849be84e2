"""Show on standard error how far a function's trials have come: live on a terminal, else lines.

Importing this imports rich, so it is imported only where something is to be shown.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from tunesmith.optimizer import Trial, TrialStatus

_BAR_WIDTH = 32
#: Below so many columns there is no room for a bar.
_WIDE = 80
#: How many lines are written, at most, where there is no terminal.
_LINES = 10


class Standing:
    """Hold how far the trials have come.

    Attributes:
        total: How many trials there will be, at least 1.
        ended: How many have ended.
        failed: How many of them failed.
        best: The best trial so far.
    """

    def __init__(self, total: int, *, now_s: float) -> None:
        self.total = total
        self.ended = 0
        self.failed = 0
        self.best: Trial | None = None
        self._started_s = self._last_s = now_s

    def take(self, trial: Trial, best: Trial | None, *, now_s: float) -> None:
        """Take in a trial that has ended, and which one is the best now."""
        self.ended += 1
        self.failed += trial.status is TrialStatus.FAILED
        self.best = best
        self._last_s = now_s

    def time_left_s(self, now_s: float) -> float | None:
        """Estimate the time left from the pace so far; ``None`` before the first end."""
        if not self.ended:
            return None
        pace_s = (self._last_s - self._started_s) / self.ended
        return max(0.0, pace_s * (self.total - self.ended) - (now_s - self._last_s))

    def words(self, now_s: float) -> list[str]:
        """Say how it stands, in pieces: trials ended, best so far, failures, time."""
        pieces = [f"{self.ended}/{self.total}"]
        if self.best is not None:
            pieces.append(f"best {self.best.value:.6g} (trial {self.best.number})")
        if self.failed:
            pieces.append(f"{self.failed} failed")
        left_s = self.time_left_s(now_s)
        if self.ended == self.total:
            pieces.append(f"took {clock_time(self._last_s - self._started_s)}")
        elif left_s is not None:
            pieces.append(f"{clock_time(left_s)} left")
        return pieces


def clock_time(duration_s: float) -> str:
    """Write a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextlib.contextmanager
def shown(
    total: int,
    *,
    always: bool,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[Trial, Trial | None], None]]:
    """Show progress for as long as the context lasts.

    Args:
        total: How many trials there will be, at least 1.
        always: Show it where there is no terminal too, as at most ten lines.
        console: Where; absent: standard error.
        clock: In seconds.

    Yields:
        What takes in a trial that has ended, and the best trial then.
    """
    console = console or Console(stderr=True, highlight=False)
    standing = Standing(total, now_s=clock())
    if console.is_terminal:
        with _live(standing, console, clock) as take:
            yield take
    elif always:
        yield _lines(standing, console, clock)
    else:
        yield lambda _trial, _best: None


def _lines(
    standing: Standing, console: Console, clock: Callable[[], float]
) -> Callable[[Trial, Trial | None], None]:
    def take(trial: Trial, best: Trial | None) -> None:
        before = standing.ended * _LINES // standing.total
        standing.take(trial, best, now_s=clock())
        if standing.ended * _LINES // standing.total > before:
            console.print("trials " + ", ".join(standing.words(clock())), soft_wrap=True)

    return take


@contextlib.contextmanager
def _live(
    standing: Standing, console: Console, clock: Callable[[], float]
) -> Iterator[Callable[[Trial, Trial | None], None]]:
    lock = threading.Lock()

    def picture() -> RenderableType:
        # The live display draws on a thread of its own.
        with lock:
            return _picture(standing, clock(), width=console.width)

    def take(trial: Trial, best: Trial | None) -> None:
        with lock:
            standing.take(trial, best, now_s=clock())

    # What the function prints goes above the bar, but never from a file onto the terminal.
    with Live(
        get_renderable=picture,
        console=console,
        refresh_per_second=4,
        redirect_stdout=sys.stdout.isatty(),
    ):
        yield take


def _picture(standing: Standing, now_s: float, *, width: int) -> RenderableType:
    pieces = standing.words(now_s)
    if width < _WIDE:
        return "  ".join(pieces)
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=standing.total, completed=standing.ended, width=_BAR_WIDTH)
    row.add_row(bar, "  ".join(pieces))
    return row
