"""What a tuning job's events add up to, and how it is shown."""

import io
import math
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from tests.server.cli.cli_events import (
    METRIC,
    NEVER_FOUND,
    START,
    described,
    described_training_job,
    event,
    metric_event,
    status_event,
    summary,
    training_job_event,
    trial,
    whole_job,
)
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse as Event
from tunesmith_server.cli import wording
from tunesmith_server.cli.display import _picture, follow
from tunesmith_server.cli.progress import Progress, WithoutObjective
from tunesmith_server.cli.report import (
    best_lines,
    failure_lines,
    outcome_line,
    overall_best_lines,
    without_objective_lines,
)


@pytest.fixture
def progress() -> Progress:
    return Progress(described())


def picture(progress: Progress, now: datetime, *, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(_picture(progress, now, width=width))
    return console.export_text()


def test_training_jobs_run_and_end_once(progress: Progress) -> None:
    assert progress.apply(training_job_event(1, 1, "InProgress")) is None
    assert list(progress.running) == [trial(1)]
    ended = progress.apply(training_job_event(2, 1, "Completed", value=0.9))
    assert ended is not None
    assert ended.summary.training_job_name == trial(1)
    assert progress.apply(training_job_event(3, 1, "Completed", value=0.9)) is None
    assert (progress.ended_count, progress.running) == (1, {})
    assert progress.last_sequence == 3


def test_the_latest_objective_of_a_running_training_job_is_known(progress: Progress) -> None:
    progress.apply(training_job_event(1, 1, "InProgress"))
    for sequence, (name, value) in enumerate([(METRIC, 0.5), ("loss", 9.0), (METRIC, 0.6)], 2):
        progress.apply(metric_event(sequence, 1, name, value))
    running = progress.running[trial(1)]
    assert (running.objective, running.emitted) == (0.6, 2)


def test_a_failure_keeps_its_reason_and_when_it_was_told(progress: Progress) -> None:
    progress.apply(training_job_event(1, 1, "InProgress"))
    progress.apply(training_job_event(3, 1, "Failed", reason="AlgorithmError: Exit Code: 1"))
    assert [(failed.reason, failed.sequence) for failed in progress.failures] == [
        ("AlgorithmError: Exit Code: 1", 3)
    ]


def test_training_jobs_that_wait_for_a_runner_are_not_running(progress: Progress) -> None:
    progress.apply(training_job_event(1, 1, "Completed", value=0.9))
    progress.apply(training_job_event(2, 2, "InProgress", secondary="Training"))
    progress.apply(training_job_event(3, 3, "InProgress", secondary="Pending"))
    now = START + timedelta(seconds=3)
    assert "1 running, 1 waiting, 1 completed" in picture(progress, now)
    assert "waiting for a runner" not in picture(progress, now)
    # Three are left, one at a time; one has run for two of its four seconds.
    assert progress.time_left_s(now) == pytest.approx(3 * 4 - 2)


def test_training_jobs_that_rest_at_a_rung_are_not_running_and_are_shown_last(
    progress: Progress,
) -> None:
    progress.apply(training_job_event(1, 1, "InProgress", secondary="Interrupted"))
    progress.apply(training_job_event(2, 2, "InProgress", secondary="Training"))
    shown = picture(progress, START + timedelta(seconds=3))
    assert "1 running, 1 waiting" in shown
    assert shown.index("002-00000002") < shown.index("001-00000001")
    assert "paused" in shown


def test_that_all_training_jobs_wait_is_said_after_a_while(progress: Progress) -> None:
    progress.apply(training_job_event(1, 1, "InProgress", secondary="Pending"))
    said = "waiting for a runner with room for local.gpu"
    assert said not in picture(progress, START + timedelta(seconds=3))
    assert said in picture(progress, START + timedelta(seconds=30))
    assert progress.time_left_s(START) is None


def test_the_counts_change_with_the_event_that_ends_a_training_job(progress: Progress) -> None:
    statuses = ["Completed", "Failed", "Stopped", "Completed"]
    now = START + timedelta(seconds=3)
    shown = []
    for number, status in enumerate(statuses, start=1):
        progress.apply(training_job_event(number, number, status))
        shown.append(picture(progress, now).splitlines()[1].strip())
    assert shown == [
        "0 running, 1 completed",
        "0 running, 1 completed, 1 failed",
        "0 running, 1 completed, 1 stopped, 1 failed",
        "0 running, 2 completed, 1 stopped, 1 failed",
    ]


def test_a_narrow_terminal_shows_the_counts_and_the_ends_of_names(progress: Progress) -> None:
    for got in whole_job()[:-1]:
        progress.apply(got)
    progress.apply(training_job_event(10, 3, "InProgress", secondary="Training"))
    shown = picture(progress, START + timedelta(seconds=3), width=40)
    assert "1 running, 1 completed, 1 failed" in shown
    assert f"…{trial(3)[-15:]}" in shown
    assert all(len(line) <= 40 for line in shown.splitlines())


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
    text = picture(progress, START + timedelta(seconds=3))
    assert "digits  InProgress" in text
    assert "2/4" in text
    assert "left" in text
    assert "best-one" in text
    assert f"{trial(3)}  2.0 s" in text


def test_how_a_training_job_without_an_objective_ended_is_said(progress: Progress) -> None:
    progress.apply(training_job_event(1, 2, "InProgress"))
    events = [
        training_job_event(2, 1, "Completed", no_objective=NEVER_FOUND),
        metric_event(3, 2, METRIC, math.nan),
        training_job_event(4, 2, "Completed"),
        training_job_event(5, 3, "Stopped", secondary="MaxRuntimeExceeded"),
        training_job_event(6, 4, "Failed", reason="\x1b]0;owned\x07\nsecond line"),
    ]
    shown = io.StringIO()
    follow(progress, events, console=Console(file=shown, width=40))
    lines = shown.getvalue().splitlines()
    assert "Completed  no objective  4.0 s" in lines[0]
    assert lines[0].endswith('The objective metric "accuracy" was never found in the output.')
    assert f"Completed  {METRIC}=nan  4.0 s" in lines[1]
    assert "Stopped (MaxRuntimeExceeded)  4.0 s" in lines[2]
    assert lines[3].endswith(r"\x1b]0;owned\x07\nsecond line")
    assert len(lines) == 4


def test_a_training_job_that_was_stopped_early_says_by_what(progress: Progress) -> None:
    verdicts = [
        {"Rule": "Halving", "Resource": 3, "Value": 0.5, "Rung": 2, "Rank": 4, "Entries": 5},
        {"Rule": "Median", "Resource": 7, "Value": 0.5, "Entries": 3, "Threshold": 0.625},
        {"Rule": "Paused", "Resource": 3, "Value": 0.5, "Rung": 1, "Rank": 2, "Entries": 3},
        {"Rule": "FullResource", "Resource": 10, "Value": 0.875},
    ]
    events = []
    for number, verdict in enumerate(verdicts, start=1):
        stopped = summary(number, "Stopped", value=0.5, verdict=verdict)
        events.append(event(number, TrainingJob={"Summary": stopped}))
    # One that rested is told by its server for how long it ran, and not from start to end.
    events[2].training_job.summary.training_time_in_seconds = 2.5
    shown = io.StringIO()
    follow(progress, events, console=Console(file=shown, width=40))
    lines = shown.getvalue().splitlines()
    assert f"Stopped (at rung 2)  {METRIC}=0.5  4.0 s" in lines[0]
    assert "Stopped (by the median)" in lines[1]
    assert f"Stopped (paused at rung 1)  {METRIC}=0.5  2.5 s" in lines[2]
    assert "Stopped (full resource)" in lines[3]


def test_a_line_above_the_live_display_is_cut_and_not_wrapped(progress: Progress) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=60, force_terminal=True, color_system=None)
    events = [training_job_event(1, 1, "Failed", reason="because " * 20)]
    follow(progress, events, console=console, clock=lambda: START)
    (line,) = [part for part in shown.getvalue().splitlines() if trial(1) in part]
    assert line.rstrip().endswith("…")
    assert "because because" not in shown.getvalue()


