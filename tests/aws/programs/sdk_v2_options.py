"""Ask for all that SageMaker's SDK v2 can ask of a tuner and is served; print what came of it."""

from __future__ import annotations

import json
import sys
from typing import Any

import sagemaker
from sagemaker.estimator import Estimator
from sagemaker.tuner import (
    ContinuousParameter,
    HyperbandStrategyConfig,
    HyperparameterTuner,
    InstanceConfig,
    IntegerParameter,
    StrategyConfig,
    TuningJobCompletionCriteriaConfig,
)

NAME, ROLE, ENDLESS, BUCKET = sys.argv[1:]

SESSION = sagemaker.Session()


def estimator(**options: Any) -> Estimator:
    """Give an estimator whose training jobs end when they are told to."""
    return Estimator(
        image_uri=ENDLESS,
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        volume_size=2,
        max_run=3600,
        output_path=f"{BUCKET}/models",
        hyperparameters={"rate": 0.1, "epochs": 3},
        sagemaker_session=SESSION,
        **options,
    )


def tuner(estimator: Estimator, **options: Any) -> HyperparameterTuner:
    """Give a tuner that asks for two training jobs."""
    return HyperparameterTuner(
        estimator,
        objective_metric_name="objective",
        metric_definitions=[{"Name": "objective", "Regex": "objective=(.*?);"}],
        max_jobs=2,
        max_parallel_jobs=1,
        **options,
    )


def shown(asked: HyperparameterTuner) -> Any:
    """Give the description as the client has it, without times."""
    return json.loads(json.dumps(asked.describe(), default=str))


def main() -> None:
    """Start tuners with options, read them back, and stop them."""
    hyperband = tuner(
        estimator(
            max_retry_attempts=2,
            checkpoint_s3_uri=f"{BUCKET}/checkpoints",
            environment={"GREETING": "hello"},
        ),
        hyperparameter_ranges={"epochs": IntegerParameter(1, 9)},
        strategy="Hyperband",
        strategy_config=StrategyConfig(HyperbandStrategyConfig(max_resource=9, min_resource=1)),
        completion_criteria_config=TuningJobCompletionCriteriaConfig(
            max_number_of_training_jobs_not_improving=5,
            complete_on_convergence=True,
            target_objective_metric_value=0.99,
        ),
        max_runtime_in_seconds=7200,
        random_seed=11,
        tags=[{"Key": "team", "Value": "vision"}],
    )
    hyperband.fit(job_name=f"{NAME}-1", wait=False)
    early = tuner(
        estimator(),
        hyperparameter_ranges={"rate": ContinuousParameter(0.001, 1, scaling_type="Logarithmic")},
        early_stopping_type="Auto",
    )
    early.fit(job_name=f"{NAME}-2", wait=False)
    auto = tuner(
        estimator(),
        hyperparameter_ranges=None,
        autotune=True,
        hyperparameters_to_keep_static=["epochs"],
    )
    auto.fit(job_name=f"{NAME}-3", wait=False)
    mixed = tuner(estimator(), hyperparameter_ranges={"rate": ContinuousParameter(0.001, 1)})
    mixed.override_resource_config([InstanceConfig(1, "ml.m5.large", 2)])
    try:
        mixed.fit(job_name=f"{NAME}-4", wait=False)
    except Exception as error:  # noqa: BLE001 - whatever the SDK makes of a refusal is what is shown
        refusal = str(error)
    else:
        refusal = ""

    read_back = HyperparameterTuner.attach(f"{NAME}-1")
    facts: dict[str, Any] = {
        "hyperband": shown(hyperband),
        "early": shown(early),
        "auto": shown(auto),
        "refusal": refusal,
        "read_back": {
            "seed": read_back.random_seed,
            "runtime": read_back.max_runtime_in_seconds,
            "criteria": read_back.completion_criteria_config.to_input_req(),
        },
        "tags": SESSION.sagemaker_client.list_tags(
            ResourceArn=hyperband.describe()["HyperParameterTuningJobArn"]
        )["Tags"],
    }
    for each in (hyperband, early, auto):
        each.stop_tuning_job()
        each.wait()
    facts["stopped"] = [
        each.describe()["HyperParameterTuningJobStatus"] for each in (hyperband, early, auto)
    ]
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
