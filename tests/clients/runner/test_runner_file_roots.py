"""Directories that ``file://`` URIs may lead to, links included."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter
from tests.clients.runner.fake_server import FakeServer
from tunesmith.file_uris import path_of_file_uri
from tunesmith.runner import RunnerSettings
from tunesmith.runner.errors import TrialFailure
from tunesmith.runner.file_roots import check_file_roots
from tunesmith.runner.locations import locate
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb


def channel(place: Path) -> definition_pb.Channel:
    made = definition_pb.Channel(channel_name="train")
    made.data_source.s3_data_source.s3_data_type = source_pb.S3_DATA_TYPE_S3_PREFIX
    made.data_source.s3_data_source.s3_uri = place.as_uri()
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a root with a link out of it, and with another that only looks so."""
    directory = tmp_path / "root"
    (directory / "data").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("k")
    (directory / "out").symlink_to(tmp_path / "secret")
    (directory / "within").symlink_to(directory / "data")
    (tmp_path / "alias").symlink_to(directory)
    return directory


def test_what_lies_below_a_root_is_taken_by_whatever_links(tmp_path: Path, root: Path) -> None:
    for place in (root, root / "data", root / "within", tmp_path / "alias" / "new" / "x"):
        assignment = pb.TrialAssignment(input_data_config=[channel(place)])
        assignment.output_data_config.s3_output_path = "s3://lab/out"
        check_file_roots(assignment, [root])
        check_file_roots(assignment, [tmp_path / "alias"])


def test_a_link_that_leads_out_is_refused_in_every_member(tmp_path: Path, root: Path) -> None:
    place = root / "out" / "key"
    output = definition_pb.OutputDataConfig(s3_output_path=place.as_uri())
    checkpoints = definition_pb.CheckpointConfig(s3_uri=place.as_uri())
    script = {"sagemaker_program": "a.py", "sagemaker_submit_directory": f'"{place.as_uri()}"'}
    for member, assignment in {
        "S3Uri of channel 'train'": pb.TrialAssignment(input_data_config=[channel(place)]),
        "S3OutputPath": pb.TrialAssignment(output_data_config=output),
        "CheckpointConfig.S3Uri": pb.TrialAssignment(checkpoint_config=checkpoints),
        "sagemaker_submit_directory": pb.TrialAssignment(hyper_parameters=script),
    }.items():
        with pytest.raises(
            TrialFailure, match=f"ClientError: {member} is .*links resolved: {root}"
        ):
            check_file_roots(assignment, [root])
        with pytest.raises(TrialFailure, match="links resolved: none"):
            check_file_roots(assignment, [])
        check_file_roots(assignment, None)
        check_file_roots(assignment, [tmp_path])


def test_links_that_lead_round_in_a_circle_are_refused_in_words(root: Path) -> None:
    (root / "round").symlink_to("round")
    assignment = pb.TrialAssignment(input_data_config=[channel(root / "missing" / "x")])
    assignment.output_data_config.s3_output_path = (root / "round" / "x").as_uri()
    try:
        (root / "round" / "x").resolve()
    except RuntimeError:
        refused = "ClientError: S3OutputPath is .*cannot be followed: its links lead round"
        with pytest.raises(TrialFailure, match=refused):
            check_file_roots(assignment, [root])
    else:
        # Later Pythons leave such a path as it is, and within the root it may be.
        check_file_roots(assignment, [root])


async def test_a_trial_is_not_begun_with_what_lies_elsewhere(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, root: Path
) -> None:
    trial = assignment("", input_data_config=[channel(root / "out")])
    trial.output_data_config.s3_output_path = (root / "models").as_uri()
    async with runner(file_roots=(root,)):
        ended = await server.ended(await server.assign(trial))
    assert ended.outcome == pb.TRIAL_OUTCOME_FAILED
    assert "this runner takes file:// URIs that lead below" in ended.failure_reason


def test_a_root_needs_an_absolute_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="file_roots has relative: write an absolute path"):
        RunnerSettings(
            server="localhost:1",
            data_dir=tmp_path,
            name="n",
            slots=1,
            file_roots=(Path("relative"),),
        )


@pytest.mark.parametrize(
    "uri", ["file:///a/.\t./b", "file:///a/%2E%2e/b", "file://localhost/a/../b"]
)
def test_a_way_up_is_seen_however_it_is_written(uri: str) -> None:
    path = path_of_file_uri(uri)
    assert path is not None
    assert ".." in path.parts
    assert Path(path) == locate(uri, member="S3Uri", buckets={})
