"""Tune with boto3, as a script for SageMaker does: create, wait, show the best training job.

Nothing in it knows where the tuning runs: AWS_ENDPOINT_URL_SAGEMAKER says it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import boto3

REQUEST = Path(__file__).parent.parent / "digits" / "job.json"


def main() -> None:
    """Create the tuning job of the digits example, and wait for its end."""
    parser = argparse.ArgumentParser(description="Tune with boto3.")
    parser.add_argument("--name", default="digits-boto3")
    parser.add_argument("--training-jobs", type=int, default=24)
    arguments = parser.parse_args()

    request = json.loads(REQUEST.read_text(encoding="utf-8"))
    request["HyperParameterTuningJobName"] = arguments.name
    limits = request["HyperParameterTuningJobConfig"]["ResourceLimits"]
    limits["MaxNumberOfTrainingJobs"] = arguments.training_jobs

    client = boto3.client("sagemaker")
    client.create_hyper_parameter_tuning_job(**request)
    while True:
        job = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=arguments.name)
        counters = job["TrainingJobStatusCounters"]
        print(f"{job['HyperParameterTuningJobStatus']}: {counters['Completed']} completed")
        if job["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"):
            break
        time.sleep(2)

    if job["HyperParameterTuningJobStatus"] == "Failed":
        sys.exit(f"{arguments.name} failed: {job['FailureReason']}")
    if "BestTrainingJob" not in job:
        sys.exit(f"{arguments.name} has no best training job: none has an objective")
    best = client.describe_training_job(TrainingJobName=job["BestTrainingJob"]["TrainingJobName"])
    print(best["TrainingJobName"], best["FinalMetricDataList"])
    print(best["HyperParameters"])
    print(best["ModelArtifacts"]["S3ModelArtifacts"])


if __name__ == "__main__":
    main()
