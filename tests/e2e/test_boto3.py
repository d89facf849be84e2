"""An unmodified boto3 against a real server: every call, paginators, waiters, errors."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from tests.e2e.aws import KEY_ID, SECRET, SITE, sagemaker, tuning_job
from tests.e2e.harness import ServerProcess
from tests.e2e.jobs import ENDLESS, PYTHON, QUADRATIC
from tests.project.repository import ROOT

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("boto3")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[ServerProcess]:
    """Give one server for all tests of this module, with an algorithm and an image."""
    (folder / "train.py").write_text(QUADRATIC, encoding="utf-8")
    (folder / "endless.py").write_text(ENDLESS, encoding="utf-8")
    config = folder / "tunesmith.toml"
    text = SITE.format(command=json.dumps([*PYTHON, "./train.py"]))
    text += f"\n[algorithms.endless]\ncommand = {json.dumps([*PYTHON, './endless.py'])}\n"
    text += 'metric_definitions = [{ name = "objective", regex = "objective=(.*?);" }]\n'
    text += "\n[algorithms.digits]\ncommand = ['false']\n"
    config.write_text(text, encoding="utf-8")
    server = ServerProcess(folder / "data", config=config)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def client(site: ServerProcess) -> Any:
    return sagemaker(site.http)


@pytest.fixture(scope="module")
def tuned(client: Any, folder: Path) -> dict[str, Any]:
    """Give the description of a tuning job that has completed."""
    client.create_hyper_parameter_tuning_job(**tuning_job("Tuned-1", folder / "models"))
    return wait_for_end(client, "Tuned-1")


def environment(server: ServerProcess) -> dict[str, str]:
    """Give the variables that point a script's clients at a server."""
    return {
        "AWS_ENDPOINT_URL_SAGEMAKER": f"http://{server.http}",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def wait_for_end(client: Any, name: str) -> dict[str, Any]:
    """Poll as scripts do: there is no waiter for tuning jobs."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        described: dict[str, Any] = client.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        )
        if described["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"):
            return described
        time.sleep(0.1)
    raise AssertionError(f"{name} did not end")


def refused(call: Any, **arguments: Any) -> ClientError:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error.value


def code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def message(error: ClientError) -> str:
    return str(error.response["Error"]["Message"])


def endless(client: Any, folder: Path, name: str) -> None:
    """Create a tuning job whose training jobs run until they are stopped."""
    request = tuning_job(name, folder / "models", training_jobs=2)
    request["TrainingJobDefinition"]["AlgorithmSpecification"]["AlgorithmName"] = "endless"
    client.create_hyper_parameter_tuning_job(**request)


def test_a_tuning_job_completes_and_is_described_as_scripts_expect(
    tuned: dict[str, Any], folder: Path
) -> None:
    assert tuned["HyperParameterTuningJobStatus"] == "Completed"
    assert tuned["TrainingJobStatusCounters"] == {
        "Completed": 4,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 0,
        "Stopped": 0,
    }
    assert tuned["ObjectiveStatusCounters"] == {"Succeeded": 4, "Pending": 0, "Failed": 0}
    best = tuned["BestTrainingJob"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["MetricName"] == "objective"
    x = float(best["TunedHyperParameters"]["x"])
    value = best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert value == pytest.approx((x - 0.3) ** 2, rel=1e-6)
    assert tuned["CreationTime"] <= tuned["HyperParameterTuningEndTime"]
    assert datetime.now(UTC) - tuned["CreationTime"] < timedelta(minutes=10)
    assert (folder / "models" / best["TrainingJobName"] / "output" / "model.tar.gz").is_file()


def test_the_request_is_echoed_with_defaults_filled_in(tuned: dict[str, Any], folder: Path) -> None:
    asked = tuning_job("Tuned-1", folder / "models")
    config = tuned["HyperParameterTuningJobConfig"]
    assert config["ResourceLimits"].items() >= (
        asked["HyperParameterTuningJobConfig"]["ResourceLimits"].items()
    )
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    assert config["RandomSeed"] == 7
    ranges = config["ParameterRanges"]
    assert ranges["ContinuousParameterRanges"] == [
        {"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Auto"}
    ]
    assert ranges["IntegerParameterRanges"] == ranges["CategoricalParameterRanges"] == []
    definition = tuned["TrainingJobDefinition"]
    assert definition["StaticHyperParameters"] == {
        "epochs": "3",
        "_tuning_objective_metric": "objective",
    }
    assert definition["ResourceConfig"] == asked["TrainingJobDefinition"]["ResourceConfig"]
    assert "TrainingJobDefinitions" not in tuned
    assert "FailureReason" not in tuned


def test_numbers_have_32_bits_as_sagemakers_have(client: Any, tuned: dict[str, Any]) -> None:
    name = tuned["BestTrainingJob"]["TrainingJobName"]
    described = client.describe_training_job(TrainingJobName=name)
    (loss,) = [
        each["Value"]
        for each in described["FinalMetricDataList"]
        if each["MetricName"] == "objective"
    ]
    assert loss == tuned["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert len(f"{loss:.17g}") > len(f"{loss:.8g}")


def test_the_training_jobs_are_listed_by_their_objective(
    client: Any, tuned: dict[str, Any]
) -> None:
    listed = client.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="Tuned-1", SortBy="FinalObjectiveMetricValue"
    )
    assert "NextToken" not in listed
    summaries = listed["TrainingJobSummaries"]
    values = [each["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for each in summaries]
    assert values == sorted(values)
    assert summaries[0]["TrainingJobName"] == tuned["BestTrainingJob"]["TrainingJobName"]
    assert {each["ObjectiveStatus"] for each in summaries} == {"Succeeded"}


def test_a_training_job_is_described_as_the_sdk_reads_it(
    client: Any, tuned: dict[str, Any], folder: Path
) -> None:
    name = tuned["BestTrainingJob"]["TrainingJobName"]
    described = client.describe_training_job(TrainingJobName=name)
    assert described["TrainingJobStatus"] == described["SecondaryStatus"] == "Completed"
    assert described["TuningJobArn"] == tuned["HyperParameterTuningJobArn"]
    assert described["HyperParameters"]["_tuning_objective_metric"] == "objective"
    assert described["ModelArtifacts"]["S3ModelArtifacts"] == (
        f"{(folder / 'models').as_uri()}/{name}/output/model.tar.gz"
    )
    assert described["OutputDataConfig"]["KmsKeyId"] == ""
    transitions = described["SecondaryStatusTransitions"]
    assert [each["Status"] for each in transitions][-1] == "Completed"
    assert all(each["StatusMessage"] for each in transitions)
    for before, after in itertools.pairwise(transitions):
        assert before["EndTime"] == after["StartTime"]


def test_paginators_give_every_training_job_once(client: Any, tuned: dict[str, Any]) -> None:
    assert tuned
    pages = client.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName="Tuned-1", PaginationConfig={"PageSize": 1}
    )
    names = [each["TrainingJobName"] for page in pages for each in page["TrainingJobSummaries"]]
    assert len(names) == len(set(names)) == 4
    everywhere = client.get_paginator("list_training_jobs").paginate(
        NameContains="Tuned-1", PaginationConfig={"PageSize": 3}
    )
    assert sorted(names) == sorted(
        each["TrainingJobName"] for page in everywhere for each in page["TrainingJobSummaries"]
    )


def test_tuning_jobs_are_listed_with_filters_and_pages(client: Any, folder: Path) -> None:
    for number in range(3):
        endless(client, folder, f"listed-{number}")
    pages = client.get_paginator("list_hyper_parameter_tuning_jobs").paginate(
        NameContains="listed",
        SortBy="Name",
        SortOrder="Descending",
        PaginationConfig={"PageSize": 2},
    )
    found = [page["HyperParameterTuningJobSummaries"] for page in pages]
    assert [[each["HyperParameterTuningJobName"] for each in page] for page in found] == [
        ["listed-2", "listed-1"],
        ["listed-0"],
    ]
    first = found[1][0]["CreationTime"]
    later = client.list_hyper_parameter_tuning_jobs(NameContains="listed", CreationTimeAfter=first)
    names = [
        each["HyperParameterTuningJobName"] for each in later["HyperParameterTuningJobSummaries"]
    ]
    assert names == ["listed-1", "listed-2"]
    for number in range(3):
        client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=f"listed-{number}")


def test_a_token_of_another_query_is_refused(client: Any, folder: Path) -> None:
    for number in range(2):
        endless(client, folder, f"token-{number}")
        client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=f"token-{number}")
    token = client.list_hyper_parameter_tuning_jobs(NameContains="token", MaxResults=1)["NextToken"]
    error = refused(client.list_hyper_parameter_tuning_jobs, NextToken=token, SortBy="Status")
    assert code(error) == "ValidationException"
    assert message(error).startswith("NextToken: Invalid pagination token because")


def test_a_tuning_job_is_stopped_and_deleted(client: Any, folder: Path) -> None:
    endless(client, folder, "stopped-1")
    named = {"HyperParameterTuningJobName": "stopped-1"}
    early = refused(client.delete_hyper_parameter_tuning_job, **named)
    assert code(early) == "ValidationException"
    assert "not in a terminal state" in message(early)
    client.stop_hyper_parameter_tuning_job(**named)
    described = client.describe_hyper_parameter_tuning_job(**named)
    assert described["HyperParameterTuningJobStatus"] in ("Stopping", "Stopped")
    assert wait_for_end(client, "stopped-1")["HyperParameterTuningJobStatus"] == "Stopped"
    again = refused(client.stop_hyper_parameter_tuning_job, **named)
    assert code(again) == "ValidationException"
    assert "already" in message(again)
    client.delete_hyper_parameter_tuning_job(**named)
    with pytest.raises(client.exceptions.ResourceNotFound) as gone:
        client.describe_hyper_parameter_tuning_job(**named)
    assert message(gone.value).startswith("Amazon SageMaker can't find a tuning job called")


def test_a_training_job_is_stopped_waited_for_and_deleted(client: Any, folder: Path) -> None:
    endless(client, folder, "one-1")
    named = {"HyperParameterTuningJobName": "one-1"}
    deadline = time.monotonic() + 60
    running: list[str] = []
    while not running and time.monotonic() < deadline:
        listed = client.list_training_jobs_for_hyper_parameter_tuning_job(**named)
        running = [each["TrainingJobName"] for each in listed["TrainingJobSummaries"]]
    name = running[0]
    client.stop_training_job(TrainingJobName=name)
    waiter = client.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    again = refused(client.stop_training_job, TrainingJobName=name)
    assert (
        message(again) == "The request was rejected because the training job is in status Stopped."
    )
    client.delete_training_job(TrainingJobName=name)
    with pytest.raises(client.exceptions.ResourceNotFound):
        client.delete_training_job(TrainingJobName=name)
    client.stop_hyper_parameter_tuning_job(**named)


def test_the_waiter_fails_on_an_unknown_training_job(client: Any) -> None:
    error = refused(client.describe_training_job, TrainingJobName="nobody")
    assert (code(error), message(error)) == ("ValidationException", "Requested resource not found.")
    with pytest.raises(WaiterError, match="ValidationException"):
        client.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="nobody")


def test_tags_are_added_listed_and_deleted(client: Any, tuned: dict[str, Any]) -> None:
    arn = tuned["HyperParameterTuningJobArn"]
    added = client.add_tags(ResourceArn=arn, Tags=[{"Key": "cost", "Value": ""}])
    assert {"Key": "cost", "Value": ""} in added["Tags"]
    pages = client.get_paginator("list_tags").paginate(ResourceArn=arn)
    tags = {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    assert tags == {"team": "vision", "cost": ""}
    client.delete_tags(ResourceArn=arn, TagKeys=["cost", "unknown"])
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "vision"}]


def test_an_image_stands_for_an_algorithm(client: Any, folder: Path) -> None:
    request = tuning_job("image-1", folder / "models", training_jobs=1, image=True)
    client.create_hyper_parameter_tuning_job(**request)
    described = wait_for_end(client, "image-1")
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    algorithm = described["TrainingJobDefinition"]["AlgorithmSpecification"]
    assert algorithm["TrainingImage"] == "registry.example.com/quadratic:1"


def test_a_taken_name_is_a_modelled_exception(
    client: Any, tuned: dict[str, Any], folder: Path
) -> None:
    assert tuned
    with pytest.raises(client.exceptions.ResourceInUse) as error:
        client.create_hyper_parameter_tuning_job(**tuning_job("TUNED-1", folder / "models"))
    assert "already exists. Choose a different name." in message(error.value)


def test_all_that_is_wrong_is_told_at_once_in_sagemakers_words(client: Any, folder: Path) -> None:
    request = tuning_job("n" * 40, folder / "models")
    config = request["HyperParameterTuningJobConfig"]
    config["Strategy"] = "Foo"
    config["ResourceLimits"]["MaxParallelTrainingJobs"] = 3
    config["ResourceLimits"]["MaxRuntimeInSeconds"] = 1_000_000_000
    error = refused(client.create_hyper_parameter_tuning_job, **request)
    assert code(error) == "ValidationException"
    told = message(error)
    assert told.startswith("3 validation errors detected: ")
    assert (
        "Value 'Foo' at 'hyperParameterTuningJobConfig.strategy' failed to satisfy constraint: "
        "Member must satisfy enum value set: [Bayesian, Random, Hyperband, Grid]" in told
    )
    assert "at 'hyperParameterTuningJobName'" in told
    assert "at 'hyperParameterTuningJobConfig.resourceLimits.maxRuntimeInSeconds'" in told


def test_an_operation_that_is_not_served_is_named(client: Any) -> None:
    error = refused(client.list_endpoints)
    assert code(error) == "UnknownOperationException"
    assert "SageMaker.ListEndpoints" in message(error)


def test_every_answer_has_a_request_id(client: Any) -> None:
    answer = client.list_hyper_parameter_tuning_jobs()
    error = refused(client.describe_training_job, TrainingJobName="nobody")
    ids = {
        answer["ResponseMetadata"]["RequestId"],
        error.response["ResponseMetadata"]["RequestId"],
    }
    assert len(ids) == 2
    assert all(len(each) == 36 for each in ids)


def test_a_create_call_that_the_client_repeats_is_answered_like_the_first(
    site: ServerProcess, folder: Path
) -> None:
    client = sagemaker(site.http)

    def same_invocation(request: Any, **_: Any) -> None:
        request.headers["amz-sdk-invocation-id"] = "b7a6f1c2-0000-4000-8000-000000000001"

    client.meta.events.register(
        "before-send.sagemaker.CreateHyperParameterTuningJob", same_invocation
    )
    request = tuning_job("again-1", folder / "models", training_jobs=1)
    first = client.create_hyper_parameter_tuning_job(**request)
    second = client.create_hyper_parameter_tuning_job(**request)
    assert first["HyperParameterTuningJobArn"] == second["HyperParameterTuningJobArn"]
    wait_for_end(client, "again-1")


def test_a_script_needs_nothing_but_an_environment_variable(
    site: ServerProcess, folder: Path
) -> None:
    script = folder / "their_script.py"
    script.write_text(
        "import boto3\n"
        "client = boto3.client('sagemaker')\n"
        "pages = client.get_paginator('list_hyper_parameter_tuning_jobs').paginate()\n"
        "print(sum(len(page['HyperParameterTuningJobSummaries']) for page in pages) >= 0)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PATH": os.environ["PATH"], **environment(site)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def run_example(server: ServerProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "examples/boto3/tune.py", *words],
        env={**os.environ, **environment(server)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_example_runs_as_it_is_though_no_environment_is_activated(tmp_path: Path) -> None:
    # On this path is no Python that has scikit-learn: the trials get the server's own.
    not_activated = {"PATH": os.defpath, "VIRTUAL_ENV": "", "CONDA_PREFIX": ""}
    config = ROOT / "examples" / "digits" / "tunesmith.toml"
    server = ServerProcess(tmp_path / "data", config=config, environment=not_activated)
    with contextlib.closing(server):
        done = run_example(server.start(), "--training-jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "Completed: 2 completed" in done.stdout
    assert "validation:accuracy" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("/output/model.tar.gz")


def test_the_example_says_why_its_tuning_job_failed(site: ServerProcess, client: Any) -> None:
    done = run_example(site, "--training-jobs", "1", "--name", "fails")
    assert done.returncode == 1
    reason = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="fails")[
        "FailureReason"
    ]
    assert done.stderr == f"fails failed: {reason}\n"
