"""Channels in, artifacts out, and the disk between them."""

from __future__ import annotations

import os
import socket
import tarfile
from pathlib import Path

import pytest

from tunesmith.runner import artifacts, channels, contract, disk
from tunesmith.runner.directory_storage import copy_tree
from tunesmith.runner.errors import TrialFailure
from tunesmith.runner.locations import locate
from tunesmith.runner.threads import Wanted, WorkUnwanted
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

GZIP_UNSAID = definition_pb.OUTPUT_COMPRESSION_TYPE_UNSPECIFIED


def nothing(_: int = 0) -> None:
    """Never object."""


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///data/a", "/data/a"),
        ("file://localhost/data/a/", "/data/a"),
        ("file:///data/a%20b%23", "/data/a b#"),
    ],
)
def test_a_file_uri_names_a_path(uri: str, path: str) -> None:
    assert locate(uri, member="S3Uri", buckets={}) == Path(path)


@pytest.mark.parametrize(
    "uri",
    ["https://h/p", "/data", "file://host/data", "file:data", "file:///a?b", "file:///a#b",
     "file:///a%00", "", "file://[/x"],
)  # fmt: skip
def test_another_uri_is_refused_by_its_members_name(uri: str) -> None:
    with pytest.raises(TrialFailure, match=r"ClientError: S3Uri is .*takes file:///absolute/path"):
        locate(uri, member="S3Uri", buckets={})


def channel(**members: object) -> definition_pb.Channel:
    made = definition_pb.Channel(channel_name="train")
    made.data_source.s3_data_source.s3_data_type = source_pb.S3_DATA_TYPE_S3_PREFIX
    made.data_source.s3_data_source.s3_uri = "file:///data"
    for name, value in members.items():
        setattr(made, name, value)
    return made


FILE = definition_pb.TRAINING_INPUT_MODE_FILE
UNSPECIFIED = definition_pb.TRAINING_INPUT_MODE_UNSPECIFIED


@pytest.mark.parametrize("mode", [FILE, UNSPECIFIED])
def test_a_plain_file_channel_is_taken(
    source: Path, target: Path, mode: definition_pb.TrainingInputMode.ValueType
) -> None:
    made = channel()
    made.data_source.s3_data_source.s3_uri = source.as_uri()
    channels.source_of_channel(made, mode, buckets={}).fetch_tree(target, check=nothing)
    assert (target / "a.csv").read_text() == "a"


def test_what_is_more_than_plain_is_refused_by_name() -> None:
    sharded, manifest, shuffled, mounted = channel(), channel(), channel(), channel()
    sharded.data_source.s3_data_source.s3_data_distribution_type = (
        source_pb.S3_DATA_DISTRIBUTION_SHARDED_BY_S3_KEY
    )
    manifest.data_source.s3_data_source.s3_data_type = source_pb.S3_DATA_TYPE_MANIFEST_FILE
    shuffled.shuffle_config.seed = 1
    mounted.data_source.ClearField("s3_data_source")
    for made, mode, rule in (
        (channel(input_mode=definition_pb.TRAINING_INPUT_MODE_PIPE), FILE, "InputMode: only File"),
        (channel(), definition_pb.TRAINING_INPUT_MODE_FAST_FILE, "InputMode: only File"),
        (channel(compression_type=definition_pb.COMPRESSION_TYPE_GZIP), FILE, "CompressionType"),
        (channel(record_wrapper_type=definition_pb.RECORD_WRAPPER_RECORD_IO), FILE, "RecordWrap"),
        (sharded, FILE, "S3DataDistributionType"),
        (manifest, FILE, "S3DataType: only S3Prefix"),
        (shuffled, FILE, "ShuffleConfig"),
        (mounted, FILE, "DataSource"),
    ):
        with pytest.raises(TrialFailure, match=f"ClientError: channel 'train' .*{rule}"):
            channels.source_of_channel(made, mode, buckets={})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "a.csv").write_text("a")
    (source / "deep" / "er" / "b.csv").write_text("b")
    return source


