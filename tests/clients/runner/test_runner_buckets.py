"""Directories that stand for buckets: ``s3://`` URIs on a runner that reaches no S3."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter
from tests.clients.runner.fake_server import FakeServer
from tunesmith.runner import RunnerSettings
from tunesmith.runner.errors import TrialFailure
from tunesmith.runner.locations import locate
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

JOB = "job-001-0123abcd"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    directory = tmp_path / "bucket"
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "a.csv").write_text("1")
    return directory


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("", ""),
        ("/", ""),
        ("/data", "data"),
        ("/data/", "data"),
        ("/a/b%20c?d#e", "a/b%20c?d#e"),
        ("/..a/.b", "..a/.b"),
    ],
)
def test_a_key_is_a_path_in_the_directory_as_it_is_written(
    bucket: Path, key: str, path: str
) -> None:
    found = locate(f"s3://lab{key}", member="S3Uri", buckets={"lab": bucket})
    assert found == bucket / path


@pytest.mark.parametrize(
    "key", ["/..", "/a/../../b", "/a//b", "//etc/passwd", "/./a", "/a\0b", "/a//"]
)
def test_a_key_that_is_no_path_within_is_refused(bucket: Path, key: str) -> None:
    with pytest.raises(
        TrialFailure, match=r"ClientError: S3Uri is .*the key is no path in the bucket"
    ):
        locate(f"s3://lab{key}", member="S3Uri", buckets={"lab": bucket})


@pytest.mark.parametrize("uri", ["s3://MyBucket/k", "s3://b/k", "s3://a_b/k", "s3://", "s3:///key"])
def test_what_no_bucket_can_be_called_is_refused_with_the_names_that_it_can_have(
    bucket: Path, uri: str
) -> None:
    with pytest.raises(TrialFailure, match="of no bucket, which has 3 to 63 small letters") as told:
        locate(uri, member="S3Uri", buckets={"lab": bucket})
    assert "It has lab." in told.value.reason
    assert "Give it one" not in told.value.reason


@pytest.mark.parametrize("uri", ["s3://other/key", "s3://other"])
def test_a_bucket_without_a_directory_is_refused_with_how_to_give_it_one(
    bucket: Path, uri: str
) -> None:
    with pytest.raises(TrialFailure, match=r"S3Uri is .*It has lab\. Give it one: .*--bucket"):
        locate(uri, member="S3Uri", buckets={"lab": bucket})


def test_a_bucket_whose_directory_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(TrialFailure, match="gone, which stands for the bucket, is no directory"):
        locate("s3://lab/key", member="S3Uri", buckets={"lab": tmp_path / "gone"})
    assert not (tmp_path / "gone").exists()


def test_a_bucket_needs_an_absolute_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'lab' is relative: write an absolute path"):
        RunnerSettings(
            server="localhost:1",
            data_dir=tmp_path,
            name="n",
            slots=1,
            buckets={"lab": Path("relative")},
        )


def channel(uri: str) -> definition_pb.Channel:
    made = definition_pb.Channel(channel_name="train")
    made.data_source.s3_data_source.s3_data_type = source_pb.S3_DATA_TYPE_S3_PREFIX
    made.data_source.s3_data_source.s3_uri = uri
    return made


async def test_a_trial_reads_and_writes_buckets(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, bucket: Path
) -> None:
    code = """
import os, pathlib
base = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'])
data = pathlib.Path(os.environ['SM_CHANNEL_TRAIN'], 'a.csv').read_text()
(base / 'model' / 'weights').write_text(data)
(base / 'checkpoints' / 'epoch-1').write_text(data)
"""
    trial = assignment(
        code,
        input_data_config=[channel("s3://lab/data")],
        checkpoint_config=definition_pb.CheckpointConfig(s3_uri="s3://lab/checkpoints/"),
    )
    trial.output_data_config.s3_output_path = "s3://lab/models/"
    async with runner(buckets={"lab": bucket}):
        ended = await server.ended(await server.assign(trial))
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED, ended.failure_reason
    assert ended.model_artifacts_uri == f"s3://lab/models/{JOB}/output/model.tar.gz"
    with tarfile.open(bucket / "models" / JOB / "output" / "model.tar.gz") as tar:
        assert tar.getnames() == ["weights"]
    assert (bucket / "checkpoints" / JOB / "epoch-1").read_text() == "1"


async def test_a_trial_of_an_unknown_bucket_fails_before_its_program(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, bucket: Path
) -> None:
    trial = assignment("print('ran')", input_data_config=[channel("s3://other/data")])
    async with runner(buckets={"lab": bucket}):
        key = await server.assign(trial)
        ended = await server.ended(key)
    assert ended.failure_reason.startswith("ClientError: S3Uri of channel 'train' is")
    assert pb.TRIAL_STAGE_TRAINING not in server.stages(key)
