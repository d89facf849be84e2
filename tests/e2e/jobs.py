"""Requests for tuning jobs, and the scripts that their trials run: small, with no dependencies."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import tag_pb2
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb

RANDOM: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_RANDOM
BAYESIAN: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_BAYESIAN
GRID: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_GRID
MINIMIZE: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MINIMIZE
MAXIMIZE: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MAXIMIZE

# Without site packages an interpreter starts in some ten milliseconds.
PYTHON: Final = (sys.executable, "-I", "-S", "-u")

#: How each of these scripts begins.
BEGIN: Final = """
import json, os, sys, time
base = os.environ["SAGEMAKER_BASE_DIR"]
with open(base + "/input/config/hyperparameters.json") as file:
    parameters = json.load(file)
"""

#: Emits three losses and an objective that is least at x = 0.3, and leaves a model.
QUADRATIC: Final = (
    BEGIN
    + """
x = float(parameters["x"])
for epoch in range(3):
    print(f"loss={x + epoch!r};")
print(f"objective={(x - 0.3) ** 2!r};")
with open(base + "/model/weights.txt", "w") as file:
    file.write(repr(x))
with open(base + "/output/data/notes.txt", "w") as file:
    file.write("trained")
"""
)

#: Fails where ``outcome`` says so.
FAILING: Final = (
    BEGIN
    + """
print("objective=1.0;")
if parameters["outcome"] == "bad":
    with open(base + "/output/failure", "w") as file:
        file.write("the outcome was bad")
    sys.exit(3)
"""
)

#: Says that it runs, then goes on until it is told to end.
ENDLESS: Final = (
    BEGIN
    + """
print("objective=0.5;")
time.sleep(600)
"""
)

#: Goes on until the file ``gate`` is there; a second start of a trial would leave a second line.
GATED: Final = (
    BEGIN
    + """
with open(parameters["starts"], "a") as file:
    file.write(os.environ["TRAINING_JOB_NAME"] + chr(10))
print("objective=0.5;")
while not os.path.exists(parameters["gate"]):
    time.sleep(0.02)
"""
)

#: The first two to start are done at once; whoever starts later does worse, and without end.
WORSENING: Final = (
    BEGIN
    + """
with open(parameters["starts"], "a") as file:
    file.write(os.environ["TRAINING_JOB_NAME"] + chr(10))
with open(parameters["starts"]) as file:
    is_late = len(file.readlines()) > 2
print(f"objective={0.9 if is_late else 0.5};")
if is_late:
    time.sleep(600)
"""
)

#: Says at its first start that it may pass, is killed at its second, and is done at its third.
PASSING: Final = (
    BEGIN
    + """
with open(parameters["starts"], "a") as file:
    file.write(os.environ["TRAINING_JOB_NAME"] + chr(10))
with open(parameters["starts"]) as file:
    start = len(file.readlines())
print(f"objective={start};")
if start == 1:
    sys.exit(75)
if start == 2:
    os.kill(os.getpid(), 9)
"""
)

#: Writes a checkpoint after each of six epochs and goes on after the last one; is killed once at its
#: fourth epoch, when the third one's checkpoint has been stored.
CHECKPOINTING: Final = (
    BEGIN
    + """
state = base + "/checkpoints/epoch"
stored = parameters["kept"] + "/" + os.environ["TRAINING_JOB_NAME"] + "/epoch"
begin = int(open(state).read()) if os.path.exists(state) else 0
print(f"begin {begin}")
for epoch in range(begin + 1, 7):
    if epoch == 4 and begin == 0:
        while not os.path.exists(stored) or open(stored).read() != "3":
            time.sleep(0.02)
        os.kill(os.getpid(), 9)
    print(f"objective={7.0 - epoch};")
    with open(state + ".unfinished", "w") as file:
        file.write(str(epoch))
    os.rename(state + ".unfinished", state)
"""
)

#: Emits six values, the worse the later the trial has started, and keeps a checkpoint after each; says
#: where it begins, and whether it was asked to end.
RESTING: Final = (
    BEGIN
    + """
import signal
def leave(*_):
    print("asked to end")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
