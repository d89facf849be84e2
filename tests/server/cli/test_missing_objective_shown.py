"""What the commands show of training jobs that ended without an objective, hostile output included."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.clients.fake_tuning_service import FakeTuningService, serving_in_thread
from tests.server.cli.cli_events import (
    NEVER_FOUND,
    described,
    described_training_job,
    status_event,
    summary,
    training_job_event,
    trial,
)
from tunesmith.aws_json import from_aws
from tunesmith.v1.training_job_operations_pb2 import (
    ListTrainingJobsForHyperParameterTuningJobResponse as TrainingJobs,
)
from tunesmith.v1.tuning_service_pb2 import CreateHyperParameterTuningJobResponse
from tunesmith_server.cli import main

DESCRIBE = "DescribeHyperParameterTuningJob"
TRAINING_JOBS = "ListTrainingJobsForHyperParameterTuningJob"


@pytest.fixture
def service() -> FakeTuningService:
    created = CreateHyperParameterTuningJobResponse(hyper_parameter_tuning_job_arn="arn")
    return FakeTuningService(answers={"CreateHyperParameterTuningJob": [created]})


@pytest.fixture
def server(service: FakeTuningService) -> Iterator[str]:
    with serving_in_thread(service) as address:
        yield address


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    request = {"HyperParameterTuningJobName": "digits", "TrainingJobDefinition": {}}
    path.write_text(json.dumps(request))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_jobs_trials_says_of_each_training_job_without_an_objective_why(
    service: FakeTuningService, server: str
) -> None:
    jobs = {
        "TrainingJobSummaries": [
            summary(1, "Completed", value=0.9),
            summary(2, "Completed", no_objective=NEVER_FOUND),
            summary(3, "Failed", reason="AlgorithmError: \x1b[31mbad", no_objective=NEVER_FOUND),
        ]
    }
    service.answers[TRAINING_JOBS] = [from_aws(jobs, TrainingJobs)]
    headers, *lines = run("jobs", "trials", "digits", "--server", server).stdout.splitlines()
    assert headers.split("  ")[-1] == "WHY NO OBJECTIVE"
    assert lines[0].endswith("lr=0.123457")
    assert lines[1].endswith('The objective metric "accuracy" was never found in the output.')
    assert lines[2].endswith(r"AlgorithmError: \x1b[31mbad")
    assert len(lines) == 3


def test_jobs_describe_shows_why_a_training_job_has_no_objective_line_by_line(
    service: FakeTuningService, server: str
) -> None:
    service.answers["DescribeTrainingJob"] = [described_training_job(1, no_objective=NEVER_FOUND)]
    shown = run("jobs", "describe", trial(1), "--server", server).stdout
    assert (
        'ObjectiveFailureReason: The objective metric "accuracy" was never found in the output.\n'
        "  Nearest lines:\n"
        "    acc: 0.9\n"
        "      found 'acc', but not uracy=(.*) after it\n"
        "  Last lines:\n"
        "    \\x1b]0;owned\\x07\n"
        "          bye\n"
    ) in shown
    assert "\x1b" not in shown


def test_tune_of_a_job_without_any_objective_shows_the_nearest_and_the_last_lines(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    ended = training_job_event(1, 1, "Completed", no_objective=NEVER_FOUND)
    service.streams = [[ended, status_event(2, "Completed")]]
    service.answers[DESCRIBE] = [described("Completed")]
    done = run("tune", request_file, "--server", server)
    assert done.exit_code == 1
    assert "    |   acc: 0.9\n    |     found 'acc', but not uracy=(.*) after it\n" in done.stderr
    assert "tunesmith check-metrics" in done.stderr
    # As true of those whose last value was nan.
    assert "completed without it, or with a last value that is no finite number" in done.stderr
    assert "\x1b" not in done.stderr
