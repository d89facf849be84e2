"""What a runner says of a program that never emitted its objective."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clients.runner.conftest import Assigner, RunnerStarter
from tests.clients.runner.fake_server import FakeServer
from tunesmith.runner.missing_objective import missing_objective, objective_patterns
from tunesmith.v1 import runner_service_pb2 as pb

OBJECTIVE = {"_tuning_objective_metric": "accuracy"}
METRICS = {"loss": r"loss=(\S+)", "accuracy": r"val_accuracy=([0-9.]+)"}
#: "Well below 4 KiB", as the message says in the reports' stream.
MOST_BYTES = 3 * 1024


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "output.log"


def test_the_last_ten_lines_and_the_three_nearest_are_kept(log: Path) -> None:
    lines = [f"epoch {n}: val_acc={n}" for n in range(5)] + [f"noise {n}" for n in range(20)]
    log.write_text("\n".join(lines) + "\n")
    missing = missing_objective(log, (METRICS["accuracy"],))
    assert missing.last_lines == lines[-10:]
    assert [near.line for near in missing.nearest_lines] == lines[:3]
    first = missing.nearest_lines[0]
    assert first.matched_text == "val_acc"
    assert first.unmatched_pattern == "uracy=([0-9.]+)"
    assert not first.HasField("captured")


def test_lines_that_are_not_near_are_left_out(log: Path) -> None:
    log.write_text("v=1\nva=1\nval_acc=1\nval_a\nval=1\n")
    nearest = missing_objective(log, (METRICS["accuracy"],)).nearest_lines
    assert [near.line for near in nearest] == ["val_acc=1", "val_a", "val=1"]
    log.write_text("v=1\n")
    assert not missing_objective(log, (METRICS["accuracy"],)).nearest_lines


def test_what_was_captured_and_is_no_number_is_kept(log: Path) -> None:
    log.write_text("acc=95%;\n")
    (near,) = missing_objective(log, ("acc=(.*);",)).nearest_lines
    assert (near.captured, near.unmatched_pattern) == ("95%", "")


def test_patterns_of_the_same_metric_take_turns(log: Path) -> None:
    log.write_text("aa=x\naa=y\nbb=x\nbb=y\n")
    nearest = missing_objective(log, (r"aa=(\d)", r"bb=(\d)")).nearest_lines
    assert [near.line for near in nearest] == ["aa=x", "bb=x", "aa=y"]


def test_an_empty_log_has_no_lines(log: Path) -> None:
    log.touch()
    assert missing_objective(log, ("a=(.*)",)) == pb.ObjectiveMissing()


def test_of_a_long_log_the_end_is_looked_at_without_the_line_that_is_cut(log: Path) -> None:
    log.write_text("a=first;\n" + "é" * 300_000 + "\na=last\n")
    missing = missing_objective(log, ("a=(.*);",))
    assert [near.line for near in missing.nearest_lines] == ["a=last"]
    assert missing.last_lines == ["a=last"]


def test_the_search_ends_when_its_time_is_over(log: Path) -> None:
    log.write_text("".join(f"a={n}\n" for n in range(100)))
    seconds = itertools.count(0.0, 0.25)
    missing = missing_objective(log, ("a=(.*);",), clock=lambda: next(seconds))
    assert [near.line for near in missing.nearest_lines] == ["a=0", "a=1", "a=2"]
    assert missing.last_lines[-1] == "a=99"


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32), alphabet=st.sampled_from(["a=1", "é=", "\U0001f600a=", "\0\x1b="])
)
def test_however_long_the_lines_are_the_message_is_well_below_4_kib(
    tmp_path_factory: pytest.TempPathFactory, seed: int, alphabet: str
) -> None:
    rng = random.Random(seed)
    log = tmp_path_factory.mktemp("log") / "output.log"
    lines = ["".join(rng.choices(alphabet, k=rng.randrange(400))) for _ in range(30)]
    log.write_text("\n".join(lines), encoding="utf-8")
    missing = missing_objective(log, ("(?:.*=){2}" + "x" * 100, "=(.*)"))
    assert missing.ByteSize() < MOST_BYTES
    texts = [*missing.last_lines, *(near.line for near in missing.nearest_lines)]
    assert all(len(text.encode()) <= 160 for text in texts)


def test_the_objective_is_the_metric_that_the_hyperparameter_names(assignment: Assigner) -> None:
    named = assignment(metrics=METRICS, hyper_parameters=OBJECTIVE)
    assert objective_patterns(named) == (METRICS["accuracy"],)
    assert objective_patterns(assignment(metrics=METRICS)) == ()


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        ("", pb.TRIAL_OUTCOME_COMPLETED),
        ("raise SystemExit(3)", pb.TRIAL_OUTCOME_FAILED),
        ("import time; time.sleep(60)", pb.TRIAL_OUTCOME_MAX_RUNTIME_EXCEEDED),
    ],
    ids=["completed", "failed", "stopped"],
)
async def test_however_a_program_ends_without_its_objective_the_end_tells_of_its_output(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    ending: str,
    outcome: pb.TrialOutcome.ValueType,
) -> None:
    code = f"print('loss=1 val_accuracy: 0.9', flush=True)\n{ending}"
    limits = {"max_runtime_s": 2.0, "stop_grace_s": 0.1} if "sleep" in ending else {}
    async with runner():
        key = await server.assign(
            assignment(code, metrics=METRICS, hyper_parameters=OBJECTIVE, **limits)
        )
        ended = await server.ended(key)
    assert ended.outcome == outcome
    assert ended.objective_missing.last_lines == ["loss=1 val_accuracy: 0.9"]
    (near,) = ended.objective_missing.nearest_lines
    assert (near.matched_text, near.unmatched_pattern) == ("val_accuracy", "=([0-9.]+)")


@pytest.mark.parametrize("value", ["0.9", "nan"])
async def test_an_end_with_its_objective_tells_of_nothing(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, value: str
) -> None:
    metrics = {"accuracy": r"val_accuracy=(\S+)"}
    async with runner():
        key = await server.assign(
            assignment(
                f"print('val_accuracy={value}')", metrics=metrics, hyper_parameters=OBJECTIVE
            )
        )
        ended = await server.ended(key)
    assert not ended.HasField("objective_missing")


async def test_an_end_survives_that_its_log_is_gone(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = "import os; os.remove(os.environ['SAGEMAKER_BASE_DIR'] + '/../output.log')"
    async with runner():
        key = await server.assign(assignment(code, metrics=METRICS, hyper_parameters=OBJECTIVE))
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED
    assert not ended.HasField("objective_missing")
