"""AWS clients as their users make them: boto3's, unmodified, pointed at a server of ours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

#: Whatever clients hold that were configured for AWS; a server without keys does not look at it.
KEY_ID: Final = "AKIDEXAMPLE"
SECRET: Final = "not/a+secret/for-anything-but-tests"  # noqa: S105 - nothing is behind it

#: A site with one algorithm, under its name and under that of an image.
SITE: Final = """
[runners]
stop_grace_s = 5
slots = 4

[algorithms.quadratic]
command = {command}
metric_definitions = [
    {{ name = "objective", regex = "objective=(.*?);" }},
    {{ name = "loss", regex = "loss=(.*?);" }},
]

[images."registry.example.com/quadratic:1"]
algorithm = "quadratic"
"""


def sagemaker(
    http: str, *, key_id: str = KEY_ID, secret: str = SECRET, region: str = "eu-central-1"
) -> Any:  # botocore makes its clients at run time, and has no types
    """Make a client, with what a test needs of haste and nothing else."""
    session = boto3.Session(
        aws_access_key_id=key_id, aws_secret_access_key=secret, region_name=region
    )
    haste = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=30)
    return session.client("sagemaker", endpoint_url=f"http://{http}", config=haste)


def tuning_job(
    name: str, output: Path, *, training_jobs: int = 4, image: bool = False
) -> dict[str, Any]:
    """Give the arguments of a create call, as a script for SageMaker has them."""
    algorithm: dict[str, Any] = {"TrainingInputMode": "File"}
    if image:
        algorithm["TrainingImage"] = "registry.example.com/quadratic:1"
        algorithm["MetricDefinitions"] = [{"Name": "objective", "Regex": "objective=(.*?);"}]
    else:
        algorithm["AlgorithmName"] = "quadratic"
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "RandomSeed": 7,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "objective"},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": training_jobs,
                "MaxParallelTrainingJobs": 2,
            },
            "ParameterRanges": {
                "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}],
                "IntegerParameterRanges": [],
                "CategoricalParameterRanges": [],
            },
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": algorithm,
            "StaticHyperParameters": {"epochs": "3"},
            "RoleArn": "arn:aws:iam::123456789012:role/tuner",
            "OutputDataConfig": {"S3OutputPath": output.as_uri()},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        },
        "Tags": [{"Key": "team", "Value": "vision"}],
    }


def completed(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Create a tuning job, wait for its end, and give its description."""
    client.create_hyper_parameter_tuning_job(**request)
    name = request["HyperParameterTuningJobName"]
    described: dict[str, Any] = {}
    deadline = time.monotonic() + 90
    while described.get("HyperParameterTuningJobStatus") not in ("Completed", "Failed"):
        assert time.monotonic() < deadline, described
        time.sleep(0.1)
        described = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert described["HyperParameterTuningJobStatus"] == "Completed", described["FailureReason"]
    return described
