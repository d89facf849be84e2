"""Airflow's operator and sensor for tuning jobs, unmodified and executed as a worker does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.aws.clients import facts
from tests.aws.conftest import ClientSite
from tests.e2e.aws import tuning_job

pytestmark = [pytest.mark.aws, pytest.mark.timeout(300)]


def with_channel(name: str, site: ClientSite, bucket: str) -> dict[str, Any]:
    """Give a request with a channel, since the operator looks at those of every request."""
    request = tuning_job(name, site.bucket / "models", training_jobs=2, image=True)
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/data/numbers.csv"}
    request["TrainingJobDefinition"]["InputDataConfig"] = [
        {"ChannelName": "train", "DataSource": {"S3DataSource": source}}
    ]
    return request


@pytest.fixture(scope="module")
def tasks(site: ClientSite, s3: Any) -> Any:
    s3.create_bucket(Bucket="airflow-lab")
    s3.put_object(Bucket="airflow-lab", Key="data/numbers.csv", Body=b"1,2\n")
    completes = with_channel("airflow-1", site, "airflow-lab")
    fails = with_channel("airflow-2", site, "airflow-lab")
    algorithm = fails["TrainingJobDefinition"]["AlgorithmSpecification"]
    del algorithm["TrainingImage"], algorithm["MetricDefinitions"]
    algorithm["AlgorithmName"] = "failing"
    fails["TrainingJobDefinition"]["StaticHyperParameters"] = {"outcome": "bad"}
    watched = with_channel("airflow-3", site, "airflow-lab")
    # Airflow's operators take templates, in which numbers are texts.
    limits = watched["HyperParameterTuningJobConfig"]["ResourceLimits"]
    limits["MaxNumberOfTrainingJobs"] = "2"
    endpoint = {"endpoint_url": site.environment["AWS_ENDPOINT_URL_SAGEMAKER"]}
    connection = {"conn_type": "aws", "extra": {"service_config": {"sagemaker": endpoint}}}
    environment = {
        **site.s3_environment,
        "AIRFLOW_HOME": f"{site.environment['HOME']}/airflow",
        "AIRFLOW_CONN_TUNING": json.dumps(connection),
    }
    given = json.dumps([completes, fails, watched])
    return facts("airflow", "airflow_tuning.py", environment, given)


def test_the_operator_waits_for_the_end(tasks: Any) -> None:
    assert tasks["status"] == "Completed"
    assert tasks["best"].startswith("airflow-1-")


def test_the_operator_fails_with_the_reason(tasks: Any) -> None:
    assert "No training job succeeded after 2 attempts" in tasks["failure"]


def test_the_sensor_waits_for_the_end_by_a_connection(tasks: Any) -> None:
    assert tasks["watched"] == "Completed"
