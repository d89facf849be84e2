"""The AWS CLI, unmodified: create from a file, watch, query, stop, delete."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.aws.clients import binaries, run
from tests.aws.conftest import ENDLESS_IMAGE, ClientSite
from tests.e2e.aws import tuning_job

pytestmark = [pytest.mark.aws, pytest.mark.timeout(300)]


class Cli:
    """The command ``aws sagemaker`` of a shell that is told where the server is."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._aws = binaries("cli") / "aws"
        self._environment = environment

    def __call__(self, *words: str) -> Any:
        """Run a command that succeeds; give its JSON, or None if it says nothing."""
        output = run([self._aws, "sagemaker", *words], self._environment, timeout_s=60)
        return json.loads(output) if output.strip() else None

    def text(self, *words: str) -> str:
        """Run a command with ``--output text``."""
        words = ("sagemaker", *words, "--output", "text")
        return run([self._aws, *words], self._environment, timeout_s=60).strip()

    def refused(self, *words: str) -> str:
        """Run a command that fails; give what it says of that."""
        done = subprocess.run(
            [str(self._aws), "sagemaker", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0, done.stdout
        return done.stderr

    def status(self, name: str) -> str:
        return self.text(
            "describe-hyper-parameter-tuning-job",
            *("--hyper-parameter-tuning-job-name", name),
            *("--query", "HyperParameterTuningJobStatus"),
        )

    def wait_for_end(self, name: str) -> str:
        deadline = time.monotonic() + 120
        while (status := self.status(name)) in ("InProgress", "Stopping"):
            assert time.monotonic() < deadline, status
        return status


@pytest.fixture(scope="module")
def cli(site: ClientSite) -> Cli:
    return Cli(site.environment)


@pytest.fixture(scope="module")
def tuned(cli: Cli, site: ClientSite, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the name of a tuning job that was created from a file and has completed."""
    request = tuning_job("cli-1", site.bucket / "models", image=True)
    file = tmp_path_factory.mktemp("cli") / "request.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    created = cli("create-hyper-parameter-tuning-job", "--cli-input-json", file.as_uri())
    assert created["HyperParameterTuningJobArn"].endswith(":hyper-parameter-tuning-job/cli-1")
    assert cli.wait_for_end("cli-1") == "Completed"
    return "cli-1"


def test_a_query_finds_the_best_training_job(cli: Cli, tuned: str) -> None:
    best = cli.text(
        "describe-hyper-parameter-tuning-job",
        *("--hyper-parameter-tuning-job-name", tuned),
        *("--query", "BestTrainingJob.TrainingJobName"),
    )
    first = cli(
        "list-training-jobs-for-hyper-parameter-tuning-job",
        *("--hyper-parameter-tuning-job-name", tuned),
        *("--sort-by", "FinalObjectiveMetricValue", "--sort-order", "Ascending"),
        *("--max-items", "1"),
    )["TrainingJobSummaries"][0]
    assert first["TrainingJobName"] == best
    described = cli("describe-training-job", "--training-job-name", best)
    assert described["TrainingJobStatus"] == "Completed"
    assert described["HyperParameters"]["x"] == first["TunedHyperParameters"]["x"]


def test_pages_are_put_together(cli: Cli, tuned: str) -> None:
    listed = cli(
        "list-training-jobs-for-hyper-parameter-tuning-job",
        *("--hyper-parameter-tuning-job-name", tuned),
        *("--page-size", "1"),
    )["TrainingJobSummaries"]
    assert len({each["TrainingJobName"] for each in listed}) == 4
    jobs = cli("list-hyper-parameter-tuning-jobs", "--name-contains", "cli-1")
    (summary,) = jobs["HyperParameterTuningJobSummaries"]
    assert summary["HyperParameterTuningJobStatus"] == "Completed"
    # In this version of the CLI times are as the wire has them: seconds.
    assert abs(float(summary["CreationTime"]) - time.time()) < 600


def test_the_waiter_of_training_jobs_ends(cli: Cli, tuned: str) -> None:
    name = cli.text(
        "describe-hyper-parameter-tuning-job",
        *("--hyper-parameter-tuning-job-name", tuned),
        *("--query", "BestTrainingJob.TrainingJobName"),
    )
    assert cli("wait", "training-job-completed-or-stopped", "--training-job-name", name) is None


def test_shorthand_says_a_whole_request(cli: Cli, site: ClientSite) -> None:
    """What ``--cli-input-json`` says in JSON, options say in the CLI's own notation."""
    request = tuning_job("cli-short", site.bucket / "models", image=True)
    definition = request["TrainingJobDefinition"]
    definition["AlgorithmSpecification"]["TrainingImage"] = ENDLESS_IMAGE
    cli(
        "create-hyper-parameter-tuning-job",
        *("--hyper-parameter-tuning-job-name", "cli-short"),
        "--hyper-parameter-tuning-job-config",
        "Strategy=Random,"
        "HyperParameterTuningJobObjective={Type=Minimize,MetricName=objective},"
        "ResourceLimits={MaxNumberOfTrainingJobs=2,MaxParallelTrainingJobs=1},"
        "ParameterRanges={ContinuousParameterRanges=[{Name=x,MinValue=0,MaxValue=1}]}",
        *("--training-job-definition", json.dumps(definition)),
        *("--tags", "Key=team,Value=vision"),
    )
    named = ("--hyper-parameter-tuning-job-name", "cli-short")
    described = cli("describe-hyper-parameter-tuning-job", *named)
    tags = cli("list-tags", "--resource-arn", described["HyperParameterTuningJobArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "vision"}]
    again = cli.refused("delete-hyper-parameter-tuning-job", *named)
    assert "ValidationException" in again
    assert "not in a terminal state" in again
    assert cli("stop-hyper-parameter-tuning-job", *named) is None
    assert cli.wait_for_end("cli-short") == "Stopped"
    assert cli("delete-hyper-parameter-tuning-job", *named) is None
    assert "ResourceNotFound" in cli.refused("describe-hyper-parameter-tuning-job", *named)


def test_an_invalid_request_is_told_all_that_is_wrong(
    cli: Cli, site: ClientSite, tmp_path: Path
) -> None:
    request = tuning_job("cli-wrong", site.bucket / "models", image=True)
    ranges = request["HyperParameterTuningJobConfig"]["ParameterRanges"]
    ranges["ContinuousParameterRanges"][0]["MaxValue"] = "-1"
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    said = cli.refused("create-hyper-parameter-tuning-job", "--cli-input-json", file.as_uri())
    assert "ValidationException" in said
    assert "ContinuousParameterRanges" in said
