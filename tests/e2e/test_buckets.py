"""A request with ``s3://`` paths, by boto3, at a site that has directories for the buckets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.aws import SITE, sagemaker, tuning_job
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


def test_models_go_to_the_directory_of_their_bucket(site: ServerProcess, tmp_path: Path) -> None:
    client: Any = sagemaker(site.http)
    request = tuning_job("Buckets-1", tmp_path)
    request["TrainingJobDefinition"]["OutputDataConfig"]["S3OutputPath"] = "s3://lab.models/tuned"
    client.create_hyper_parameter_tuning_job(**request)
    described: dict[str, Any] = {}
    deadline = time.monotonic() + 90
    while described.get("HyperParameterTuningJobStatus") != "Completed":
        assert time.monotonic() < deadline, described
        time.sleep(0.1)
        described = client.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName="Buckets-1"
        )
    best = described["BestTrainingJob"]["TrainingJobName"]
    training_job = client.describe_training_job(TrainingJobName=best)
    key = f"tuned/{best}/output/model.tar.gz"
    assert training_job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://lab.models/{key}"
    assert (site.data_dir.parent / "models" / key).is_file()
