"""Tune two estimators at once with SageMaker's SDK v2, and print what it says of that as JSON."""

from __future__ import annotations

import json
import sys

import sagemaker
from sagemaker.estimator import Estimator
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner

NAME, ROLE, IMAGE, BUCKET = sys.argv[1:]

METRICS = [{"Name": "objective", "Regex": "objective=(.*?);"}]


def estimator(epochs: int) -> Estimator:
    """Give an estimator whose image is the site's."""
    return Estimator(
        image_uri=IMAGE,
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        output_path=f"{BUCKET}/models",
        hyperparameters={"epochs": epochs},
        sagemaker_session=sagemaker.Session(),
    )


def main() -> None:
    """Create a tuner of two estimators, fit, analyse, attach."""
    tuner = HyperparameterTuner.create(
        estimator_dict={"short": estimator(1), "long": estimator(9)},
        objective_metric_name_dict={"short": "objective", "long": "objective"},
        hyperparameter_ranges_dict={
            "short": {"x": ContinuousParameter(0, 1)},
            "long": {"x": ContinuousParameter(0.2, 0.4)},
        },
        metric_definitions_dict={"short": METRICS, "long": METRICS},
        objective_type="Minimize",
        strategy="Random",
        max_jobs=6,
        max_parallel_jobs=2,
    )
    inputs = {"short": None, "long": {"train": f"{BUCKET}/data"}}
    tuner.fit(inputs, job_name=NAME, include_cls_metadata={}, wait=True)
    analytics = tuner.analytics()
    attached = HyperparameterTuner.attach(NAME)
    best = attached.best_estimator()
    facts = {
        "status": tuner.describe()["HyperParameterTuningJobStatus"],
        "rows": analytics.dataframe()[
            ["TrainingJobName", "TrainingJobDefinitionName", "FinalObjectiveValue"]
        ].to_dict("records"),
        "ranges": analytics.tuning_ranges,
        "attached": sorted(attached.estimator_dict),
        "objective_type": attached.objective_type,
        "best": attached.best_training_job(),
        "hyperparameters": best.hyperparameters(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
