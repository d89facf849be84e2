"""What a tuning job's events add up to, and how it is shown."""

import io
from datetime import timedelta

import pytest
from rich.console import Console

from tests.server.cli.cli_events import (
    METRIC,
    START,
    described,
    described_training_job,
    event,
    log_event,
    metric_event,
    status_event,
    training_job_event,
    trial,
    whole_job,
)
from tunesmith_server.cli import wording
from tunesmith_server.cli.display import _picture, follow
from tunesmith_server.cli.progress import Progress
from tunesmith_server.cli.report import best_lines, failure_lines, outcome_line


@pytest.fixture
def progress() -> Progress:
    return Progress(described())


def test_training_jobs_run_and_end_once(progress: Progress) -> None:
    assert progress.apply(training_job_event(1, 1, "InProgress")) is None
    assert list(progress.running) == [trial(1)]
    ended = progress.apply(training_job_event(2, 1, "Completed", value=0.9))
    assert ended is not None
    assert ended.training_job_name == trial(1)
    assert progress.apply(training_job_event(3, 1, "Completed", value=0.9)) is None
    assert (progress.ended_count, progress.running) == (1, {})
    assert progress.last_sequence == 3


def test_the_latest_objective_of_a_running_training_job_is_known(progress: Progress) -> None:
    progress.apply(training_job_event(1, 1, "InProgress"))
    for sequence, (name, value) in enumerate([(METRIC, 0.5), ("loss", 9.0), (METRIC, 0.6)], 2):
        progress.apply(metric_event(sequence, 1, name, value))
    running = progress.running[trial(1)]
    assert (running.objective, running.emitted) == (0.6, 2)


def test_a_failure_keeps_its_reason_and_the_last_lines(progress: Progress) -> None:
    progress.apply(training_job_event(1, 1, "InProgress"))
    progress.apply(log_event(2, 1, *(f"line {number}" for number in range(30))))
    progress.apply(training_job_event(3, 1, "Failed", reason="AlgorithmError: Exit Code: 1"))
    assert [failed.reason for failed in progress.failures] == ["AlgorithmError: Exit Code: 1"]
    assert progress.failures[0].lines == tuple(f"line {number}" for number in range(20, 30))


def test_the_end_and_the_best_come_from_the_tuning_jobs_event(progress: Progress) -> None:
    ended = []
    for got in whole_job():
        progress.apply(got)
        ended.append(progress.has_ended)
    assert ended == [False] * 8 + [True]
    assert progress.has_succeeded
    assert progress.best is not None
    assert progress.best.training_job_name == trial(1)


def test_an_event_of_a_newer_server_is_passed_over(progress: Progress) -> None:
    assert progress.apply(event(7)) is None
    assert progress.last_sequence == 7


def test_time_left_follows_from_how_long_ended_training_jobs_took(progress: Progress) -> None:
    now = START + timedelta(seconds=5)
    assert progress.time_left_s(now) is None
    progress.apply(training_job_event(1, 1, "Completed", value=0.9))  # took 4 s
    # Three are left, two at a time.
    assert progress.time_left_s(now) == pytest.approx(6.0)
    progress.apply(training_job_event(2, 2, "InProgress"))
    progress.apply(training_job_event(3, 3, "InProgress"))
    # Both have run for two seconds.
    assert progress.time_left_s(START + timedelta(seconds=3)) == pytest.approx(4.0)
    # However long they run, it is not negative.
    assert progress.time_left_s(START + timedelta(hours=1)) == pytest.approx(2.0)
    progress.apply(status_event(4, "Completed"))
    assert progress.time_left_s(now) is None


def test_without_a_terminal_each_ended_training_job_is_one_plain_line(progress: Progress) -> None:
    shown = io.StringIO()
    follow(progress, whole_job(), console=Console(file=shown, width=40, soft_wrap=True))
    assert shown.getvalue().splitlines() == [
        f"[1/4]  {trial(1)}  Completed  {METRIC}=0.9  4.0 s  act=relu  lr=0.123457",
        f"[2/4]  {trial(2)}  Failed  4.0 s  act=relu  lr=0.123457  AlgorithmError: Exit Code: 1",
    ]


def test_on_a_terminal_the_best_and_the_running_ones_are_shown(progress: Progress) -> None:
    for got in whole_job()[:-1]:
        progress.apply(got)
    progress.apply(status_event(9, "InProgress", BestTrainingJob={"TrainingJobName": "best-one"}))
    progress.apply(training_job_event(10, 3, "InProgress"))
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(_picture(progress, START + timedelta(seconds=3)))
    text = console.export_text()
    assert "digits  InProgress" in text
    assert "2/4" in text
    assert "left" in text
    assert "best-one" in text
    assert f"{trial(3)}  2.0 s" in text


def test_a_live_display_ends_with_the_events(progress: Progress) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=100, force_terminal=True)
    follow(progress, whole_job(), console=console, clock=lambda: START)
    assert progress.has_ended
    assert trial(2) in shown.getvalue()


def test_the_report_names_the_best_its_hyperparameters_metrics_and_model() -> None:
    lines = best_lines(described("Completed", best=1), described_training_job(1))
    assert lines == [
        f"Best training job: {trial(1)}",
        f"  {METRIC}=0.9, the best of 2",
        "Hyperparameters",
        "  act  relu",
        "  lr   0.123456789",
        "Static hyperparameters",
        "  epochs  3",
        "Metrics",
        f"  {METRIC}  0.9",
        f"Model artifact: file:///m/{trial(1)}/output/model.tar.gz",
    ]


def test_the_outcome_is_one_line() -> None:
    assert outcome_line(described("Completed")) == (
        "Tuning job digits: Completed after 1 min 15 s; training jobs: 2 completed, 0 stopped, "
        "1 failed"
    )


def test_a_failure_is_reported_with_the_training_jobs_last_lines(progress: Progress) -> None:
    for got in whole_job("Failed"):
        progress.apply(got)
    assert failure_lines("No training job succeeded.", progress.failures) == [
        "FailureReason: No training job succeeded.",
        f"{trial(2)}: AlgorithmError: Exit Code: 1",
        "    | Traceback",
        "    | ValueError: bad",
    ]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "0.0 s"),
        (0.0404, "40 ms"),
        (3.14, "3.1 s"),
        (12.3, "12 s"),
        (125, "2 min 05 s"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations_are_written_for_people(seconds: float, written: str) -> None:
    assert wording.span(seconds) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("0.0009085750895", "0.000908575"),
        ("12345678", "12345678"),
        ("relu", "relu"),
        ("1.5", "1.5"),
    ],
)
def test_hyperparameters_are_shortened_only_where_they_are_long_decimals(
    value: str, written: str
) -> None:
    assert wording.parameter(value) == written


def test_tables_line_up_and_cut_nothing() -> None:
    assert wording.table(("A", "B"), [("longer", "x"), ("y", "z" * 200)]).splitlines() == [
        "A       B",
        "longer  x",
        f"y       {'z' * 200}",
    ]
