"""What the commands show of a tuning job with several definitions: which one, and its own metric."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from tests.clients.fake_tuning_service import FakeTuningService, serving_in_thread
from tests.server.cli import cli_events
from tests.server.cli.cli_events import (
    START,
    described_training_job,
    event,
    metric_event,
    status_event,
    trial,
)
from tunesmith import InvalidRequest
from tunesmith.aws_json import from_aws, to_aws
from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse as Event
from tunesmith.v1.training_job_operations_pb2 import (
    ListTrainingJobsForHyperParameterTuningJobResponse as TrainingJobs,
)
from tunesmith.v1.tuning_service_pb2 import (
    CreateHyperParameterTuningJobResponse,
    DescribeHyperParameterTuningJobResponse,
)
from tunesmith_server.cli import main
from tunesmith_server.cli.display import _picture, follow
from tunesmith_server.cli.progress import Progress
from tunesmith_server.cli.report import no_best_line
from tunesmith_server.cli.request_check import read_create, refuse_misfits

METRICS = {"linear": "error", "forest": "oob:error"}


def summary(
    number: int, definition: str, status: str = "Completed", *, value: float | None = None
) -> dict[str, object]:
    wire = cli_events.summary(number, status, value=value)
    wire["TrainingJobDefinitionName"] = definition
    if value is not None:
        objective = {"MetricName": METRICS[definition], "Value": value}
        wire["FinalHyperParameterTuningJobObjectiveMetric"] = objective
    return wire


def described(
    status: str = "InProgress", *, best: dict[str, object] | None = None, definitions: int = 2
) -> DescribeHyperParameterTuningJobResponse:
    wire = to_aws(cli_events.described(status))
    del wire["TrainingJobDefinition"]
    del wire["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    wire["TrainingJobDefinitions"] = [
        {
            "DefinitionName": name,
            "TuningObjective": {"Type": "Minimize", "MetricName": metric},
            "ResourceConfig": {"InstanceType": f"local.{name}"},
        }
        for name, metric in list(METRICS.items())[:definitions]
    ]
    wire["BestTrainingJob"] = best
    return from_aws(wire, DescribeHyperParameterTuningJobResponse)


def training_job_event(
    sequence: int, number: int, definition: str, status: str, *, value: float | None = None
) -> Event:
    changed = summary(number, definition, status, value=value)
    return event(sequence, TrainingJob={"Summary": changed})


def whole_job() -> list[Event]:
    return [
        training_job_event(1, 1, "forest", "InProgress"),
        training_job_event(2, 2, "linear", "InProgress"),
        metric_event(3, 1, "error", 9.0),
        metric_event(4, 1, "oob:error", 0.25),
        metric_event(5, 2, "error", 0.5),
        training_job_event(6, 1, "forest", "Completed", value=0.25),
        training_job_event(7, 2, "linear", "Completed", value=0.5),
        status_event(8, "Completed", BestTrainingJob=summary(1, "forest", value=0.25)),
    ]


@pytest.fixture
def service() -> FakeTuningService:
    jobs = {
        "TrainingJobSummaries": [
            summary(1, "forest", value=0.25),
            summary(2, "linear", value=0.5),
            summary(3, "linear", "Stopped"),
        ]
    }
    created = CreateHyperParameterTuningJobResponse(hyper_parameter_tuning_job_arn="arn")
    return FakeTuningService(
        answers={
            "CreateHyperParameterTuningJob": [created],
            "DescribeHyperParameterTuningJob": [
                described("Completed", best=summary(1, "forest", value=0.25))
            ],
            "ListTrainingJobsForHyperParameterTuningJob": [from_aws(jobs, TrainingJobs)],
            "DescribeTrainingJob": [described_training_job(number) for number in (1, 2, 3)],
        },
        streams=[whole_job()],
    )


@pytest.fixture
def server(service: FakeTuningService) -> Iterator[str]:
    with serving_in_thread(service) as address:
        yield address


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def picture(progress: Progress) -> str:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(_picture(progress, START, width=120))
    return console.export_text()


def test_a_running_training_job_is_followed_by_the_metric_of_its_own_definition() -> None:
    progress = Progress(described())
    for got in whole_job()[:5]:
        progress.apply(got)
    assert {name: job.objective for name, job in progress.running.items()} == {
        trial(1): 0.25,
        trial(2): 0.5,
    }
    assert all(job.emitted == 1 for job in progress.running.values())
    shown = picture(progress)
    assert "forest  act=relu" in shown
    assert "linear  act=relu" in shown
    assert progress.instance_types == ("local.forest", "local.linear")


def test_the_name_of_an_only_definition_is_left_out() -> None:
    progress = Progress(described(definitions=1))
    progress.apply(training_job_event(1, 1, "linear", "InProgress"))
    progress.apply(metric_event(2, 1, "error", 0.5))
    assert progress.running[trial(1)].objective == 0.5
    assert "linear" not in picture(progress)


def test_a_single_definition_may_have_a_name_too() -> None:
    progress = Progress(cli_events.described())
    changed = {**cli_events.summary(1, "InProgress"), "TrainingJobDefinitionName": "only"}
    progress.apply(event(1, TrainingJob={"Summary": changed}))
    progress.apply(metric_event(2, 1, cli_events.METRIC, 0.5))
    assert progress.running[trial(1)].objective == 0.5
    assert not progress.has_several


def test_each_ended_training_job_and_the_best_say_their_definition() -> None:
    file = io.StringIO()
    console = Console(file=file, width=200, force_terminal=False)
    progress = Progress(described())
    follow(progress, whole_job(), console=console)
    first, second = file.getvalue().splitlines()
    assert f"[1/4]  {trial(1)}  Completed  oob:error=0.25  4.0 s  forest  act=relu" in first
    assert f"[2/4]  {trial(2)}  Completed  error=0.5  4.0 s  linear  act=relu" in second
    assert "best  oob:error=0.25" in picture(progress)
    assert "forest  act=relu" in picture(progress)


def test_an_objective_that_is_no_number_is_shown_by_its_own_name() -> None:
    file = io.StringIO()
    events = [
        training_job_event(1, 1, "forest", "InProgress"),
        metric_event(2, 1, "oob:error", float("nan")),
        training_job_event(3, 1, "forest", "Completed"),
    ]
    follow(Progress(described()), events, console=Console(file=file, width=200))
    assert "oob:error=nan" in file.getvalue()


def test_tune_reports_how_the_training_jobs_were_divided_and_whose_the_best_is(
    server: str, tmp_path: Path
) -> None:
    path = tmp_path / "job.json"
    request = {"HyperParameterTuningJobName": "digits", "TrainingJobDefinitions": [{}, {}]}
    path.write_text(json.dumps(request))
    done = run("tune", path, "--server", server)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[1:5] == [
        "Training jobs by definition: linear 1, forest 1",
        f"Best training job: {trial(1)}",
        "  oob:error=0.25, the best of 2",
        "Definition: forest",
    ]


def test_without_any_objective_all_that_were_looked_for_are_named() -> None:
    assert "gave the objective 'error' or 'oob:error':" in no_best_line(described("Completed"))


def test_jobs_trials_has_a_column_for_the_definition(server: str) -> None:
    headers, *lines = run("jobs", "trials", "digits", "--server", server).stdout.splitlines()
    assert headers.split() == [
        "NAME",
        "DEFINITION",
        "STATUS",
        "OBJECTIVE",
        "TIME",
        "HYPERPARAMETERS",
    ]
    assert [line.split()[1:4] for line in lines[:2]] == [
        ["forest", "Completed", "oob:error=0.25"],
        ["linear", "Completed", "error=0.5"],
    ]


def test_jobs_export_has_each_definition_with_its_objective(server: str) -> None:
    exported = run("jobs", "export", "digits", "--server", server).stdout
    columns = ("TrainingJobDefinitionName", "ObjectiveMetricName", "ObjectiveValue")
    rows = [[row[each] for each in columns] for row in csv.DictReader(io.StringIO(exported))]
    assert rows == [
        ["forest", "oob:error", "0.25"],
        ["linear", "error", "0.5"],
        ["linear", "", ""],
    ]


def test_a_misfit_in_one_definition_is_told_with_what_the_rules_say_of_the_others() -> None:
    definitions = [
        {"DefinitionName": "linear", "StopingCondition": {}},
        {"DefinitionName": "linear"},
    ]
    reading = read_create(
        {"HyperParameterTuningJobName": "digits", "TrainingJobDefinitions": definitions}
    )
    with pytest.raises(InvalidRequest) as refused:
        refuse_misfits(reading, site=None)
    assert {
        "TrainingJobDefinitions[0].StopingCondition",
        "TrainingJobDefinitions[1].DefinitionName",
        "TrainingJobDefinitions[1].TuningObjective",
    } <= {violation.path for violation in refused.value.violations}