@pytest.fixture
def target(tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.mkdir()
    return target


def test_a_tree_is_copied_with_its_inner_links(source: Path, target: Path) -> None:
    (source / "deep" / "link").symlink_to(source / "a.csv")
    (source / "deep" / "round").symlink_to("..")
    copy_tree(source, target, check=nothing)
    assert (target / "deep" / "er" / "b.csv").read_text() == "b"
    assert (target / "deep" / "link").resolve() == target / "a.csv"
    assert (target / "deep" / "round").resolve() == target


def test_a_copy_is_the_trials_own(source: Path, target: Path) -> None:
    (source / "a.csv").chmod(0o444)
    copy_tree(source, target, check=nothing)
    (target / "a.csv").write_text("changed")
    assert (source / "a.csv").read_text() == "a"


def test_a_single_file_is_copied_under_its_name(source: Path, target: Path) -> None:
    copy_tree(source / "a.csv", target, check=nothing)
    assert [path.name for path in target.iterdir()] == ["a.csv"]


def test_a_link_that_leads_out_is_refused(source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (source / "zlink").symlink_to("../secret")
    with pytest.raises(TrialFailure, match=r"ClientError: .*secret, which is outside"):
        copy_tree(source, target, check=nothing)


def test_what_is_no_file_is_refused(source: Path, target: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(TrialFailure, match=r"ClientError: .*pipe is no file"):
        copy_tree(source, target, check=nothing)
    with pytest.raises(TrialFailure, match="pipe is neither a file nor a directory"):
        copy_tree(source / "pipe", target, check=nothing)


def test_a_copy_ends_when_it_is_no_longer_wanted(source: Path, target: Path) -> None:
    wanted = Wanted()
    wanted.end()
    with pytest.raises(WorkUnwanted):
        copy_tree(source, target, check=lambda _: wanted.check())


def test_every_byte_is_counted(source: Path, target: Path) -> None:
    counted: list[int] = []
    (source / "a.csv").write_bytes(b"x" * 10_000_000)
    copy_tree(source, target, check=counted.append)
    assert sum(counted) == 10_000_001
    assert max(counted) < 5_000_000


@pytest.fixture
def tree(tmp_path: Path) -> contract.TrialTree:
    tree = contract.TrialTree(root=tmp_path / "trial")
    (tree.model / "sub").mkdir(parents=True)
    tree.output_data.mkdir(parents=True)
    (tree.model / "weights.bin").write_bytes(os.urandom(100_000))
    (tree.model / "sub" / "vocabulary").write_text("v")
    return tree


def place(
    tmp_path: Path, compression: definition_pb.OutputCompressionType.ValueType = GZIP_UNSAID
) -> artifacts.Destination:
    config = definition_pb.OutputDataConfig(
        s3_output_path=(tmp_path / "out put").as_uri() + "/", compression_type=compression
    )
    return artifacts.destination(config, "job-1", buckets={})


def unpacked(archive: Path, into: Path) -> Path:
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(into, filter="data")
    return into


def test_a_model_unpacks_to_what_it_was(tree: contract.TrialTree, tmp_path: Path) -> None:
    uri = artifacts.store_artifacts(tree, place(tmp_path), check=nothing)
    output = tmp_path / "out put" / "job-1" / "output"
    assert uri == (output / "model.tar.gz").as_uri()
    assert [path.name for path in output.iterdir()] == ["model.tar.gz"]
    model = unpacked(output / "model.tar.gz", tmp_path / "unpacked")
    assert (model / "weights.bin").read_bytes() == (tree.model / "weights.bin").read_bytes()
    assert (model / "sub" / "vocabulary").read_text() == "v"
    with tarfile.open(output / "model.tar.gz") as tar:
        assert tar.getnames() == ["sub", "weights.bin", "sub/vocabulary"]
        assert {(entry.uid, entry.uname) for entry in tar} == {(0, "")}


def test_further_output_is_packed_beside_the_model(
    tree: contract.TrialTree, tmp_path: Path
) -> None:
    (tree.output_data / "plot.svg").write_text("<svg/>")
    artifacts.store_artifacts(tree, place(tmp_path), check=nothing)
    with tarfile.open(tmp_path / "out put" / "job-1" / "output" / "output.tar.gz") as tar:
        assert tar.getnames() == ["plot.svg"]


def test_an_empty_model_is_an_empty_archive(tmp_path: Path) -> None:
    tree = contract.TrialTree(root=tmp_path / "trial")
    tree.model.mkdir(parents=True)
    tree.output_data.mkdir(parents=True)
    artifacts.store_artifacts(tree, place(tmp_path), check=nothing)
    with tarfile.open(tmp_path / "out put" / "job-1" / "output" / "model.tar.gz") as tar:
        assert tar.getnames() == []


def test_links_are_stored_so_that_they_hold_elsewhere(
    tree: contract.TrialTree, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("from a cache")
    (tree.model / "absolute").symlink_to(tree.model / "sub" / "vocabulary")
    (tree.model / "outside").symlink_to(tmp_path / "cache")
    (tree.model / "broken").symlink_to("nowhere")
    os.link(tree.model / "weights.bin", tree.model / "twin.bin")
    with socket.socket(socket.AF_UNIX) as unix:
        directory = os.open(tree.model, os.O_RDONLY)
        unix.bind(f"/proc/self/fd/{directory}/socket")
        os.close(directory)
        for compression in (GZIP_UNSAID, definition_pb.OUTPUT_COMPRESSION_TYPE_NONE):
            destination = place(tmp_path, compression)
            artifacts.store_artifacts(tree, destination, check=nothing)
    output = tmp_path / "out put" / "job-1" / "output"
    packed = unpacked(output / "model.tar.gz", tmp_path / "unpacked")
    for model in (packed, output / "model"):
        names = ["absolute", "outside", "sub", "twin.bin", "weights.bin"]
        assert sorted(path.name for path in model.iterdir()) == names
        assert str((model / "absolute").readlink()) == "sub/vocabulary"
        assert not (model / "outside").is_symlink()
        assert (model / "outside").read_text() == "from a cache"
        assert (model / "twin.bin").read_bytes() == (tree.model / "weights.bin").read_bytes()


def test_without_compression_the_files_themselves_are_stored_and_replaced(
    tree: contract.TrialTree, tmp_path: Path
) -> None:
    (tree.output_data / "plot.svg").write_text("<svg/>")
    destination = place(tmp_path, definition_pb.OUTPUT_COMPRESSION_TYPE_NONE)
    output = tmp_path / "out put" / "job-1" / "output"
    (output / "model").mkdir(parents=True)
    (output / "model" / "of-an-earlier-attempt").touch()
    assert (
        artifacts.store_artifacts(tree, destination, check=nothing) == f"{destination.uri}/model/"
    )
    assert sorted(path.name for path in output.iterdir()) == ["data", "model"]
    assert sorted(path.name for path in (output / "model").iterdir()) == ["sub", "weights.bin"]
    assert (output / "data" / "plot.svg").read_text() == "<svg/>"


def test_an_unfinished_archive_is_never_seen(tree: contract.TrialTree, tmp_path: Path) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise WorkUnwanted

    with pytest.raises(WorkUnwanted):
        artifacts.store_artifacts(tree, place(tmp_path), check=check)
    assert list((tmp_path / "out put" / "job-1" / "output").iterdir()) == []


def test_an_output_path_that_cannot_be_written_is_refused_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = definition_pb.OutputDataConfig(s3_output_path=(tmp_path / "file" / "x").as_uri())
    with pytest.raises(TrialFailure, match=r"ClientError: S3OutputPath .*file is no directory"):
        artifacts.destination(config, "job-1", buckets={})


def test_a_key_is_refused(tmp_path: Path) -> None:
    config = definition_pb.OutputDataConfig(s3_output_path=tmp_path.as_uri(), kms_key_id="k")
    with pytest.raises(TrialFailure, match="ClientError: KmsKeyId"):
        artifacts.destination(config, "job-1", buckets={})


def test_disk_use_counts_blocks_and_twins_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    base = disk.used_bytes(tmp_path, check=nothing)
    (tmp_path / "sub" / "one").write_bytes(b"x" * 1_000_000)
    os.link(tmp_path / "sub" / "one", tmp_path / "twin")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)
    (tmp_path / "link").symlink_to("/usr")
    assert 1_000_000 <= disk.used_bytes(tmp_path, check=nothing) - base < 1_100_000


def test_what_is_not_there_uses_nothing(tmp_path: Path) -> None:
    assert disk.used_bytes(tmp_path / "nowhere", check=nothing) == 0
