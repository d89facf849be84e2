"""A request with ``s3://`` paths, by boto3, at a site that reaches an S3 over the network."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.aws import SITE, completed, sagemaker, tuning_job
from tests.e2e.harness import ServerProcess
from tests.s3 import CREDENTIALS, content_of

pytestmark = pytest.mark.timeout(120)

SCRIPT = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("-x", type=float)
parser.add_argument("--epochs", type=int)
parser.add_argument("--train", default=os.environ["SM_CHANNEL_TRAIN"])
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
arguments = parser.parse_args()
target = float(pathlib.Path(arguments.train, "deep", "target.txt").read_text())
pathlib.Path(arguments.model_dir, "x").write_text(str(arguments.x))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "environment.json").write_text(
    json.dumps(dict(os.environ)))
print(f"objective={(arguments.x - target) ** 2};")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, s3_url: str) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("network-buckets")
    config = folder / "tunesmith.toml"
    site = SITE.format(command=json.dumps(["python3"]))
    config.write_text(f'{site}\n[s3]\nendpoint_url = "{s3_url}"\n', encoding="utf-8")
    server = ServerProcess(folder / "data", config=config, environment=CREDENTIALS)
    try:
        yield server.start()
    finally:
        server.close()


def archive_of(**files: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{name}.py")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def unpacked(archive: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if (file := tar.extractfile(member)) is not None:
                files[member.name] = file.read()
    return files


def test_a_script_its_data_and_its_model_travel_by_the_network(
    site: ServerProcess, s3: Any, s3_bucket: str, tmp_path: Path
) -> None:
    s3.put_object(Bucket=s3_bucket, Key="code/sourcedir.tar.gz", Body=archive_of(train=SCRIPT))
    s3.put_object(Bucket=s3_bucket, Key="data/train/deep/target.txt", Body=b"0.3")
    client: Any = sagemaker(site.http)
    request = tuning_job("Network-1", tmp_path, image=True, training_jobs=2)
    definition = request["TrainingJobDefinition"]
    definition["AlgorithmSpecification"]["TrainingImage"] = "registry.example.com/sklearn:1"
    definition["OutputDataConfig"]["S3OutputPath"] = f"s3://{s3_bucket}/models/"
    definition["InputDataConfig"] = [
        {
            "ChannelName": "train",
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": f"s3://{s3_bucket}/data/train",
                    "S3DataDistributionType": "FullyReplicated",
                }
            },
        }
    ]
    definition["StaticHyperParameters"] |= {
        "sagemaker_program": '"train.py"',
        "sagemaker_submit_directory": f'"s3://{s3_bucket}/code/sourcedir.tar.gz"',
    }
    best = completed(client, request)["BestTrainingJob"]
    name = best["TrainingJobName"]
    x = float(best["TunedHyperParameters"]["x"])
    objective = best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert objective == pytest.approx((x - 0.3) ** 2, rel=1e-5)

    described = client.describe_training_job(TrainingJobName=name)
    key = f"models/{name}/output/model.tar.gz"
    assert described["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{s3_bucket}/{key}"
    stored = content_of(s3, s3_bucket, "models/")
    assert len(stored) == 4, "a model and further output of each training job, and nothing else"
    assert unpacked(stored[key]) == {"x": str(x).encode()}

    output = unpacked(stored[f"models/{name}/output/output.tar.gz"])
    environment = json.loads(output["environment.json"])
    assert CREDENTIALS.keys() & environment.keys() == {"AWS_EC2_METADATA_DISABLED"}
    secret = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
    assert secret not in site.log_text()
    for path in site.data_dir.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_a_runner_that_logs_everything_logs_no_secret(
    s3_url: str, s3_bucket: str, tmp_path: Path
) -> None:
    code = f"""
import logging
from tunesmith.runner.s3_client import S3Connection, S3Endpoint
from tunesmith_server.cli.runner import set_up_log
set_up_log("debug")
client = S3Connection(S3Endpoint(endpoint_url={s3_url!r}, region="us-east-1")).client()
client.list_objects_v2(Bucket={s3_bucket!r})
logging.getLogger("tunesmith").debug("done")
"""
    secret = {"AWS_SESSION_TOKEN": "session-token-of-the-runner"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | CREDENTIALS | secret,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=tmp_path,
    )
    assert "DEBUG tunesmith: done" in done.stderr
    for value in (*secret.values(), CREDENTIALS["AWS_SECRET_ACCESS_KEY"], "Signature="):
        assert value not in done.stderr