def test_an_interrupted_live_display_leaves_nothing_behind(progress: Progress) -> None:
    def interrupted() -> Iterator[Event]:
        yield from whole_job()[:3]
        raise KeyboardInterrupt

    shown = io.StringIO()
    console = Console(file=shown, width=100, force_terminal=True)
    with pytest.raises(KeyboardInterrupt):
        follow(progress, interrupted(), console=console, clock=lambda: START)
    assert shown.getvalue().rstrip().endswith("\x1b[2K")  # the last thing is a line erased


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


def test_the_report_of_a_deleted_best_says_so_and_names_what_its_summary_has() -> None:
    lines = best_lines(described("Completed", best=1), None)
    assert lines == [
        f"Best training job: {trial(1)}",
        f"  {METRIC}=0.9, the best of 2",
        "Hyperparameters",
        "  act  relu",
        "  lr   0.123456789",
        "It was deleted since; its model artifact stays where it was stored.",
    ]


def test_the_report_names_the_best_of_a_family_where_it_is_a_parents() -> None:
    job = described("Completed", best=1)
    assert overall_best_lines(job) == []
    job.overall_best_training_job.CopyFrom(job.best_training_job)
    assert overall_best_lines(job) == []
    job.overall_best_training_job.training_job_name = "parent-007"
    job.overall_best_training_job.tuning_job_name = "parent"
    assert overall_best_lines(job) == [
        f"Best of all, its parents' included: parent-007 of parent, {METRIC}=0.9"
    ]


def test_the_outcome_is_one_line() -> None:
    assert outcome_line(described("Completed")) == (
        "Tuning job digits: Completed after 1 min 15 s; training jobs: 2 completed, 0 stopped, "
        "1 failed"
    )


