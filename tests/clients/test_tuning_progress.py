"""Progress of a function's trials: live on a terminal, a few lines elsewhere, silent if told so."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

import tunesmith
from tests.project.repository import SOURCE_ROOTS
from tunesmith.optimizer import Trial, TrialStatus
from tunesmith.progress import Standing, clock_time, shown
from tunesmith.space import Range

pytestmark = pytest.mark.timeout(120)

SPACE: dict[str, Range] = {"n": tunesmith.integers(1, 5)}


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def text_of(stream: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def trial(number: int, value: float | None) -> Trial:
    status = TrialStatus.FAILED if value is None else TrialStatus.COMPLETED
    return Trial(number=number, parameters={}, status=status, value=value)


def value_of(parameters: dict[str, Any]) -> float:
    return float(parameters["n"]) if parameters["n"] < 5 else float("nan")


def test_a_terminal_is_shown_trials_done_the_best_and_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    outcome = tunesmith.minimize(value_of, SPACE, trials=20, seed=1)
    last = text_of(terminal).splitlines()[-1]
    assert f"5/5  best 1 (trial {outcome.best.number})  1 failed  took 0:0" in last


@pytest.mark.parametrize(
    ("stream", "options"), [(FakeTerminal, {"progress": False}), (io.StringIO, {})]
)
def test_nothing_is_shown_where_nobody_looks_or_wants_it(
    stream: type[io.StringIO], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    tunesmith.minimize(value_of, SPACE, seed=1, **options)
    assert written.getvalue() == ""


def test_a_file_gets_lines_if_progress_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    tunesmith.minimize(value_of, SPACE, seed=1, progress=True)
    lines = written.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"trials {n}/5" for n in range(1, 6)]
    assert lines[-1].endswith("1 failed, took 0:00")
    assert capsys.readouterr().out == ""


def test_a_file_gets_ten_lines_however_many_trials_there_are() -> None:
    stream, now_s = io.StringIO(), iter(range(10_000))
    console = Console(file=stream)
    with shown(330, always=True, console=console, clock=lambda: float(next(now_s))) as take:
        for number in range(330):
            take(trial(number, 1.0), None)
    assert len(stream.getvalue().splitlines()) == 10


def test_what_the_function_prints_goes_where_it_would_go_anyway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, file = FakeTerminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", file)

    def talks(parameters: dict[str, Any]) -> float:
        print("epoch", parameters["n"])  # noqa: T201 - what functions do
        return float(parameters["n"])

    tunesmith.minimize(talks, SPACE, seed=1)
    assert sorted(file.getvalue().split()) == sorted(["epoch"] * 5 + list("12345"))
    assert "epoch" not in terminal.getvalue()


def test_a_narrow_terminal_is_shown_the_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    tunesmith.minimize(value_of, SPACE, seed=1)
    last = text_of(terminal).splitlines()[-1].strip()
    assert last.startswith("5/5  best 1")


def test_the_time_left_follows_the_pace_and_counts_down() -> None:
    standing = Standing(10, now_s=100.0)
    assert standing.time_left_s(130.0) is None
    assert standing.words(130.0) == ["0/10"]
    standing.take(trial(0, 0.25), trial(0, 0.25), now_s=120.0)
    standing.take(trial(1, None), trial(0, 0.25), now_s=140.0)
    assert standing.time_left_s(140.0) == 160.0
    assert standing.time_left_s(150.0) == 150.0
    assert standing.time_left_s(1000.0) == 0.0
    assert standing.words(150.0) == ["2/10", "best 0.25 (trial 0)", "1 failed", "2:30 left"]


def test_durations_are_written_as_on_a_clock() -> None:
    assert [clock_time(each) for each in (0.4, 59.6, 3599, 3600, 90061)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "25:01:01",
    ]


def test_rich_is_not_loaded_where_nothing_is_shown() -> None:
    program = f"""
import sys
sys.path[:0] = {list(map(str, SOURCE_ROOTS))!r}
import tunesmith
tunesmith.minimize(lambda p: p["n"], {{"n": tunesmith.integers(1, 3)}})
print("rich" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
