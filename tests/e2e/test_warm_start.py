"""Warm start, on a real server: what is learnt, what is refused, and what a restart does not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

import tunesmith
from tests.e2e.conftest import ServerMaker
from tunesmith.v1 import tuning_job_pb2 as job_pb

pytestmark = pytest.mark.timeout(180)

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "warm_start"


def request(
    name: str, *, jobs: int, parents: tuple[str, ...] = (), kind: str = "IdenticalDataAndAlgorithm"
) -> dict[str, Any]:
    """Ask for a tuning job of two parameters, whose trials the caller runs."""
    ranges = [{"Name": each, "MinValue": "0", "MaxValue": "1"} for each in ("x", "y")]
    made: dict[str, Any] = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": ranges},
            "RandomSeed": 3,
        },
    }
    if parents:
        made["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": [
                {"HyperParameterTuningJobName": parent} for parent in parents
            ],
            "WarmStartType": kind,
        }
    return made


def loss(trial: tunesmith.JobTrial) -> float:
    """Give an objective that is least, 1, at x = 0.3, y = 0.6."""
    x, y = (float(trial.parameters[name]) for name in ("x", "y"))
    return 1.0 + (x - 0.3) ** 2 + (y - 0.6) ** 2


def run(client: tunesmith.Client, asked: dict[str, Any]) -> list[float]:
    """Run a tuning job to its end, and give the losses in order."""
    losses = []
    for trial in client.create(asked).trials():
        losses.append(loss(trial))
        trial.complete(losses[-1])
    return losses


def test_a_tuning_job_goes_on_where_its_parents_ended(make_server: ServerMaker) -> None:
    server = make_server(runner=False).start()
    with tunesmith.connect(server.address) as client:
        before = run(client, request("before", jobs=15))
        (first,) = run(client, request("same", jobs=1, parents=("before",)))
        assert first < 1.02 < before[0], "the first one knows what the parent knew"
        shown = client.describe("same")
        assert shown.warm_start_config.parent_hyper_parameter_tuning_jobs
        overall = shown.overall_best_training_job
        best = overall.final_hyper_parameter_tuning_job_objective_metric.value
        assert best == min(*before, first)
        whose = "before" if min(before) <= first else "same"
        assert overall.tuning_job_name == whose
        run(client, request("other", jobs=1, parents=("before",), kind="TransferLearning"))
        assert not client.describe("other").HasField("overall_best_training_job")


def test_a_restart_changes_no_suggestion_even_if_the_parent_is_deleted(
    make_server: ServerMaker,
) -> None:
    server = make_server(runner=False).start()
    with tunesmith.connect(server.address) as client:
        run(client, request("before", jobs=12))
        whole = run(client, request("whole", jobs=6, parents=("before",)))
        job = client.create(request("killed", jobs=6, parents=("before",)))
        trials = job.trials(client_id="one")
        found = []
        for _ in range(3):
            trial = next(trials)
            found.append(loss(trial))
            trial.complete(found[-1])
        client.delete("before")
    server.kill()
    server.start()
    with tunesmith.connect(server.address) as client:
        for trial in client.job("killed").trials(client_id="one"):
            found.append(loss(trial))
            trial.complete(found[-1])
    assert found == whole


def test_a_parent_that_goes_on_or_is_not_there_is_refused(make_server: ServerMaker) -> None:
    server = make_server(runner=False).start()
    with tunesmith.connect(server.address) as client:
        client.create(request("open", jobs=2))
        with pytest.raises(tunesmith.InvalidRequest, match="open is InProgress; a parent must"):
            client.create(request("child", jobs=1, parents=("open",)))
        with pytest.raises(tunesmith.InvalidRequest, match="There is no tuning job called gone"):
            client.create(request("child", jobs=1, parents=("gone",)))
        assert [each.hyper_parameter_tuning_job_name for each in client.list()] == ["open"]


@pytest.mark.long
def test_the_example_goes_on_with_narrower_ranges_until_it_has_converged(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    server = make_server(config=EXAMPLE / "tunesmith.toml").start()
    with tunesmith.connect(server.address) as client:
        for name in ("first", "second"):
            asked = json.loads((EXAMPLE / f"{name}.json").read_text(encoding="utf-8"))
            output = asked["TrainingJobDefinition"]["OutputDataConfig"]
            output["S3OutputPath"] = f"file://{tmp_path}/models"
            client.create(asked).wait()
        before, after = client.describe("machine-first"), client.describe("machine-second")
        trials = {each.training_job_name: each for each in client.training_jobs("machine-second")}
    details = after.tuning_job_completion_details
    assert details.completion_criterion == job_pb.COMPLETION_CRITERION_CONVERGENCE_DETECTED
    assert after.objective_status_counters.succeeded < 40
    known = before.best_training_job.final_hyper_parameter_tuning_job_objective_metric.value
    found = after.best_training_job.final_hyper_parameter_tuning_job_objective_metric.value
    overall = after.overall_best_training_job
    best = overall.final_hyper_parameter_tuning_job_objective_metric.value
    assert best == min(known, found) < 0.11
    (first,) = [each for name, each in trials.items() if "-001-" in name]
    assert first.final_hyper_parameter_tuning_job_objective_metric.value < 0.15
    assert set(first.tuned_hyper_parameters) == {"rate", "depth"}
