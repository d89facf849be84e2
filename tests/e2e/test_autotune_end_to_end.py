"""Autotune over a real server and runner: what is chosen is shown, and is what runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

import tunesmith
from tests.e2e.calls import COMPLETED, Calls
from tests.e2e.conftest import ServerMaker
from tunesmith.v1 import tuning_job_pb2 as job_pb

pytestmark = pytest.mark.timeout(120)

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "autotune"


def test_the_example_of_autotune_shows_its_choices_and_completes(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    server = make_server(config=EXAMPLE / "tunesmith.toml").start()
    request: dict[str, Any] = json.loads((EXAMPLE / "job.json").read_text(encoding="utf-8"))
    config, definition = (
        request["HyperParameterTuningJobConfig"],
        request["TrainingJobDefinition"],
    )
    assert "Strategy" not in config
    config["ResourceLimits"] = {"MaxNumberOfTrainingJobs": 4}
    definition["OutputDataConfig"]["S3OutputPath"] = f"file://{tmp_path}/models"
    with tunesmith.connect(server.address) as client:
        described = client.create(request).wait()

    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.autotune.mode == job_pb.AUTOTUNE_MODE_ENABLED
    shown = tunesmith.to_aws(described)["HyperParameterTuningJobConfig"]
    assert shown["Strategy"] == "Bayesian"
    assert shown["TrainingJobEarlyStoppingType"] == "Auto"
    assert shown["ResourceLimits"] == {
        "MaxNumberOfTrainingJobs": 4,
        "MaxParallelTrainingJobs": 1,
        "MaxRuntimeInSeconds": 2_592_000,
    }
    assert shown["TuningJobCompletionCriteria"]["ConvergenceDetected"] == {
        "CompleteOnConvergence": "Enabled"
    }
    ranges = described.hyper_parameter_tuning_job_config.parameter_ranges
    assert not ranges.auto_parameters
    (depth,), (rate,) = ranges.integer_parameter_ranges, ranges.continuous_parameter_ranges
    assert (depth.name, depth.min_value, depth.max_value) == ("depth", "2", "8")
    assert (rate.name, rate.min_value, rate.max_value) == ("rate", "0.001", "0.1")
    (shuffle,) = ranges.categorical_parameter_ranges
    assert (shuffle.name, list(shuffle.values)) == ("shuffle", ["true", "false"])
    echo = described.training_job_definition
    assert echo.static_hyper_parameters == {
        "_tuning_objective_metric": "loss",
        "optimizer": "sgd",
        "epochs": "3",
    }
    assert echo.retry_strategy.maximum_retry_attempts == 3
    with Calls(server.address) as calls:
        summaries = calls.training_jobs("autotune")
    assert len(summaries) == 4
    for summary in summaries:
        tuned = summary.tuned_hyper_parameters
        assert set(tuned) == {"depth", "rate", "shuffle"}
        assert 2 <= int(tuned["depth"]) <= 8
        assert 0.001 <= float(tuned["rate"]) <= 0.1
