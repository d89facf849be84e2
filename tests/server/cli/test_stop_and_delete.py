"""``jobs stop`` and ``jobs delete``: of a tuning job, or of one training job."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import pytest
from click.testing import CliRunner, Result

from tests.clients.fake_tuning_service import FakeTuningService, serving_in_thread
from tests.server.cli.cli_events import described_training_job, trial
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith.v1.training_job_pb2 import (
    TRAINING_JOB_STATUS_IN_PROGRESS,
    TRAINING_JOB_STATUS_STOPPED,
)
from tunesmith_server.cli import main

CHANGES: Final = tuple(itertools.product(("stop", "delete"), ("digits", trial(1))))


@pytest.fixture
def service() -> FakeTuningService:
    return FakeTuningService(
        answers={
            "DescribeTrainingJob": [described_training_job(1)],
            "StopHyperParameterTuningJob": [pb.StopHyperParameterTuningJobResponse()],
            "StopTrainingJob": [training_pb.StopTrainingJobResponse()],
            "DeleteHyperParameterTuningJob": [pb.DeleteHyperParameterTuningJobResponse()],
            "DeleteTrainingJob": [training_pb.DeleteTrainingJobResponse()],
        },
    )


@pytest.fixture
def server(service: FakeTuningService) -> Iterator[str]:
    with serving_in_thread(service) as address:
        yield address


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_stop_and_delete_say_on_standard_error_what_they_did(
    service: FakeTuningService, server: str
) -> None:
    for command, name in CHANGES:
        done = run("jobs", command, name, "--server", server)
        assert (done.exit_code, done.stdout) == (0, "")
        assert name in done.stderr
    assert [call.operation for call in service.calls] == [
        "StopHyperParameterTuningJob",
        "DescribeTrainingJob",
        "StopTrainingJob",
        "DescribeTrainingJob",
        "DeleteHyperParameterTuningJob",
        "DescribeTrainingJob",
        "DeleteTrainingJob",
    ]


def test_the_stop_of_a_training_job_that_no_runner_has_is_said_to_be_done(
    service: FakeTuningService, server: str
) -> None:
    paused, stopped = described_training_job(1), described_training_job(1)
    paused.training_job_status = TRAINING_JOB_STATUS_IN_PROGRESS
    stopped.training_job_status = TRAINING_JOB_STATUS_STOPPED
    for after, said in ((stopped, "is stopped."), (paused, "is stopping.")):
        service.answers["DescribeTrainingJob"] = [paused, after]
        done = run("jobs", "stop", trial(1), "--server", server)
        assert (done.exit_code, done.stderr) == (0, f"{trial(1)} {said}\n")


def test_stop_and_delete_can_print_the_wire_form(server: str) -> None:
    for command, name in CHANGES:
        done = run("jobs", command, name, "--server", server, "--json")
        assert (done.exit_code, done.stdout) == (0, "{}\n")
