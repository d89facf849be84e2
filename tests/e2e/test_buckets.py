"""A request with ``s3://`` paths, by boto3, at a site that has directories for the buckets."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.aws import SITE, completed, sagemaker, tuning_job
from tests.e2e.harness import ServerProcess
from tests.e2e.jobs import PYTHON, QUADRATIC

pytestmark = pytest.mark.timeout(120)

_BUCKETS = '\n[buckets."lab.models"]\npath = "models"\n'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "models").mkdir()
    (folder / "train.py").write_text(QUADRATIC, encoding="utf-8")
    config = folder / "tunesmith.toml"
    command = json.dumps([*PYTHON, "./train.py"])
    config.write_text(SITE.format(command=command) + _BUCKETS, encoding="utf-8")
    server = ServerProcess(folder / "data", config=config)
    try:
        yield server.start()
    finally:
        server.close()


SCRIPT = """
import argparse, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("-x", type=float)
parser.add_argument("--epochs", type=int)
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
arguments = parser.parse_args()
pathlib.Path(arguments.model_dir, "x").write_text(str(arguments.x))
print(f"objective={(arguments.x - 0.3) ** 2};")
"""


def test_models_go_to_the_directory_of_their_bucket(site: ServerProcess, tmp_path: Path) -> None:
    client: Any = sagemaker(site.http)
    request = tuning_job("Buckets-1", tmp_path)
    request["TrainingJobDefinition"]["OutputDataConfig"]["S3OutputPath"] = "s3://lab.models/tuned"
    best = completed(client, request)["BestTrainingJob"]["TrainingJobName"]
    training_job = client.describe_training_job(TrainingJobName=best)
    key = f"tuned/{best}/output/model.tar.gz"
    assert training_job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://lab.models/{key}"
    assert (site.data_dir.parent / "models" / key).is_file()


def test_a_script_in_a_bucket_runs_as_an_estimator_in_script_mode_asks(
    site: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    with tarfile.open(site.data_dir.parent / "models" / "sourcedir.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "train.py", arcname="train.py")
    client: Any = sagemaker(site.http)
    request = tuning_job("Script-1", tmp_path, image=True)
    definition = request["TrainingJobDefinition"]
    definition["AlgorithmSpecification"]["TrainingImage"] = "registry.example.com/sklearn:1"
    definition["OutputDataConfig"]["S3OutputPath"] = "s3://lab.models/scripts"
    definition["StaticHyperParameters"] |= {
        "sagemaker_container_log_level": "20",
        "sagemaker_job_name": '"sklearn-2026-11-28"',
        "sagemaker_program": '"train.py"',
        "sagemaker_region": '"eu-central-1"',
        "sagemaker_submit_directory": '"s3://lab.models/sourcedir.tar.gz"',
    }
    best = completed(client, request)["BestTrainingJob"]
    model = f"scripts/{best['TrainingJobName']}/output/model.tar.gz"
    with tarfile.open(site.data_dir.parent / "models" / model) as tar:
        content = tar.extractfile("x")
        assert content is not None
        assert content.read().decode() == best["TunedHyperParameters"]["x"]
