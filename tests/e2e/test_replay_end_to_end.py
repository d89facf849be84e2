"""A replay of a tuning job that really ran: from its server, and from what it exports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ServerProcess
from tests.server.cli.cli_processes import TUNESMITH

pytestmark = pytest.mark.timeout(60)

TRAINING_JOBS = 8
EPOCHS = 6
#: Its end can be told from its first epoch.
LEARNING = (
    "import json, os; x = json.loads(os.environ['SM_HPS'])['x']; "
    f"[print(f'loss={{(x - 0.5) ** 2 + 1 / n}}', flush=True) for n in range(1, {EPOCHS + 1})]"
)


def tunesmith(*arguments: str | Path) -> str:
    done = subprocess.run(
        [*TUNESMITH, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_request(folder: Path) -> Path:
    request = {
        "HyperParameterTuningJobName": "curves",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "RandomSeed": 1,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": TRAINING_JOBS,
                "MaxParallelTrainingJobs": 2,
            },
            "ParameterRanges": {
                "ContinuousParameterRanges": [{"Name": "x", "MinValue": "-2", "MaxValue": "2"}]
            },
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {
                "TrainingInputMode": "File",
                "ContainerEntrypoint": [sys.executable, "-I", "-S", "-c", LEARNING],
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.e+-]+)"}],
            },
            "RoleArn": "arn:aws:iam::000000000000:role/local",
            "OutputDataConfig": {"S3OutputPath": f"file://{folder}/models"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
    }
    path = folder / "job.json"
    path.write_text(json.dumps(request))
    return path


def test_a_tuning_job_that_ran_is_replayed_from_its_server_and_from_its_export(
    server: ServerProcess, tmp_path: Path
) -> None:
    where = ("--server", server.address)
    tunesmith("tune", write_request(tmp_path), *where)
    exported = tmp_path / "curves.csv"
    exported.write_text(tunesmith("jobs", "export", "curves", "--curves", *where))
    rule = ("--rule", "halving", "--eta", "2", "--json")
    of_file: dict[str, Any] = json.loads(tunesmith("replay", exported, *rule))
    of_job: dict[str, Any] = json.loads(tunesmith("replay", "--job", "curves", *where, *rule))
    assert of_file == of_job
    assert of_job["Trials"] == TRAINING_JOBS
    assert of_job["Values"]["Total"] == TRAINING_JOBS * EPOCHS
    assert of_job["Values"]["Saved"] == sum(each["ValuesSaved"] for each in of_job["Stopped"])
    # In whatever order they ran: curves don't cross, so that the best is never behind.
    assert of_job["Stopped"]
    assert not of_job["BestIsStopped"]
    assert of_job["Regret"] == 0
    described = json.loads(tunesmith("jobs", "describe", "curves", *where, "--json"))
    assert of_job["Best"]["Trial"] == described["BestTrainingJob"]["TrainingJobName"]
    assert of_job["Seconds"]["Total"] > of_job["Seconds"]["Spent"] > 0
