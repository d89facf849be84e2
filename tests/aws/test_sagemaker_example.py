"""``examples/sagemaker`` as its README runs it, with ports of the test's own."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aws.clients import binaries, run, variables
from tests.e2e.aws import sagemaker
from tests.e2e.harness import ServerProcess
from tests.project.repository import ROOT
from tests.s3 import CREDENTIALS, content_of

pytestmark = [pytest.mark.aws, pytest.mark.timeout(400)]

EXAMPLE = ROOT / "examples" / "sagemaker"


@pytest.fixture
def server(tmp_path: Path, s3_url: str) -> Iterator[ServerProcess]:
    text = (EXAMPLE / "tunesmith.toml").read_text(encoding="utf-8")
    assert text.count("http://127.0.0.1:9000") == 1
    config = tmp_path / "tunesmith.toml"
    config.write_text(text.replace("http://127.0.0.1:9000", s3_url), encoding="utf-8")
    # A numerical library's threads would be more than this machine has cores.
    environment = {**CREDENTIALS, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    server = ServerProcess(tmp_path / "data", config=config, environment=environment)
    try:
        yield server.start()
    finally:
        server.close()


def test_a_plain_script_of_the_sdk_tunes_to_its_end(
    server: ServerProcess, s3_url: str, s3: Any, tmp_path: Path
) -> None:
    environment = variables(tmp_path, sagemaker=server.http)
    environment["AWS_ENDPOINT_URL_S3"] = s3_url
    environment["SAGEMAKER_USER_CONFIG_OVERRIDE"] = str(EXAMPLE / "sagemaker.yaml")
    python = binaries("sdk-v2") / "python"
    output = run([python, EXAMPLE / "tune_digits.py"], environment, timeout_s=300)

    printed = dict(
        re.findall(r"^(best training job|model|hyperparameters): (.*)$", output, re.MULTILINE)
    )
    best = printed["best training job"]
    hyperparameters = ast.literal_eval(printed["hyperparameters"])
    assert hyperparameters["epochs"] == "10"
    assert hyperparameters["sagemaker_program"] == '"train.py"'
    assert 8 <= int(hyperparameters["hidden-units"]) <= 128
    assert hyperparameters["activation"] in ('"relu"', '"tanh"')

    client = sagemaker(server.http)
    name = best.rsplit("-", 2)[0]
    described = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    assert described["TrainingJobStatusCounters"]["Completed"] == 12
    value = described["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert value > 0.9
    row = rf"^\d+ +{name}-\d{{3}}-\w{{8}} +Completed +0\.\d+$"
    assert len(re.findall(row, output, re.MULTILINE)) == 12
    bucket, _, key = printed["model"].removeprefix("s3://").partition("/")
    assert list(content_of(s3, bucket, key)) == [key]


def test_the_training_script_runs_without_a_service(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    script = EXAMPLE / "source" / "train.py"
    words: list[str | Path] = [sys.executable, script, "--epochs", "2", "--model-dir", tmp_path]
    output = run(words, environment, timeout_s=60)
    assert len(re.findall(r"^epoch=\d validation:accuracy=0\.\d+$", output, re.MULTILINE)) == 2
    assert (tmp_path / "model.joblib").is_file()