state = base + "/checkpoints/epoch"
begin = int(open(state).read()) if os.path.exists(state) else 0
print(f"begin {begin}")
if begin == 0:
    with open(parameters["starts"], "a") as file:
        file.write(os.environ["TRAINING_JOB_NAME"] + chr(10))
with open(parameters["starts"]) as file:
    place = file.read().split().index(os.environ["TRAINING_JOB_NAME"]) + 1
for epoch in range(begin + 1, 7):
    with open(state + ".unfinished", "w") as file:
        file.write(str(epoch))
    os.rename(state + ".unfinished", state)
    print(f"objective={place + 1 / epoch!r};")
    time.sleep(0.5)
"""
)

#: Emits values that tell trial, metric and step, and at its end leaves one line in ``ends``.
COUNTED: Final = (
    BEGIN
    + """
x = float(parameters["x"])
for step in range(1, 6):
    print(f"loss={x + step!r};")
    print(f"accuracy={x - step!r}; objective={x * step!r};")
    time.sleep(float(parameters["pause"]))
descriptor = os.open(parameters["ends"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(descriptor, (os.environ["TRAINING_JOB_NAME"] + chr(10)).encode())
"""
)


def write_script(folder: Path, source: str, name: str = "train.py") -> Path:
    script = folder / name
    script.write_text(source, encoding="utf-8")
    return script


def continuous(name: str, low: float = 0.0, high: float = 1.0) -> space_pb.ContinuousParameterRange:
    return space_pb.ContinuousParameterRange(name=name, min_value=str(low), max_value=str(high))


def categorical(name: str, *values: str) -> space_pb.CategoricalParameterRange:
    return space_pb.CategoricalParameterRange(name=name, values=values)


def create_request(
    name: str,
    *,
    script: Path,
    output: Path,
    jobs: int | None = 4,
    parallel: int = 2,
    strategy: job_pb.HyperParameterTuningJobStrategyType.ValueType = RANDOM,
    goal: job_pb.HyperParameterTuningJobObjectiveType.ValueType = MINIMIZE,
    ranges: space_pb.ParameterRanges | None = None,
    metrics: Sequence[str] = ("loss", "objective"),
    static: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    max_runtime_s: int = 600,
    random_seed: int | None = 7,
    tags: Mapping[str, str] | None = None,
) -> pb.CreateHyperParameterTuningJobRequest:
    """Ask for a tuning job whose trials run a script; each metric is printed as ``name=value;``."""
    limits = job_pb.ResourceLimits(max_parallel_training_jobs=parallel)
    if jobs is not None:
        limits.max_number_of_training_jobs = jobs
    return pb.CreateHyperParameterTuningJobRequest(
        hyper_parameter_tuning_job_name=name,
        hyper_parameter_tuning_job_config=job_pb.HyperParameterTuningJobConfig(
            strategy=strategy,
            hyper_parameter_tuning_job_objective=job_pb.HyperParameterTuningJobObjective(
                type=goal, metric_name="objective"
            ),
            resource_limits=limits,
            parameter_ranges=ranges
            or space_pb.ParameterRanges(continuous_parameter_ranges=[continuous("x")]),
            random_seed=random_seed,
        ),
        training_job_definition=definition_pb.HyperParameterTrainingJobDefinition(
            algorithm_specification=definition_pb.HyperParameterAlgorithmSpecification(
                training_input_mode=definition_pb.TRAINING_INPUT_MODE_FILE,
                container_entrypoint=[*PYTHON, str(script)],
                metric_definitions=[
                    definition_pb.MetricDefinition(name=metric, regex=f"{metric}=(.*?);")
                    for metric in metrics
                ],
            ),
            role_arn="arn:aws:iam::000000000000:role/tuner",
            output_data_config=definition_pb.OutputDataConfig(s3_output_path=f"file://{output}"),
            stopping_condition=definition_pb.StoppingCondition(
                max_runtime_in_seconds=max_runtime_s
            ),
            static_hyper_parameters=static or {},
            environment=environment or {},
        ),
        tags=[tag_pb2.Tag(key=key, value=value) for key, value in (tags or {}).items()],
    )
