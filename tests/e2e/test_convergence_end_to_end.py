"""Convergence, on a real server: it is reported, and completes the tuning jobs that ask for it."""

from __future__ import annotations

from typing import Any

import pytest

import tunesmith
from tests.e2e.conftest import ServerMaker
from tunesmith.v1 import tuning_job_pb2 as job_pb

pytestmark = pytest.mark.timeout(180)

MOST = 80


def request(name: str, *, completes: bool) -> dict[str, Any]:
    """Ask for a tuning job of two parameters, whose trials the caller runs."""
    ranges = [{"Name": each, "MinValue": "0", "MaxValue": "1"} for each in ("x", "y")]
    mode = "Enabled" if completes else "Disabled"
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "accuracy"},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": MOST,
                "MaxParallelTrainingJobs": 2,
            },
            "ParameterRanges": {"ContinuousParameterRanges": ranges},
            "TuningJobCompletionCriteria": {"ConvergenceDetected": {"CompleteOnConvergence": mode}},
            "RandomSeed": 1,
        },
    }


def accuracy(trial: tunesmith.JobTrial) -> float:
    """Give an objective that is largest, 0.9, at x = 0.3, y = 0.6."""
    x, y = (float(trial.parameters[name]) for name in ("x", "y"))
    return 0.9 - 0.5 * (x - 0.3) ** 2 - 0.5 * (y - 0.6) ** 2


@pytest.mark.parametrize("completes", [True, False])
def test_convergence_is_reported_and_completes_a_tuning_job_that_asks_for_it(
    make_server: ServerMaker, *, completes: bool
) -> None:
    server = make_server(runner=False).start()
    with tunesmith.connect(server.address) as client:
        job = client.create(request("converges", completes=completes))
        for trial in job.trials(workers=1):
            trial.complete(accuracy(trial))
        described = job.wait()
    details = described.tuning_job_completion_details
    ended_at = described.hyper_parameter_tuning_end_time.ToDatetime()
    assert details.HasField("convergence_detected_time")
    assert details.convergence_detected_time.ToDatetime() <= ended_at
    succeeded = described.objective_status_counters.succeeded
    if completes:
        assert details.completion_criterion == job_pb.COMPLETION_CRITERION_CONVERGENCE_DETECTED
        assert 10 <= succeeded < MOST
    else:
        limit = job_pb.COMPLETION_CRITERION_MAX_NUMBER_OF_TRAINING_JOBS
        assert details.completion_criterion == limit
        assert succeeded == MOST
    best = described.best_training_job.final_hyper_parameter_tuning_job_objective_metric
    assert best.value > 0.89
