"""The SageMaker Python SDK v2, unmodified: one tuner after another, as its users write them.

Each program of ``programs/`` runs once, since the SDK alone takes seconds to load; what it saw is
looked at here.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.aws.clients import ROLE, facts
from tests.aws.conftest import BUCKET, ENDLESS_IMAGE, QUADRATIC_IMAGE, ClientSite

pytestmark = [pytest.mark.aws, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def tuner(site: ClientSite) -> Any:
    return facts(
        "sdk-v2", "sdk_v2_tuner.py", site.environment, "sdk-one", ROLE, QUADRATIC_IMAGE, BUCKET
    )


@pytest.fixture(scope="module")
def definitions(site: ClientSite) -> Any:
    return facts(
        "sdk-v2",
        "sdk_v2_definitions.py",
        site.environment,
        "sdk-two",
        ROLE,
        QUADRATIC_IMAGE,
        BUCKET,
    )


@pytest.fixture(scope="module")
def options(site: ClientSite) -> Any:
    return facts(
        "sdk-v2", "sdk_v2_options.py", site.environment, "sdk-options", ROLE, ENDLESS_IMAGE, BUCKET
    )


def test_fit_waits_for_the_end_and_finds_the_best_training_job(
    tuner: Any, site: ClientSite
) -> None:
    assert tuner["status"] == "Completed"
    best = min(tuner["rows"], key=lambda row: float(row["FinalObjectiveValue"]))
    assert tuner["best"] == best["TrainingJobName"]
    assert (site.bucket / "models" / tuner["best"] / "output" / "model.tar.gz").is_file()


def test_analytics_makes_a_data_frame_of_all_training_jobs(tuner: Any) -> None:
    assert len(tuner["rows"]) == 4
    for row in tuner["rows"]:
        assert row["TrainingJobStatus"] == "Completed"
        assert row["FinalObjectiveValue"] == pytest.approx((row["x"] - 0.3) ** 2, abs=1e-6)
        assert 1 <= row["layers"] <= 4
        assert row["kind"] in ("round", "square")
        assert row["TrainingElapsedTimeSeconds"] >= 0
    assert tuner["ranges"] == {
        "x": {"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Auto"},
        "layers": {
            "Name": "layers",
            "MinValue": "1",
            "MaxValue": "4",
            "ScalingType": "Logarithmic",
        },
        "kind": {"Name": "kind", "Values": ["round", "square"]},
    }


def test_attach_makes_the_tuner_anew(tuner: Any) -> None:
    assert tuner["attached"] == {
        "metric": "objective",
        "type": "Minimize",
        "strategy": "Bayesian",
        "jobs": [4, 2],
        "seed": 7,
        "ranges": [
            "CategoricalParameterRanges",
            "ContinuousParameterRanges",
            "IntegerParameterRanges",
        ],
        "image": QUADRATIC_IMAGE,
        "best": tuner["best"],
    }


def test_best_estimator_has_the_hyperparameters_and_the_model(tuner: Any) -> None:
    best = tuner["best_estimator"]
    assert best["job"] == tuner["best"]
    assert best["model"] == f"{BUCKET}/models/{tuner['best']}/output/model.tar.gz"
    (row,) = [each for each in tuner["rows"] if each["TrainingJobName"] == tuner["best"]]
    hyperparameters = best["hyperparameters"]
    assert hyperparameters["epochs"] == "3"
    assert float(hyperparameters["x"]) == pytest.approx(row["x"], abs=1e-6)
    assert hyperparameters["kind"] == row["kind"]


def test_warm_starts_name_their_parents(tuner: Any) -> None:
    same, other = tuner["warm"]["same"], tuner["warm"]["other"]
    assert same["status"] == other["status"] == "Completed"
    assert same["parents"] == other["parents"] == [tuner["name"]]
    assert (same["type"], other["type"]) == ("IdenticalDataAndAlgorithm", "TransferLearning")
    assert same["overall"].startswith(tuner["name"])
    assert other["overall"] is None
    assert tuner["read_back"]


def test_two_estimators_are_tuned_at_once(definitions: Any) -> None:
    assert definitions["status"] == "Completed"
    names = [row["TrainingJobDefinitionName"] for row in definitions["rows"]]
    assert sorted(names) == ["long"] * 3 + ["short"] * 3
    assert definitions["ranges"]["long"]["x"]["MaxValue"] == "0.4"
    assert definitions["attached"] == ["long", "short"]
    assert definitions["objective_type"] == "Minimize"
    best = min(definitions["rows"], key=lambda row: float(row["FinalObjectiveValue"]))
    assert definitions["best"] == best["TrainingJobName"]
    epochs = {"short": "1", "long": "9"}[best["TrainingJobDefinitionName"]]
    assert definitions["hyperparameters"]["epochs"] == epochs


def test_what_a_tuner_asks_for_arrives(options: Any) -> None:
    config = options["hyperband"]["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Hyperband"
    assert config["StrategyConfig"] == {
        "HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 9}
    }
    assert config["ResourceLimits"]["MaxRuntimeInSeconds"] == 7200
    assert config["RandomSeed"] == 11
    definition = options["hyperband"]["TrainingJobDefinition"]
    assert definition["RetryStrategy"] == {"MaximumRetryAttempts": 2}
    assert definition["CheckpointConfig"]["S3Uri"] == f"{BUCKET}/checkpoints"
    assert definition["Environment"] == {"GREETING": "hello"}
    assert definition["StoppingCondition"]["MaxRuntimeInSeconds"] == 3600
    assert definition["ResourceConfig"]["VolumeSizeInGB"] == 2
    assert options["tags"] == [{"Key": "team", "Value": "vision"}]
    early = options["early"]["HyperParameterTuningJobConfig"]
    assert early["TrainingJobEarlyStoppingType"] == "Auto"
    (rate,) = early["ParameterRanges"]["ContinuousParameterRanges"]
    assert rate["ScalingType"] == "Logarithmic"


def test_attach_reads_completion_criteria_back(options: Any) -> None:
    read_back = options["read_back"]
    assert (read_back["seed"], read_back["runtime"]) == (11, 7200)
    criteria = read_back["criteria"]
    assert criteria["BestObjectiveNotImproving"] == {"MaxNumberOfTrainingJobsNotImproving": 5}
    assert criteria["ConvergenceDetected"] == {"CompleteOnConvergence": "Enabled"}
    assert criteria["TargetObjectiveMetricValue"] == pytest.approx(0.99)


def test_autotune_chooses_the_ranges(options: Any) -> None:
    described = options["auto"]
    assert described["Autotune"] == {"Mode": "Enabled"}
    ranges = described["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert [each["Name"] for each in ranges["ContinuousParameterRanges"]] == ["rate"]
    assert described["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] == "3"


def test_a_refusal_names_the_member_and_what_works(options: Any) -> None:
    assert "HyperParameterTuningResourceConfig.InstanceConfigs" in options["refusal"]
    assert "InstanceType works" in options["refusal"]


def test_stop_tuning_job_stops_them(options: Any) -> None:
    assert options["stopped"] == ["Stopped"] * 3
