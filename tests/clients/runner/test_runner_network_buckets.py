"""Trials whose data and artifacts travel by the network, on a real runner with a real S3 beside it."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter, eventually
from tests.clients.runner.fake_server import FakeServer
from tests.s3 import CREDENTIALS, content_of
from tunesmith.runner import RunnerLimits, S3Endpoint
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

JOB = "job-001-0123abcd"


@dataclass(frozen=True)
class Lab:
    """A bucket, a client of its owner's, and how a runner reaches it."""

    s3: Any
    bucket: str
    buckets: dict[str, S3Endpoint]

    def content(self, prefix: str) -> dict[str, bytes]:
        return content_of(self.s3, self.bucket, prefix)


@pytest.fixture
def lab(s3_url: str, s3: Any, s3_bucket: str, s3_credentials: None) -> Lab:  # noqa: ARG001 - a runner looks for them
    reached = S3Endpoint(endpoint_url=s3_url, region="us-east-1")
    return Lab(s3, s3_bucket, {"*": reached})


def channel(uri: str) -> definition_pb.Channel:
    made = definition_pb.Channel(channel_name="train")
    made.data_source.s3_data_source.s3_data_type = source_pb.S3_DATA_TYPE_S3_PREFIX
    made.data_source.s3_data_source.s3_uri = uri
    return made


async def test_a_trial_goes_on_from_checkpoints_in_a_bucket_and_leaves_its_model_there(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    lab: Lab,
) -> None:
    lab.s3.put_object(Bucket=lab.bucket, Key="data/deep/a.csv", Body=b"7")
    lab.s3.put_object(Bucket=lab.bucket, Key=f"kept/{JOB}/epoch", Body=b"3")
    code = """
import json, os, pathlib
base = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'])
data = pathlib.Path(os.environ['SM_CHANNEL_TRAIN'], 'deep', 'a.csv').read_text()
epoch = int((base / 'checkpoints' / 'epoch').read_text())
(base / 'checkpoints' / 'epoch').write_text(str(epoch + 1))
(base / 'model' / 'weights').write_text(data)
(base / 'output' / 'data' / 'plot').write_text('plot')
print('env', json.dumps(dict(os.environ)))
"""
    place = f"s3://{lab.bucket}/models/{JOB}/output"
    async with runner(buckets=lab.buckets):
        for lease_token, compression, name in (
            (1, definition_pb.OUTPUT_COMPRESSION_TYPE_GZIP, "model.tar.gz"),
            (2, definition_pb.OUTPUT_COMPRESSION_TYPE_NONE, "model/"),
        ):
            trial = assignment(
                code,
                lease_token=lease_token,
                input_data_config=[channel(f"s3://{lab.bucket}/data")],
                checkpoint_config=definition_pb.CheckpointConfig(s3_uri=f"s3://{lab.bucket}/kept/"),
            )
            trial.output_data_config.s3_output_path = f"s3://{lab.bucket}/models/"
            trial.output_data_config.compression_type = compression
            trial.output_data_config.kms_key_id = "alias/models"
            key = await server.assign(trial)
            ended = await server.ended(key)
            assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED, ended.failure_reason
            assert ended.model_artifacts_uri == f"{place}/{name}"
    stored = lab.content("models/")
    for name in stored:
        head = lab.s3.head_object(Bucket=lab.bucket, Key=name)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/models")
    place = f"models/{JOB}/output"
    with tarfile.open(fileobj=BytesIO(stored.pop(f"{place}/model.tar.gz"))) as tar:
        assert tar.getnames() == ["weights"]
    with tarfile.open(fileobj=BytesIO(stored.pop(f"{place}/output.tar.gz"))) as tar:
        assert tar.getnames() == ["plot"]
    assert stored == {f"{place}/model/weights": b"7", f"{place}/data/plot": b"plot"}
    assert lab.content(f"kept/{JOB}/") == {f"kept/{JOB}/epoch": b"5"}
    (line,) = [line for line in server.lines(key) if line.startswith("env ")]
    assert not CREDENTIALS.keys() - {"AWS_EC2_METADATA_DISABLED"} & json.loads(line[4:]).keys()


async def test_checkpoints_reach_the_bucket_while_the_program_runs(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    lab: Lab,
) -> None:
    code = """
import os, pathlib, time
pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'], 'checkpoints', 'state').write_text('1')
time.sleep(60)
"""
    config = definition_pb.CheckpointConfig(s3_uri=f"s3://{lab.bucket}/kept")
    async with runner(buckets=lab.buckets, limits=RunnerLimits(checkpoint_s=0.05)):
        key = await server.assign(assignment(code, checkpoint_config=config))
        await eventually(lambda: lab.content(f"kept/{JOB}/"))
        await server.stop_trial(key)
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_STOPPED


async def test_a_model_that_cannot_be_stored_fails_its_trial_and_stays_on_the_host(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    lab: Lab,
    tmp_path: Path,
) -> None:
    code = """
import os, pathlib
pathlib.Path(os.environ['SM_MODEL_DIR'], 'weights').write_text('7')
print('ready')
gone = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'], 'go')
while not gone.exists(): pass
"""
    trial = assignment(code)
    trial.output_data_config.s3_output_path = f"s3://{lab.bucket}/models"
    ml = tmp_path / "runner" / "trials" / JOB / "1" / "ml"
    async with runner(buckets=lab.buckets):
        key = await server.assign(trial)
        await server.line(key, "ready")
        lab.s3.delete_bucket(Bucket=lab.bucket)
        (ml / "go").touch()
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_FAILED
    assert not ended.retryable
    said = ended.failure_reason
    assert said.startswith("ClientError: the artifacts could not be stored and stay in "), said
    assert "S3 says NoSuchBucket" in said
    assert (ml / "model" / "weights").read_text() == "7"


@pytest.mark.parametrize("member", ["output", "checkpoints"])
async def test_a_bucket_that_is_not_there_fails_its_trial_before_the_program(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    lab: Lab,
    member: str,
) -> None:
    uri = "s3://no.such.bucket/a"
    trial = assignment("print('ran')")
    if member == "output":
        trial.output_data_config.s3_output_path = uri
    else:
        trial.checkpoint_config.s3_uri = uri
    async with runner(buckets=lab.buckets):
        key = await server.assign(trial)
        ended = await server.ended(key)
    assert "there is no bucket 'no.such.bucket'" in ended.failure_reason
    assert pb.TRIAL_STAGE_TRAINING not in server.stages(key)
