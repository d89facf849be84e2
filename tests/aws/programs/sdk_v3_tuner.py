"""Tune with SageMaker's SDK v3, and print what it says of that as one line of JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import ContinuousParameter
from sagemaker.core.shapes import (
    HyperParameterTuningJobWarmStartConfig,
    OutputDataConfig,
    ParentHyperParameterTuningJob,
    StoppingCondition,
)
from sagemaker.core.training.configs import Compute, InputData
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

NAME, ROLE, IMAGE, ENDLESS, BUCKET = sys.argv[1:]

SESSION = Session()


def tuner(image: str, *, jobs: int, **options: Any) -> HyperparameterTuner:
    """Give a tuner over ``x`` of training jobs of an image."""
    trainer = ModelTrainer(
        training_image=image,
        role=ROLE,
        sagemaker_session=SESSION,
        compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=2),
        output_data_config=OutputDataConfig(s3_output_path=f"{BUCKET}/models"),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=600),
        hyperparameters={"epochs": 3},
        environment={"GREETING": "hello"},
    )
    return HyperparameterTuner(
        model_trainer=trainer,
        objective_metric_name="objective",
        objective_type="Minimize",
        metric_definitions=[{"Name": "objective", "Regex": "objective=(.*?);"}],
        hyperparameter_ranges={"x": ContinuousParameter(0, 1)},
        strategy="Random",
        max_jobs=jobs,
        max_parallel_jobs=2,
        **options,
    )


def main() -> None:
    """Tune, wait, describe, analyse, start warm, stop."""
    tuned = tuner(IMAGE, jobs=4)
    tuned.tune([InputData(channel_name="train", data_source=f"{BUCKET}/data")], job_name=NAME)
    described = tuned.describe()
    parents = HyperParameterTuningJobWarmStartConfig(
        parent_hyper_parameter_tuning_jobs=[
            ParentHyperParameterTuningJob(hyper_parameter_tuning_job_name=NAME)
        ],
        warm_start_type="TransferLearning",
    )
    warm = tuner(IMAGE, jobs=2, warm_start_config=parents)
    warm.tune(job_name=f"{NAME}-warm")
    stopped = tuner(ENDLESS, jobs=2)
    stopped.tune(job_name=f"{NAME}-stop", wait=False)
    stopped.stop_tuning_job()
    stopped.wait()
    facts = {
        "status": described.hyper_parameter_tuning_job_status,
        "completed": described.training_job_status_counters.completed,
        "best": tuned.best_training_job(),
        "value": described.best_training_job.final_hyper_parameter_tuning_job_objective_metric.value,
        "rows": tuned.analytics().dataframe()[["TrainingJobName", "x"]].to_dict("records"),
        "listed": [each.training_job_name for each in described.get_all_training_jobs()],
        "warm": warm.describe().hyper_parameter_tuning_job_status,
        "parents": [
            each.hyper_parameter_tuning_job_name
            for each in warm.describe().warm_start_config.parent_hyper_parameter_tuning_jobs
        ],
        "stopped": stopped.describe().hyper_parameter_tuning_job_status,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