def test_the_outcome_names_what_ended_it_before_its_last_training_job() -> None:
    job = described("Completed")
    job.tuning_job_completion_details.completion_criterion = (
        job_pb.COMPLETION_CRITERION_TARGET_OBJECTIVE_METRIC_VALUE
    )
    assert outcome_line(job).startswith(
        "Tuning job digits: Completed (TargetObjectiveMetricValue) after 1 min 15 s; "
    )
    job.tuning_job_completion_details.completion_criterion = (
        job_pb.COMPLETION_CRITERION_MAX_NUMBER_OF_TRAINING_JOBS
    )
    assert outcome_line(job).startswith("Tuning job digits: Completed after ")


def test_a_failure_is_reported_with_the_training_jobs_last_lines(progress: Progress) -> None:
    for got in whole_job("Failed"):
        progress.apply(got)
    last_lines = {trial(2): ["Traceback", "ValueError: \x1b[31mbad"]}
    assert failure_lines("No training job succeeded.", progress.failures, last_lines) == [
        "FailureReason: No training job succeeded.",
        f"{trial(2)}: AlgorithmError: Exit Code: 1",
        "    | Traceback",
        r"    | ValueError: \x1b[31mbad",
    ]


def test_the_output_is_shown_once_with_a_failure(progress: Progress) -> None:
    reason = 'AlgorithmError: Exit Code: 1\nErrorMessage "Traceback\nValueError: bad"'
    progress.apply(training_job_event(3, 1, "Failed", reason=reason))
    (failed,) = progress.failures
    first = f"{trial(1)}: AlgorithmError: Exit Code: 1"
    assert failure_lines("", [failed], {trial(1): ["epoch 1", "Traceback"]})[1:] == [
        first,
        "    | epoch 1",
        "    | Traceback",
    ]
    assert failure_lines("", [failed], {})[1:] == [
        first,
        "    | Traceback",
        "    | ValueError: bad",
    ]
    progress.apply(training_job_event(4, 2, "Failed", reason="AlgorithmError: one\ntwo"))
    told = failure_lines("", list(progress.failures)[1:], {trial(2): ["x"]})
    assert told[1:] == [rf"{trial(2)}: AlgorithmError: one\ntwo", "    | x"]


def test_a_failure_takes_one_line_beside_others() -> None:
    reason = 'AlgorithmError: Exit Code: 1\nErrorMessage "Traceback\nValueError: bad"'
    told = training_job_event(3, 1, "Failed", reason=reason)
    assert wording.why_no_success(told.training_job.summary) == "AlgorithmError: Exit Code: 1"


def test_training_jobs_that_ran_and_gave_no_objective_are_remembered(progress: Progress) -> None:
    progress.apply(training_job_event(1, 1, "Completed", no_objective=NEVER_FOUND))
    progress.apply(training_job_event(2, 2, "Failed", reason="bad", no_objective=NEVER_FOUND))
    waited = training_job_event(3, 3, "Stopped", no_objective="It never ran.")
    waited.training_job.summary.ClearField("training_start_time")
    progress.apply(waited)
    progress.apply(training_job_event(4, 4, "Completed", value=0.9))
    assert list(progress.without_objective) == [WithoutObjective(name=trial(1), reason=NEVER_FOUND)]


def test_without_a_best_the_report_has_the_lines_of_the_last_one_without_objective() -> None:
    ended = [WithoutObjective(name=trial(n), reason=NEVER_FOUND) for n in (1, 2, 3)]
    lines = without_objective_lines(ended, has_best=False)
    never = 'The objective metric "accuracy" was never found in the output.'
    assert lines == [
        f"{trial(3)}: {never}",
        "    | Nearest lines:",
        "    |   acc: 0.9",
        "    |     found 'acc', but not uracy=(.*) after it",
        "    | Last lines:",
        r"    |   \x1b]0;owned\x07",
        "    |         bye",
        "2 more training jobs have no objective; `tunesmith jobs describe` says why",
    ]
    assert without_objective_lines(ended[:2], has_best=True) == [
        f"{trial(2)}: {never}",
        "1 more training job has no objective; `tunesmith jobs describe` says why",
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
    ("seconds", "written"),
    [
        (0.0, "less than a second left"),
        (0.4, "less than a second left"),
        (0.753, "about 1 s left"),
        (3.14, "about 3 s left"),
        (59.7, "about 1 min 00 s left"),
        (125.4, "about 2 min 05 s left"),
    ],
)
def test_the_time_left_is_in_whole_seconds(seconds: float, written: str) -> None:
    assert wording.time_left(seconds) == written


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


def test_what_a_terminal_would_obey_is_written_out() -> None:
    hostile = "a\x00\x1b]0;t\x07\x9b31m\r\n\u2028\u202eb\té"
    assert wording.plain(hostile) == r"a\x00\x1b]0;t\x07\x9b31m\r\n\u2028\u202eb\té"
    assert wording.log_line("\tif x:\x1b") == r"        if x:\x1b"


def test_names_are_cut_from_the_left_and_sizes_are_words() -> None:
    assert wording.cut_left("digits-001-abc", 8) == "…001-abc"
    assert wording.cut_left("digits", 8) == "digits"
    assert [wording.size(count) for count in (7, 2048, 4 * 2**20)] == [
        "7 bytes",
        "2.0 KiB",
        "4.0 MiB",
    ]
