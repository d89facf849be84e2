"""Tune with Airflow's operator and look with its sensor; print what they give as JSON.

The tasks are executed as a worker executes them, without a scheduler or a database. A connection id
of None means the variables of AWS's own; the connection ``tuning`` is one of Airflow's variables.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTuningOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTuningSensor


def operator(
    task_id: str, config: dict[str, Any], *, wait: bool, connection: str | None = None
) -> SageMakerTuningOperator:
    """Give a task that tunes."""
    return SageMakerTuningOperator(
        task_id=task_id,
        config=config,
        aws_conn_id=connection,
        wait_for_completion=wait,
        check_interval=1,
        max_ingestion_time=120,
    )


def main() -> None:
    """Tune one that completes, one that fails, and one that a sensor waits for."""
    completes, fails, watched = json.loads(sys.argv[1])
    done = operator("tune", completes, wait=True).execute({})
    try:
        operator("fail", fails, wait=True).execute({})
    except Exception as error:  # noqa: BLE001 - Airflow's errors have moved between its releases
        failure = str(error)
    else:
        failure = ""
    # Here the connection alone says where the service is.
    del os.environ["AWS_ENDPOINT_URL_SAGEMAKER"]
    operator("start", watched, wait=False, connection="tuning").execute({})
    sensor = SageMakerTuningSensor(
        task_id="watch",
        job_name=watched["HyperParameterTuningJobName"],
        aws_conn_id="tuning",
        poke_interval=1,
        timeout=120,
        mode="poke",
    )
    sensor.execute({})
    described = SageMakerHook(aws_conn_id="tuning").describe_tuning_job(
        watched["HyperParameterTuningJobName"]
    )
    facts = {
        "status": done["Tuning"]["HyperParameterTuningJobStatus"],
        "best": done["Tuning"]["BestTrainingJob"]["TrainingJobName"],
        "failure": failure,
        "watched": described["HyperParameterTuningJobStatus"],
    }
    print(json.dumps(facts, default=str))


if __name__ == "__main__":
    main()
