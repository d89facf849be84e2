"""``tunesmith replay`` and ``jobs export --curves``: what they print, and how they exit."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.clients.fake_tuning_service import FakeTuningService, serving_in_thread
from tests.server.cli.cli_events import (
    METRIC,
    at,
    described,
    event,
    log_event,
    status_event,
    training_job_event,
    trial,
)
from tests.server.cli.test_definitions_shown import described as described_several
from tests.server.cli.test_definitions_shown import training_job_event as definition_event
from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse as Event
from tunesmith.v1.tuning_job_pb2 import (
    HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND as HYPERBAND,
)
from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse as Described
from tunesmith_server.cli import main

DESCRIBE = "DescribeHyperParameterTuningJob"

#: At the first rung, step 1 of 4, the median is 5, then 5.5, then 5; at the second 4, then 4.25.
HAND_WORKED = """trial,value
a,5\na,4\na,3\na,3
b,6\nb,1\nb,1\nb,1
c,5\nc,4.5\nc,2\nc,2
"""
WHY = "at rung 1, resource 1, its objective, 6, was number 2 of 2; it would have gone on with 5.5"
HALVING = ("--rule", "halving", "--eta", "2", "--goal", "minimize")


def run(*arguments: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, arguments)], input=text)


def test_a_report_says_what_is_stopped_saved_and_lost() -> None:
    done = run("-", *HALVING, text=HAND_WORKED)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:15] == [
        "Record: 3 trials, 12 values to minimize",
        "Rule: halving, one of 2 goes on; rungs at 1, 2 of 4 steps",
        "Order: trial after trial, since the record does not say when they ran",
        "",
        "Stopped: 2 of 3 trials: 1 at rung 1, 1 at rung 2",
        "        IN ALL  WITH THE RULE  SAVED",
        "values  12      7              5 (42%)",
        "",
        "Best without the rule: 1, trial b",
        "Best with the rule: 3, trial a, worse by 2",
        f"The best trial would have been stopped: {WHY}.",
        "",
        "TRIAL  STOPPED AT  RANK    VALUE  LIMIT  REACHED  PLACE  SAVED",
        "b      rung 1, 1   2 of 2  6      5.5    1        1      3 values",
        "c      rung 2, 2   2 of 2  4.5    4.25   2        2      2 values",
    ]
    assert "enough for about 2 more such trials under the rule. They are not simu" in done.stdout


def test_the_same_as_json() -> None:
    report = json.loads(run("-", *HALVING, "--json", text=HAND_WORKED).stdout)
    assert report["Values"] == {"Total": 12, "Spent": 7, "Saved": 5}
    assert (report["Regret"], report["BestIsStopped"], report["ParallelTrials"]) == (2, True, 1)
    assert (report["TopTrials"], report["TopTrialsStopped"], report["MoreTrials"]) == (1, 1, 2)
    assert report["Best"] == {"Trial": "b", "Value": 1}
    assert "Seconds" not in report
    first = report["Stopped"][0]
    assert (first["Trial"], first["Step"], first["Rung"], first["Rank"]) == ("b", 1, 1, 2)
    assert first["Reason"] == WHY
    assert (first["Entries"], first["Threshold"], first["Reached"]) == (2, 5.5, 1)


def test_times_decide_the_order_unless_another_is_asked_for() -> None:
    # b comes first, and goes on; trial after trial it would be the second, and worse.
    text = "trial,time,value\na,10,5\na,20,5\nb,1,6\nb,2,6\n"
    by_time = run("-", *HALVING, text=text).stdout
    assert "Order: as the values came" in by_time
    assert "Stopped: 0 of 2" in by_time
    in_order = run("-", *HALVING, "--in-order", text=text).stdout
    assert "Order: trial after trial\n" in in_order
    assert "Stopped: 1 of 2" in in_order
    assert "time of all trials  11 s    10 s" in in_order
    at_once = run("-", *HALVING, "--parallel", "2", text=text).stdout
    assert "Order: 2 trials at a time" in at_once
    assert "time to the last end" in at_once


def test_what_a_record_leaves_open_is_said() -> None:
    rows = [f"t{n},{10 + n},{n},x\nt{n},{90 + n},{n},x\n" for n in range(8)]
    text = "trial,time,value,lr\n" + "".join(rows) + "t0,99,0,x\n"
    said = run("-", *HALVING, text=text).stdout
    assert "call their column elapsed." in said
    assert "Columns that say nothing here: lr." in said
    assert "Completed trials end at 2 to 3 steps." in said
    cut = run("-", *HALVING, text="trial,value,status\na,1,\nb,2,Stopped\n").stdout
    assert "1 trial stopped early in the record" in cut


def test_schedules_of_their_own_are_kept_below_the_full_resource() -> None:
    text = "trial,value,full\na,1,2\na,1,2\nb,2,9\nb,2,9\nb,2,9\n"
    arguments = ("--rule", "halving", "--goal", "minimize", "--json", "--max-resource", "2")
    report = json.loads(run("-", *arguments, text=text).stdout)
    assert report["RuleTerms"] == ["halving, one of 4 goes on; rung at 1 of 2 steps"]
    assert [stop["Trial"] for stop in report["Stopped"]] == ["b"]
    without = run("-", "--rule", "halving", "--goal", "minimize", text=text).stdout
    assert "rungs at 1, 4 of 9 steps" in without


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a FILE, or a tuning job with --job NAME"),
        (("-", "--job", "x"), "one of them"),
        (("-", "--server", "127.0.0.1:9"), "--server goes with --job"),
        (("-", "--in-order", "--parallel", "2"), "--in-order is --parallel 1"),
        (("-", "--eta", "3"), "the median rule has none"),
        (("-", "--rule", "halving", "--eta", "nan"), "nan is no number"),
        (
            ("-", "--rule", "halving", "--min-resource", "20", "--max-resource", "5"),
            "--min-resource 20 is above --max-resource 5",
        ),
        (("-",), "say --goal minimize or --goal maximize"),
        (("no-such-file",), "No such file"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(arguments: Sequence[str], said: str) -> None:
    done = run("--rule", "median", *arguments, text="trial,value\na,1\n")
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_bad_row_is_a_usage_error_with_its_line() -> None:
    done = run("-", *HALVING, text="trial,value\na,1\na,one\n")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "standard input, line 3: value is 'one'" in done.stderr


# --- tuning jobs ------------------------------------------------------------------------------


def metric(sequence: int, number: int, step: int, value: float, *, name: str = METRIC) -> Event:
    wire = {"TrainingJobName": trial(number), "MetricName": name, "Value": value, "Step": step}
    emitted = event(sequence, Metric=wire)
    emitted.at.FromMilliseconds(round(1000 * at(1)) + 500 * step)
    return emitted


def whole_job() -> list[Event]:
    return [
        status_event(1, "InProgress"),
        training_job_event(2, 1, "InProgress"),
        training_job_event(3, 2, "InProgress"),
        training_job_event(4, 3, "InProgress"),
        log_event(5, 1, "accuracy=0.3"),
        metric(6, 1, 1, 0.3),
        metric(7, 1, 1, 7.0, name="loss"),
        metric(8, 1, 1, 0.5),  # it was started again
        metric(9, 1, 2, 0.6),
        metric(10, 3, 1, 0.4),
        metric(11, 3, 2, 0.9),
        training_job_event(12, 1, "Completed", value=0.6),
        training_job_event(13, 2, "Failed", reason="AlgorithmError"),
        training_job_event(14, 3, "Completed", value=0.9),
        status_event(15, "Completed"),
    ]


@pytest.fixture
def service() -> FakeTuningService:
    return FakeTuningService(
        answers={DESCRIBE: [described("Completed", best=1)]}, streams=[whole_job()]
    )


@pytest.fixture
def server(service: FakeTuningService) -> Iterator[str]:
    with serving_in_thread(service) as address:
        yield address


def export(server: str, *arguments: str) -> Result:
    where = ("--curves", "--server", server)
    return CliRunner().invoke(main, ["jobs", "export", "digits", *where, *arguments])


def test_an_export_of_curves_has_every_value_with_step_and_time(server: str) -> None:
    rows = list(csv.DictReader(io.StringIO(export(server).stdout)))
    assert list(rows[0]) == [
        "TrainingJobName",
        "TrainingJobStatus",
        "TrainingStartTime",
        "TrainingEndTime",
        "ObjectiveType",
        "ObjectiveMetricName",
        "MetricName",
        "Step",
        "Value",
        "Time",
        "Elapsed",
        "TrainingTimeInSeconds",
        "hyperparameter.act",
        "hyperparameter.lr",
    ]
    assert [(row["TrainingJobName"], row["Step"], row["Value"]) for row in rows] == [
        (trial(1), "1", "0.5"),
        (trial(1), "2", "0.6"),
        (trial(2), "", ""),
        (trial(3), "1", "0.4"),
        (trial(3), "2", "0.9"),
    ]
    assert rows[0]["Time"] == "2026-11-24T09:00:01.500000Z"
    assert (rows[0]["ObjectiveType"], rows[0]["ObjectiveMetricName"]) == ("Maximize", METRIC)


def test_a_tuning_job_and_its_export_are_replayed_alike(
    service: FakeTuningService, server: str, tmp_path: Path
) -> None:
    service.streams.append(whole_job())
    file = tmp_path / "curves.csv"
    file.write_text(export(server).stdout)
    rule = ("--rule", "halving", "--eta", "2")
    of_file = run(file, *rule).stdout
    of_job = run("--job", "digits", "--server", server, *rule).stdout
    assert of_job == of_file
    assert "Record: 2 trials, 4 values of accuracy to maximize" in of_job
    assert "Order: as the values came" in of_job
    assert f"{trial(3)}  rung 1, 1   2 of 2  0.4    0.45   0.9      1      1 value, 3.5 s" in of_job
    assert "Trials without a value of the metric, left out: 1." in of_job


def rested_job() -> list[Event]:
    """Give a tuning job whose first training job runs for 2 s, rests for 100 s and runs for 3 s."""
    begun, paused = (training_job_event(2 + n, 1, "InProgress") for n in (0, 2))
    paused.training_job.summary.ClearField("training_start_time")
    paused.training_job.summary.training_time_in_seconds = 2
    resumed, ended = training_job_event(5, 1, "InProgress"), training_job_event(7, 1, "Completed")
    for each in (resumed, ended):
        each.training_job.summary.training_start_time.FromMilliseconds(round(1000 * at(103)))
    resumed.training_job.summary.training_time_in_seconds = 2
    ended.training_job.summary.training_end_time.FromMilliseconds(round(1000 * at(106)))
    ended.training_job.summary.training_time_in_seconds = 5
    first, second = metric(3, 1, 1, 0.5), metric(6, 1, 2, 0.75)
    second.at.FromMilliseconds(round(1000 * at(105)))
    return [
        status_event(1, "InProgress"),
        begun,
        first,
        paused,
        resumed,
        second,
        ended,
        status_event(8, "Completed"),
    ]


def test_the_rest_of_a_paused_training_job_is_no_time_that_it_ran(
    service: FakeTuningService, server: str
) -> None:
    service.streams = [rested_job(), rested_job()]
    rows = list(csv.DictReader(io.StringIO(export(server).stdout)))
    assert {row["TrainingStartTime"] for row in rows} == {"2026-11-24T09:00:01.000000Z"}
    assert [float(row["Elapsed"]) for row in rows] == [0.5, 4]
    assert {float(row["TrainingTimeInSeconds"]) for row in rows} == {5}
    done = run("--job", "digits", "--server", server, "--rule", "median", "--json")
    assert json.loads(done.stdout)["Seconds"]["Total"] == 5


def hyperband(*, least: int, most: int) -> Described:
    job = described("Completed", best=1)
    config = job.hyper_parameter_tuning_job_config
    config.strategy = HYPERBAND
    config.strategy_config.hyperband_strategy_config.min_resource = least
    config.strategy_config.hyperband_strategy_config.max_resource = most
    return job


def test_a_job_of_hyperband_is_replayed_with_its_own_resources_unless_others_are_given(
    service: FakeTuningService, server: str
) -> None:
    service.answers[DESCRIBE] = [hyperband(least=2, most=9)]
    service.streams = [whole_job() for _ in range(3)]
    rule = ("--job", "digits", "--server", server, "--rule", "halving")
    assert "one of 4 goes on; rungs at 2, 8 of 9 steps" in run(*rule).stdout
    given = ("--min-resource", "1", "--max-resource", "1")
    assert "no rung below 1 step\n" in run(*rule, *given).stdout
    refused = run(*rule, "--max-resource", "1")
    assert refused.exit_code == 2
    assert "MinResource, 2, is above --max-resource 1: say --min-resource" in refused.stderr


def test_what_hyperband_stopped_beyond_its_full_resource_may_be_the_best(
    service: FakeTuningService, server: str
) -> None:
    events = whole_job()
    stopped = training_job_event(14, 3, "Stopped", value=0.9)
    service.answers[DESCRIBE] = [hyperband(least=1, most=1)]
    service.streams = [[*events[:-2], stopped, events[-1]]]
    said = run("--job", "digits", "--server", server, "--rule", "halving").stdout
    assert f"Best without the rule: 0.9, trial {trial(3)}" in said
    assert "Stopped: 2 of 2 trials: 2 beyond the full resource" in said
    assert "The best trial would have been stopped, and keeps its result: it went on" in said
    assert "to its end" not in said
    assert "stopped early" not in said


def test_one_of_a_kind_is_said_in_the_singular() -> None:
    said = run("-", *HALVING, text="trial,value\na,1\n").stdout
    assert "Record: 1 trial, 1 value to minimize" in said
    assert "no rung below 1 step\n" in said


def test_definitions_are_judged_apart(service: FakeTuningService, server: str) -> None:
    names = {1: ("forest", "oob:error"), 2: ("linear", "error"), 3: ("linear", "error")}
    values = {1: 0.1, 2: 0.3, 3: 0.2}
    service.answers[DESCRIBE] = [described_several("Completed")]
    service.streams = [
        [
            *(definition_event(n, n, names[n][0], "InProgress") for n in names),
            *(
                metric(3 + n, n, step, values[n], name=names[n][1])
                for n in names
                for step in (1, 2)
            ),
            *(definition_event(9 + n, n, names[n][0], "Completed") for n in names),
            status_event(15, "Completed"),
        ]
    ]
    done = run("--job", "digits", "--server", server, "--rule", "halving")
    assert done.exit_code == 0, done.output
    assert "values of error, oob:error to minimize" in done.stdout
    assert "Rule: halving for forest, one of 4 goes on; rung at 1 of 2 steps" in done.stdout
    assert "Rule: halving for linear, one of 4" in done.stdout
    # Of all three, 0.3 would be worse than 0.1, which is another metric's.
    assert "Stopped: 0 of 3" in done.stdout


def test_curves_are_had_of_a_tuning_job_that_has_ended(
    service: FakeTuningService, server: str
) -> None:
    service.answers[DESCRIBE] = [described()]
    for done in (export(server), run("--job", "digits", "--server", server, "--rule", "median")):
        assert (done.exit_code, done.stdout) == (2, "")
        assert "digits is InProgress" in done.stderr
        assert "`tunesmith jobs watch digits` waits" in done.stderr


def test_a_tuning_job_without_a_value_is_refused(service: FakeTuningService, server: str) -> None:
    for events, said in (
        ([training_job_event(1, 1, "Failed", reason="x")], "there is no value to replay"),
        ([], "has no training job"),
    ):
        service.streams = [[*events, status_event(9, "Failed")]]
        done = run("--job", "digits", "--server", server, "--rule", "median")
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr


def test_an_export_of_curves_is_csv_alone(server: str) -> None:
    done = export(server, "--json")
    assert done.exit_code == 2
    assert "leave --json out" in done.stderr


def test_no_server_is_an_exit_status_of_its_own() -> None:
    done = run("--job", "digits", "--server", "127.0.0.1:9", "--rule", "median")
    assert done.exit_code == 3
