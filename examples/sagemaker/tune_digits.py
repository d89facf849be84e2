"""Tune a classifier of handwritten digits with the SageMaker Python SDK.

A script as one writes it for SageMaker, and nothing else: where the tuning runs is said by AWS's
own variables, outside of it.
"""

from __future__ import annotations

from pathlib import Path

from sagemaker.sklearn import SKLearn
from sagemaker.tuner import (
    CategoricalParameter,
    ContinuousParameter,
    HyperparameterTuner,
    IntegerParameter,
)

ROLE = "arn:aws:iam::123456789012:role/SageMakerExecutionRole"


def main() -> None:
    """Upload the training script, tune with 12 training jobs, print the best one's settings."""
    estimator = SKLearn(
        entry_point="train.py",
        source_dir=str(Path(__file__).parent / "source"),
        framework_version="1.4-2",
        py_version="py3",
        role=ROLE,
        instance_type="ml.m5.large",
        instance_count=1,
        hyperparameters={"epochs": 10},
    )
    tuner = HyperparameterTuner(
        estimator,
        objective_metric_name="validation:accuracy",
        metric_definitions=[
            {"Name": "validation:accuracy", "Regex": r"validation:accuracy=([0-9.]+)"}
        ],
        hyperparameter_ranges={
            "learning-rate": ContinuousParameter(1e-4, 0.1, scaling_type="Logarithmic"),
            "weight-decay": ContinuousParameter(1e-6, 0.01, scaling_type="Logarithmic"),
            "hidden-units": IntegerParameter(8, 128, scaling_type="Logarithmic"),
            "activation": CategoricalParameter(["relu", "tanh"]),
        },
        max_jobs=12,
        max_parallel_jobs=2,
        base_tuning_job_name="digits",
    )
    tuner.fit()

    table = tuner.analytics().dataframe().sort_values("FinalObjectiveValue", ascending=False)
    print(table[["TrainingJobName", "TrainingJobStatus", "FinalObjectiveValue"]].to_string())
    best = tuner.best_estimator()
    print("best training job:", tuner.best_training_job())
    print("model:", best.model_data)
    print("hyperparameters:", best.hyperparameters())


if __name__ == "__main__":
    main()
