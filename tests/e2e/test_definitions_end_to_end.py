"""Several definitions over a real server and runner: each runs its own program, the better one most."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e import jobs
from tests.e2e.calls import COMPLETED, Calls
from tests.e2e.conftest import ServerMaker
from tests.e2e.harness import ServerProcess
from tests.e2e.jobs import BAYESIAN, RANDOM, continuous, create_request, write_script
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb

pytestmark = pytest.mark.timeout(180)

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "two_models"

#: Is never as good as the quadratic one, and calls its objective something else.
WORSE: Final = (
    jobs.BEGIN
    + """
z = float(parameters["z"])
print(f"error={1.0 + (z - 2.0) ** 2!r};")
print(f"objective={-1.0!r};")
"""
)


def request(
    name: str,
    tmp_path: Path,
    *,
    training_jobs: int,
    strategy: job_pb.HyperParameterTuningJobStrategyType.ValueType = BAYESIAN,
) -> pb.CreateHyperParameterTuningJobRequest:
    """Ask for two programs: ``worse`` prints ``error``, ``better`` prints ``objective``."""
    whole: pb.CreateHyperParameterTuningJobRequest | None = None
    programs = {
        "worse": ("error", WORSE, continuous("z", 0.0, 4.0)),
        "better": ("objective", jobs.QUADRATIC, continuous("x")),
    }
    for definition_name, (metric, source, tuned) in programs.items():
        one = create_request(
            name,
            script=write_script(tmp_path, source, f"{definition_name}.py"),
            output=tmp_path / definition_name,
            jobs=training_jobs,
            strategy=strategy,
            metrics=[metric],
        )
        if whole is None:
            whole = pb.CreateHyperParameterTuningJobRequest()
            whole.CopyFrom(one)
            config = whole.hyper_parameter_tuning_job_config
            config.ClearField("hyper_parameter_tuning_job_objective")
            config.ClearField("parameter_ranges")
            whole.ClearField("training_job_definition")
        definition = whole.training_job_definitions.add()
        definition.CopyFrom(one.training_job_definition)
        definition.definition_name = definition_name
        definition.tuning_objective.type = jobs.MINIMIZE
        definition.tuning_objective.metric_name = metric
        definition.hyper_parameter_ranges.CopyFrom(
            space_pb.ParameterRanges(continuous_parameter_ranges=[tuned])
        )
    assert whole is not None
    return whole


def division(calls: Calls, name: str) -> Counter[str]:
    return Counter(each.training_job_definition_name for each in calls.training_jobs(name))


def test_the_better_algorithm_has_most_of_the_training_jobs_and_the_best(
    calls: Calls, tmp_path: Path
) -> None:
    calls.create(request("two", tmp_path, training_jobs=12))
    calls.watch_to_end("two")
    described = calls.describe("two")
    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.training_job_status_counters.completed == 12
    assert described.objective_status_counters.succeeded == 12
    assert not described.HasField("training_job_definition")
    assert [each.definition_name for each in described.training_job_definitions] == [
        "worse",
        "better",
    ]
    counts = division(calls, "two")
    assert counts["worse"] >= 3
    assert counts["better"] > 6
    best = described.best_training_job
    assert best.training_job_definition_name == "better"
    final = best.final_hyper_parameter_tuning_job_objective_metric
    assert final.metric_name == "objective"
    assert final.value < 0.05
    for summary in calls.training_jobs("two"):
        is_better = summary.training_job_definition_name == "better"
        assert set(summary.tuned_hyper_parameters) == ({"x"} if is_better else {"z"})
        final = summary.final_hyper_parameter_tuning_job_objective_metric
        assert final.metric_name == ("objective" if is_better else "error")
        # What another definition's metric would say is not looked for.
        assert final.value >= (0.0 if is_better else 1.0)
    # Each has left its model where its own definition says.
    assert len(list((tmp_path / "better").iterdir())) == counts["better"]
    assert len(list((tmp_path / "worse").iterdir())) == counts["worse"]


@pytest.mark.long
def test_a_killed_server_goes_on_with_both_definitions(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    server = make_server().start()
    with Calls(server.address) as calls:
        calls.create(request("killed", tmp_path, training_jobs=10))
        event = calls.watch_until(
            "killed", lambda each: each.training_job.summary.HasField("training_end_time")
        )[-1]
    server.kill()
    server.start()
    with Calls(server.address) as calls:
        calls.watch_to_end("killed", after=event.sequence)
        described = calls.describe("killed")
        assert described.training_job_status_counters.completed == 10
        counts = division(calls, "killed")
    assert counts.total() == 10
    assert min(counts["better"], counts["worse"]) >= 3


def tunesmith(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tunesmith_server.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_commands_tell_definitions_apart(
    server: ServerProcess, calls: Calls, tmp_path: Path
) -> None:
    calls.create(request("random", tmp_path, training_jobs=6, strategy=RANDOM))
    where = ("--server", server.address)
    watched = tunesmith("jobs", "watch", "random", *where)
    assert watched.returncode == 0, watched.stderr
    assert "Training jobs by definition: worse 3, better 3" in watched.stdout
    assert "Definition: better" in watched.stdout
    assert "  worse  z=" in watched.stderr

    rows = tunesmith("jobs", "trials", "random", *where).stdout.splitlines()
    assert rows[0].split()[:3] == ["NAME", "DEFINITION", "STATUS"]
    assert Counter(row.split()[1] for row in rows[1:]) == {"worse": 3, "better": 3}
    exported = csv.DictReader(io.StringIO(tunesmith("jobs", "export", "random", *where).stdout))
    metrics = {(row["TrainingJobDefinitionName"], row["ObjectiveMetricName"]) for row in exported}
    assert metrics == {("worse", "error"), ("better", "objective")}
    described = tunesmith("jobs", "describe", rows[1].split()[0], *where).stdout
    assert f"TrainingJobDefinitionName: {rows[1].split()[1]}" in described
    assert "_tuning_objective_metric: " in described


@pytest.mark.long
def test_the_example_of_two_models_runs(tmp_path: Path) -> None:
    request: dict[str, Any] = json.loads((EXAMPLE / "job.json").read_text(encoding="utf-8"))
    limits = request["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits == {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2}
    limits["MaxNumberOfTrainingJobs"] = 2
    for definition in request["TrainingJobDefinitions"]:
        definition["OutputDataConfig"]["S3OutputPath"] = f"file://{tmp_path}/models"
    path = tmp_path / "job.json"
    path.write_text(json.dumps(request))
    done = tunesmith(
        "tune",
        path,
        "--embedded",
        "--config",
        EXAMPLE / "tunesmith.toml",
        "--data-dir",
        tmp_path / "data",
    )
    assert done.returncode == 0, done.stderr
    assert "Training jobs by definition: svm 1, forest 1" in done.stdout
    assert ":accuracy=0." in done.stdout
