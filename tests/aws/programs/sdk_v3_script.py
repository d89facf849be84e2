"""Tune a script with SageMaker's SDK v3, which uploads it; print what came of it as JSON."""

from __future__ import annotations

import json
import sys

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter
from sagemaker.core.training.configs import Compute, SourceCode
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

NAME, ROLE, IMAGE, BUCKET, SOURCE = sys.argv[1:]


def main() -> None:
    """Upload the folder with the script, tune, say what was best."""
    trainer = ModelTrainer(
        training_image=IMAGE,
        role=ROLE,
        sagemaker_session=Session(default_bucket=BUCKET),
        source_code=SourceCode(source_dir=SOURCE, entry_script="train.py"),
        compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=2),
        hyperparameters={"epochs": 2},
        base_job_name="scripts",
    )
    tuner = HyperparameterTuner(
        model_trainer=trainer,
        objective_metric_name="validation:accuracy",
        metric_definitions=[
            {"Name": "validation:accuracy", "Regex": r"validation:accuracy=([0-9.]+)"}
        ],
        hyperparameter_ranges={
            "learning-rate": ContinuousParameter(1e-3, 0.1, scaling_type="Logarithmic"),
            "activation": CategoricalParameter(["relu", "tanh"]),
        },
        strategy="Random",
        max_jobs=2,
        max_parallel_jobs=2,
    )
    tuner.tune(job_name=NAME)
    described = tuner.describe()
    best = described.best_training_job
    facts = {
        "status": described.hyper_parameter_tuning_job_status,
        "best": best.training_job_name,
        "tuned": best.tuned_hyper_parameters,
        "value": best.final_hyper_parameter_tuning_job_objective_metric.value,
        "output": described.training_job_definition.output_data_config.s3_output_path,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
