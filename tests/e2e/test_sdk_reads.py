"""What SageMaker's own SDK and other waiting clients read of Describe is there, under boto3.

Each test indexes the answers as the clients do, without looking first: the SDK's ``attach``,
``best_estimator`` and analytics, and the wait loops of the SDK and of Airflow. Sources: the SDK's
branch master-v2, and Airflow's SageMaker hook.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.aws import SITE, sagemaker, tuning_job
from tests.e2e.harness import ServerProcess
from tests.e2e.jobs import FAILING, PYTHON, QUADRATIC
from tests.e2e.test_boto3 import wait_for_end

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sdk")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Any]:
    """Give a client of a server that has an algorithm that works and one that fails."""
    (folder / "train.py").write_text(QUADRATIC, encoding="utf-8")
    (folder / "fail.py").write_text(FAILING, encoding="utf-8")
    text = SITE.format(command=json.dumps([*PYTHON, "./train.py"]))
    text += f"\n[algorithms.failing]\ncommand = {json.dumps([*PYTHON, './fail.py'])}\n"
    text += 'metric_definitions = [{ name = "objective", regex = "objective=(.*?);" }]\n'
    config = folder / "tunesmith.toml"
    config.write_text(text, encoding="utf-8")
    server = ServerProcess(folder / "data", config=config)
    try:
        yield sagemaker(server.start().http)
    finally:
        server.close()


def as_the_sdk_sends(name: str, output: Path, *, image: bool) -> dict[str, Any]:
    """Give a create call as ``HyperparameterTuner.fit`` makes it."""
    request = tuning_job(name, output, training_jobs=3, image=image)
    config = request["HyperParameterTuningJobConfig"]
    config["TrainingJobEarlyStoppingType"] = "Off"
    for each in config["ParameterRanges"]["ContinuousParameterRanges"]:
        each["ScalingType"] = "Auto"
    definition = request["TrainingJobDefinition"]
    definition["HyperParameterTuningResourceConfig"] = definition.pop("ResourceConfig")
    definition["EnableManagedSpotTraining"] = False
    definition["EnableNetworkIsolation"] = False
    definition["EnableInterContainerTrafficEncryption"] = False
    del request["Tags"]
    return request


@pytest.fixture(scope="module", params=[False, True], ids=["algorithm", "image"])
def described(request: pytest.FixtureRequest, client: Any, folder: Path) -> dict[str, Any]:
    """Give the description of a tuning job that the SDK created, after its end."""
    name = "sdk-image" if request.param else "sdk-algorithm"
    client.create_hyper_parameter_tuning_job(
        **as_the_sdk_sends(name, folder / "models", image=request.param)
    )
    return wait_for_end(client, name)


def test_attach_finds_what_it_makes_an_estimator_of(described: dict[str, Any]) -> None:
    definition = described["TrainingJobDefinition"]
    hyperparameters = dict(definition["StaticHyperParameters"])
    del hyperparameters["_tuning_objective_metric"]
    assert hyperparameters == {"epochs": "3"}
    assert definition["RoleArn"].startswith("arn:aws:iam::")
    resources = definition["ResourceConfig"]
    assert (resources["InstanceCount"], resources["VolumeSizeInGB"]) == (1, 1)
    assert resources["InstanceType"] == "ml.m5.large"
    assert definition["StoppingCondition"]["MaxRuntimeInSeconds"] == 600
    algorithm = definition["AlgorithmSpecification"]
    assert algorithm["TrainingInputMode"] == "File"
    # The SDK indexes the image to find a class by its name, and asks for the algorithm before it.
    if "AlgorithmName" in algorithm:
        assert algorithm["AlgorithmName"].startswith("arn:aws:sagemaker:")
        assert algorithm["TrainingImage"] == ""
    else:
        assert algorithm["TrainingImage"] == "registry.example.com/quadratic:1"
    assert {each["Name"] for each in algorithm["MetricDefinitions"]} >= {"objective"}
    assert definition["OutputDataConfig"]["S3OutputPath"].startswith("file://")
    assert definition["EnableNetworkIsolation"] is False
    assert definition["EnableInterContainerTrafficEncryption"] is False


def test_attach_finds_what_it_makes_a_tuner_of(described: dict[str, Any]) -> None:
    config = described["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Random"
    assert config["HyperParameterTuningJobObjective"]["Type"] == "Minimize"
    assert config["HyperParameterTuningJobObjective"]["MetricName"] == "objective"
    limits = config["ResourceLimits"]
    assert (limits["MaxNumberOfTrainingJobs"], limits["MaxParallelTrainingJobs"]) == (3, 2)
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    ranges = config["ParameterRanges"]
    for kind in ("IntegerParameterRanges", "ContinuousParameterRanges"):
        for each in ranges[kind]:
            assert float(each["MinValue"]) < float(each["MaxValue"])
            assert each["ScalingType"] == "Auto"
    assert ranges["CategoricalParameterRanges"] == []
    # The SDK tells one definition from several by which key there is.
    assert "TrainingJobDefinitions" not in described
    assert "WarmStartConfig" not in described
    assert "Autotune" not in described


def test_best_estimator_finds_the_training_job_that_it_attaches_to(
    client: Any, described: dict[str, Any]
) -> None:
    name = described["BestTrainingJob"]["TrainingJobName"]
    best = client.describe_training_job(TrainingJobName=name)
    resources = best["ResourceConfig"]
    assert (resources["InstanceCount"], resources["VolumeSizeInGB"]) == (1, 1)
    assert resources["InstanceType"] == "ml.m5.large"
    assert best["OutputDataConfig"]["KmsKeyId"] == ""
    assert best["StoppingCondition"]["MaxRuntimeInSeconds"] == 600
    assert best["ModelArtifacts"]["S3ModelArtifacts"].endswith(f"/{name}/output/model.tar.gz")
    assert best["HyperParameters"].keys() == {"epochs", "x", "_tuning_objective_metric"}
    assert client.list_tags(ResourceArn=best["TrainingJobArn"])["Tags"] == []


def test_analytics_makes_a_table_of_all_training_jobs(
    client: Any, described: dict[str, Any]
) -> None:
    name = described["HyperParameterTuningJobName"]
    rows = []
    answer = client.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, MaxResults=100
    )
    for summary in answer["TrainingJobSummaries"]:
        row = dict(summary["TunedHyperParameters"])
        row["TrainingJobName"] = summary["TrainingJobName"]
        row["TrainingJobStatus"] = summary["TrainingJobStatus"]
        row["FinalObjectiveValue"] = summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
        started, ended = summary["TrainingStartTime"], summary["TrainingEndTime"]
        row["TrainingElapsedTimeSeconds"] = (ended - started).total_seconds()
        rows.append(row)
    assert len(rows) == 3
    assert all(0 <= float(row["x"]) <= 1 for row in rows)
    assert all(row["TrainingElapsedTimeSeconds"] >= 0 for row in rows)
    best = min(rows, key=lambda row: row["FinalObjectiveValue"])
    assert best["TrainingJobName"] == described["BestTrainingJob"]["TrainingJobName"]


def test_a_wait_loop_finds_the_reason_of_a_failure(client: Any, folder: Path) -> None:
    request = tuning_job("sdk-failed", folder / "models", training_jobs=2)
    definition = request["TrainingJobDefinition"]
    definition["AlgorithmSpecification"]["AlgorithmName"] = "failing"
    definition["StaticHyperParameters"] = {"outcome": "bad"}
    client.create_hyper_parameter_tuning_job(**request)
    failed = wait_for_end(client, "sdk-failed")
    assert failed["HyperParameterTuningJobStatus"] == "Failed"
    assert failed["FailureReason"].startswith("No training job succeeded after 2 attempts.")
    assert "BestTrainingJob" not in failed
    assert failed["TrainingJobStatusCounters"]["NonRetryableError"] == 2
    (first, *_) = client.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="sdk-failed", StatusEquals="Failed"
    )["TrainingJobSummaries"]
    assert first["ObjectiveStatus"] == "Failed"
    training_job = client.describe_training_job(TrainingJobName=first["TrainingJobName"])
    assert training_job["FailureReason"].startswith("AlgorithmError: the outcome was bad")
    assert training_job["SecondaryStatusTransitions"][-1]["StatusMessage"]


def test_a_wait_loop_sees_a_tuning_job_from_its_creation_on(client: Any, folder: Path) -> None:
    client.create_hyper_parameter_tuning_job(**tuning_job("sdk-new", folder / "models"))
    described = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="sdk-new")
    assert described["HyperParameterTuningJobStatus"] in ("InProgress", "Completed")
    assert sum(described["ObjectiveStatusCounters"].values()) <= 4
    assert described["LastModifiedTime"] >= described["CreationTime"]
    assert described["ConsumedResources"]["RuntimeInSeconds"] >= 0
    wait_for_end(client, "sdk-new")
