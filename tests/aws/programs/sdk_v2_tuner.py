"""Tune with SageMaker's SDK v2, and print what it says of that as one line of JSON."""

from __future__ import annotations

import json
import sys

import sagemaker
from sagemaker.estimator import Estimator
from sagemaker.tuner import (
    CategoricalParameter,
    ContinuousParameter,
    HyperparameterTuner,
    IntegerParameter,
    WarmStartConfig,
    WarmStartTypes,
    create_transfer_learning_tuner,
)

NAME, ROLE, IMAGE, BUCKET = sys.argv[1:]


def main() -> None:
    """Fit, wait, describe, analyse, attach, start warm."""
    estimator = Estimator(
        image_uri=IMAGE,
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        output_path=f"{BUCKET}/models",
        hyperparameters={"epochs": 3},
        environment={"GREETING": "hello"},
        sagemaker_session=sagemaker.Session(),
    )
    tuner = HyperparameterTuner(
        estimator,
        objective_metric_name="objective",
        objective_type="Minimize",
        metric_definitions=[{"Name": "objective", "Regex": "objective=(.*?);"}],
        hyperparameter_ranges={
            "x": ContinuousParameter(0, 1),
            "layers": IntegerParameter(1, 4, scaling_type="Logarithmic"),
            "kind": CategoricalParameter(["round", "square"]),
        },
        max_jobs=4,
        max_parallel_jobs=2,
        random_seed=7,
        tags=[{"Key": "team", "Value": "vision"}],
    )
    tuner.fit({"train": f"{BUCKET}/data"}, job_name=NAME, wait=True)
    name = tuner.latest_tuning_job.name
    analytics = tuner.analytics()
    table = analytics.dataframe()
    attached = HyperparameterTuner.attach(name)
    best = attached.best_estimator()

    again = tuner.identical_dataset_and_algorithm_tuner()
    again.max_jobs = 2
    again.fit({"train": f"{BUCKET}/data"}, job_name=f"{name}-same", wait=True)

    other = create_transfer_learning_tuner(parent=name, estimator=estimator)
    other.max_jobs = 2
    other.fit({"train": f"{BUCKET}/data"}, job_name=f"{name}-other", wait=True)

    facts = {
        "name": name,
        "status": tuner.describe()["HyperParameterTuningJobStatus"],
        "best": tuner.best_training_job(),
        "rows": json.loads(table.to_json(orient="records")),
        "ranges": analytics.tuning_ranges,
        "attached": {
            "metric": attached.objective_metric_name,
            "type": attached.objective_type,
            "strategy": attached.strategy,
            "jobs": [attached.max_jobs, attached.max_parallel_jobs],
            "seed": attached.random_seed,
            "ranges": sorted(attached.hyperparameter_ranges()),
            "image": attached.estimator.training_image_uri(),
            "best": attached.best_training_job(),
        },
        "best_estimator": {
            "hyperparameters": best.hyperparameters(),
            "model": best.model_data,
            "job": best.latest_training_job.name,
            "environment": best.environment,
        },
        "warm": {
            kind: {
                "parents": sorted(each.warm_start_config.parents),
                "type": each.describe()["WarmStartConfig"]["WarmStartType"],
                "status": each.describe()["HyperParameterTuningJobStatus"],
                "overall": each.describe().get("OverallBestTrainingJob", {}).get("TrainingJobName"),
            }
            for kind, each in (("same", again), ("other", other))
        },
        "read_back": WarmStartConfig.from_job_desc(again.describe()["WarmStartConfig"]).type
        == WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
