"""What the commands show of training jobs that were stopped early."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from tests.clients.fake_tuning_service import FakeTuningService, serving_in_thread
from tests.server.cli.cli_events import described_training_job, summary, trial
from tunesmith.aws_json import from_aws
from tunesmith.v1.training_job_operations_pb2 import (
    ListTrainingJobsForHyperParameterTuningJobResponse as TrainingJobs,
)
from tunesmith_server.cli import main

AT_A_RUNG = {
    "Rule": "Halving",
    "Resource": 3,
    "Value": 0.5,
    "Rung": 2,
    "Rank": 4,
    "Entries": 5,
    "Threshold": 0.75,
}
BELOW_THE_MEDIAN = {
    "Rule": "Median",
    "Resource": 7,
    "Value": 0.5,
    "Entries": 3,
    "Threshold": 0.625,
}
PAUSED = {
    "Rule": "Paused",
    "Resource": 3,
    "Value": 0.5,
    "Rung": 1,
    "Rank": 2,
    "Entries": 3,
}
BEYOND = {"Rule": "FullResource", "Resource": 10, "Value": 0.875}


@pytest.fixture
def service() -> FakeTuningService:
    return FakeTuningService(answers={})


@pytest.fixture
def server(service: FakeTuningService) -> Iterator[str]:
    with serving_in_thread(service) as address:
        yield address


def shown(*arguments: str) -> list[str]:
    return CliRunner().invoke(main, arguments).stdout.splitlines()


def test_jobs_trials_says_of_each_training_job_by_what_it_was_stopped_early(
    service: FakeTuningService, server: str
) -> None:
    verdicts = (AT_A_RUNG, BELOW_THE_MEDIAN, BEYOND, None, PAUSED)
    summaries = [
        summary(number, "Stopped", value=0.5, verdict=verdict)
        for number, verdict in enumerate(verdicts, start=1)
    ]
    jobs = from_aws({"TrainingJobSummaries": summaries}, TrainingJobs)
    jobs.training_job_summaries[4].training_time_in_seconds = 2.5
    service.answers["ListTrainingJobsForHyperParameterTuningJob"] = [jobs]
    headers, *lines = shown("jobs", "trials", "digits", "--server", server)
    assert headers.endswith("WHY STOPPED EARLY")
    assert lines[0].endswith("  rung 2 at 3: 0.5, number 4 of 5, needed 0.75")
    assert lines[1].endswith("  at 7: 0.5, median of 3: 0.625")
    assert lines[2].endswith("  at 10: 0.875, beyond its full resource")
    assert lines[3].endswith("  lr=0.123457")
    assert "=0.5  2.5 s  " in lines[4]
    assert lines[4].endswith("  paused at rung 1 at 3: 0.5, number 2 of 3")


def test_jobs_describe_shows_the_verdict_number_by_number(
    service: FakeTuningService, server: str
) -> None:
    service.answers["DescribeTrainingJob"] = [described_training_job(1, verdict=AT_A_RUNG)]
    lines = shown("jobs", "describe", trial(1), "--server", server)
    begin = lines.index("StoppingVerdict:")
    assert lines[begin + 1 : begin + 8] == [
        "  Rule: Halving",
        "  Resource: 3",
        "  Value: 0.5",
        "  Rung: 2",
        "  Rank: 4",
        "  Entries: 5",
        "  Threshold: 0.75",
    ]
