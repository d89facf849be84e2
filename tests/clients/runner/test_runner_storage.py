"""One suite for both kinds of places: a directory, and keys of a bucket over the network."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest

from tests.s3 import content_of
from tunesmith.runner.errors import PATH_MISTAKES, TrialFailure
from tunesmith.runner.locations import Buckets
from tunesmith.runner.s3_client import S3Connection, S3Endpoint, S3Failure, S3Patience
from tunesmith.runner.storage import Storage, storage_of_uri
from tunesmith.runner.threads import Wanted, WorkUnwanted

MIB = 1024 * 1024
IMPATIENT = S3Patience(reading_s=0.0, storing_s=0.0)


def nothing(_: int) -> None:
    """Never object."""


class Bucket:
    """A bucket of one kind or the other, as its owner sees it."""

    def __init__(self, buckets: Buckets, name: str) -> None:
        self.buckets = buckets
        self.name = name

    def at(self, key: str = "") -> Storage:
        uri = f"s3://{self.name}/{key}"
        return storage_of_uri(uri, member="S3Uri", buckets=self.buckets)

    def put(self, files: Mapping[str, bytes]) -> None:
        raise NotImplementedError

    def content(self) -> dict[str, bytes]:
        raise NotImplementedError


class DirectoryBucket(Bucket):
    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        super().__init__({"lab": directory}, "lab")
        self.directory = directory

    def put(self, files: Mapping[str, bytes]) -> None:
        for key, content in files.items():
            path = self.directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def content(self) -> dict[str, bytes]:
        found = (path for path in self.directory.rglob("*") if path.is_file())
        return {str(path.relative_to(self.directory)): path.read_bytes() for path in found}


class NetworkBucket(Bucket):
    def __init__(self, connection: S3Connection, client: Any, name: str) -> None:
        super().__init__({"*": connection}, name)
        self.client = client

    def put(self, files: Mapping[str, bytes]) -> None:
        for key, content in files.items():
            self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def content(self) -> dict[str, bytes]:
        return content_of(self.client, self.name)


@pytest.fixture
def network(s3: Any, s3_bucket: str, s3_connection: S3Connection) -> NetworkBucket:
    return NetworkBucket(s3_connection, s3, s3_bucket)


@pytest.fixture(params=["directory", "network"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    if request.param == "directory":
        return DirectoryBucket(tmp_path / "bucket")
    found: NetworkBucket = request.getfixturevalue("network")
    return found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "target"
    directory.mkdir()
    return directory


def tree_of(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


@pytest.mark.parametrize("uri_key", ["data", "data/"])
def test_all_below_a_key_is_fetched_and_nothing_beside_it(
    bucket: Bucket, target: Path, uri_key: str
) -> None:
    files = {f"part-{number}.csv": b"%d" % number for number in range(20)}
    bucket.put({f"data/deep/{name}": content for name, content in files.items()})
    bucket.put({"data/a.csv": b"a", "data-old/b.csv": b"b", "data.csv": b"c"})
    bucket.at(uri_key).fetch_tree(target, check=nothing)
    deep = {f"deep/{name}": content for name, content in files.items()}
    assert tree_of(target) == {"a.csv": b"a", **deep}


def test_a_whole_bucket_is_fetched(bucket: Bucket, target: Path) -> None:
    bucket.put({"a": b"1", "b/c": b"2"})
    bucket.at().fetch_tree(target, check=nothing)
    assert tree_of(target) == {"a": b"1", "b/c": b"2"}


def test_one_file_is_fetched_under_its_name(bucket: Bucket, target: Path) -> None:
    bucket.put({"data/a.csv": b"a", "data/a.csv.old": b"b"})
    bucket.at("data/a.csv").fetch_tree(target, check=nothing)
    assert tree_of(target) == {"a.csv": b"a"}


@pytest.mark.parametrize("key", ["none", "data/a", "data/a.csv/b"])
def test_a_prefix_that_ends_within_a_name_finds_nothing(
    bucket: Bucket, target: Path, key: str
) -> None:
    bucket.put({"data/a.csv": b"a"})
    with pytest.raises(TrialFailure, match=r"ClientError: cannot read ") as raised:
        bucket.at(key).fetch_tree(target, check=nothing)
    assert not raised.value.retryable
    assert tree_of(target) == {}


def test_keys_that_begin_as_a_prefix_does_are_named(network: NetworkBucket, target: Path) -> None:
    network.put({"data/train1": b"1", "data/train2": b"2"})
    with pytest.raises(TrialFailure, match=r"ClientError: .*Keys begin so, as 'data/train1' does"):
        network.at("data/train").fetch_tree(target, check=nothing)


@pytest.mark.parametrize("key", ["f" * 300, "f" * 300 + "/a"])
def test_a_key_that_is_too_long_for_a_file_is_the_requests_mistake(
    network: NetworkBucket, target: Path, key: str
) -> None:
    network.put({f"data/{key}": b"x"})
    with pytest.raises(TrialFailure, match=r"ClientError: .* can be no file here: File name too"):
        network.at("data").fetch_tree(target, check=nothing)


def test_every_byte_of_a_large_file_is_counted(bucket: Bucket, target: Path) -> None:
    bucket.put({"data/large": b"x" * (9 * MIB), "data/small": b"y"})
    counted: list[int] = []
    bucket.at("data").fetch_tree(target, check=counted.append)
    assert sum(counted) == 9 * MIB + 1
    assert max(counted) < 5 * MIB
    assert (target / "large").read_bytes() == b"x" * (9 * MIB)


def test_fetching_ends_when_it_is_no_longer_wanted(bucket: Bucket, target: Path) -> None:
    bucket.put({f"data/{number}": b"x" * 100_000 for number in range(30)})
    wanted = Wanted()

    def check(count: int) -> None:
        if count:
            wanted.end()
        wanted.check()

    with pytest.raises(WorkUnwanted):
        bucket.at("data").fetch_tree(target, check=check)
    assert len(tree_of(target)) < 30


def test_an_archive_is_opened_and_leaves_nothing_beside_it(bucket: Bucket, target: Path) -> None:
    bucket.put({"a.tar.gz": b"archive"})
    with bucket.at("a.tar.gz").opened(scratch=target, check=nothing) as file:
        assert list(target.iterdir()) == []
        assert file.read() == b"archive"
    with (
        pytest.raises(TrialFailure, match=r"ClientError: cannot read s3://.*/b\.tar\.gz"),
        bucket.at("b.tar.gz").opened(scratch=target, check=nothing),
    ):
        pass


def _writes(content: bytes) -> Callable[[IO[bytes]], None]:
    def write(file: IO[bytes]) -> None:
        file.write(content)

    return write


def test_a_file_is_stored_whole_and_replaces_what_was_there(bucket: Bucket, target: Path) -> None:
    place = bucket.at("models/job/output")
    # Of two parts on the network, the second one smaller.
    for content in (b"first", b"second" * MIB + os.urandom(3 * MIB)):
        place.store_file("model.tar.gz", _writes(content), scratch=target, check=nothing)
        assert bucket.content() == {"models/job/output/model.tar.gz": content}
    assert list(target.iterdir()) == []


def test_a_file_that_cannot_be_written_to_its_end_is_not_stored(
    bucket: Bucket, target: Path
) -> None:
    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(5, "the disk is broken")

    with pytest.raises(OSError, match="the disk is broken"):
        bucket.at("models").store_file("model.tar.gz", write, scratch=target, check=nothing)
    assert bucket.content() == {}


def test_storing_ends_when_it_is_no_longer_wanted(bucket: Bucket, target: Path) -> None:
    wanted = Wanted()
    wanted.end()

    def check(_: int) -> None:
        wanted.check()

    place = bucket.at("models")
    with pytest.raises(WorkUnwanted):
        place.store_file("model.tar.gz", _writes(b"x" * MIB), scratch=target, check=check)
    (target / "a").write_bytes(b"a")
    with pytest.raises(WorkUnwanted):
        place.store_tree("model", target, check=check)
    assert bucket.content() == {}


def test_a_tree_takes_the_place_of_what_was_there(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put({"out/model/of-an-earlier-attempt": b"old", "out/model-2/a": b"other"})
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a").write_bytes(b"a")
    (source / "deep" / "b").write_bytes(b"b")
    (tmp_path / "outside").write_bytes(b"from a cache")
    (source / "link").symlink_to(tmp_path / "outside")
    (source / "broken").symlink_to("nowhere")
    bucket.at("out").store_tree("model", source, check=nothing)
    assert bucket.content() == {
        "out/model/a": b"a",
        "out/model/deep/b": b"b",
        "out/model/link": b"from a cache",
        "out/model-2/a": b"other",
    }


def test_a_place_is_looked_at_beforehand(bucket: Bucket) -> None:
    bucket.at("models").check_writable("S3OutputPath")


def test_a_bucket_that_is_not_there_is_named_beforehand(network: NetworkBucket) -> None:
    place = storage_of_uri("s3://no.such.bucket/a", member="M", buckets=network.buckets)
    with pytest.raises(TrialFailure, match=r"ClientError: S3OutputPath is .*there is no bucket"):
        place.check_writable("S3OutputPath")


def test_storing_to_a_bucket_that_is_not_there_is_the_requests_mistake(
    network: NetworkBucket, target: Path
) -> None:
    place = storage_of_uri("s3://no.such.bucket/a", member="M", buckets=network.buckets)
    with pytest.raises(S3Failure, match="S3 says NoSuchBucket") as raised:
        place.store_file("m", _writes(b"x"), scratch=target, check=nothing)
    assert raised.value.errno in PATH_MISTAKES


@pytest.mark.parametrize(
    "keys",
    [
        ["data/../a"],
        ["data/a//b"],
        ["data//etc/passwd"],
        ["data/./a"],
        ["data/a", "data/a/b"],
        ["data/dir/"],
    ],
)
def test_keys_that_can_be_no_paths_are_refused(
    network: NetworkBucket, target: Path, keys: list[str]
) -> None:
    network.put(dict.fromkeys(keys, b"x"))
    before = set(target.parent.rglob("*"))
    with pytest.raises(TrialFailure, match=r"ClientError: .*key"):
        network.at("data").fetch_tree(target, check=nothing)
    assert {path for path in target.parent.rglob("*") if target not in path.parents} <= before


def test_objects_that_stand_for_directories_are_made_ones(
    network: NetworkBucket, target: Path
) -> None:
    network.put({"data/": b"", "data/empty/": b"", "data/full/": b"", "data/full/a": b"a"})
    network.at("data").fetch_tree(target, check=nothing)
    assert tree_of(target) == {"full/a": b"a"}
    assert (target / "empty").is_dir()


def test_more_keys_than_one_page_has_are_fetched_and_deleted(
    network: NetworkBucket, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.runner.s3_storage._KEYS", 3)
    network.put({f"data/{number}": b"%d" % number for number in range(10)})
    network.at("data").fetch_tree(target, check=nothing)
    assert tree_of(target) == {str(number): b"%d" % number for number in range(10)}
    for number in range(9):
        (target / str(number)).unlink()
    network.at().store_tree("data", target, check=nothing)
    assert network.content() == {"data/9": b"9"}


def test_an_endpoint_that_is_not_there_is_the_hosts_trouble(
    s3_credentials: None,  # noqa: ARG001 - they are found before anything is sent
    tmp_path: Path,
) -> None:
    endpoint = S3Endpoint(endpoint_url="http://127.0.0.1:1", region="r")
    with closing(S3Connection(endpoint, patience=IMPATIENT)) as away:
        place = storage_of_uri("s3://lab/a", member="M", buckets={"lab": away})
        with pytest.raises(
            TrialFailure, match=r"InternalServerError: .*S3 cannot be reached"
        ) as raised:
            place.fetch_tree(tmp_path, check=nothing)
    assert raised.value.retryable


@pytest.fixture
def silent() -> Iterator[str]:
    """Listen, and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("is_wanted", [False, True])
def test_an_endpoint_that_never_answers_holds_nobody_up(
    silent: str,
    s3_credentials: None,  # noqa: ARG001 - they are found before anything is sent
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_wanted: bool,
) -> None:
    monkeypatch.setattr("tunesmith.runner.s3_client._READ_S", 0.1)
    asked = 0

    def check(_: int) -> None:
        nonlocal asked
        asked += 1
        if asked > 1 and not is_wanted:
            raise WorkUnwanted

    endpoint = S3Endpoint(endpoint_url=silent, region="r")
    with closing(S3Connection(endpoint, patience=IMPATIENT)) as hung:
        place = storage_of_uri("s3://lab/a", member="M", buckets={"lab": hung})
        place_failure = S3Failure if is_wanted else WorkUnwanted
        with pytest.raises(place_failure) as raised:
            place.store_file("m", _writes(b"x"), scratch=tmp_path, check=check)
    if is_wanted:
        assert "Read timeout" in str(raised.value)


def test_a_runner_without_credentials_says_so(
    s3_credentials: None,  # noqa: ARG001 - no others are found
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with closing(
        S3Connection(S3Endpoint(endpoint_url="http://127.0.0.1:1", region="r"))
    ) as stranger:
        place = storage_of_uri("s3://lab/a", member="M", buckets={"lab": stranger})
        with pytest.raises(TrialFailure, match=r"ClientError: .*Unable to locate credentials"):
            place.fetch_tree(tmp_path, check=nothing)


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.runner.s3_client.find_spec", lambda _: None)
    place = storage_of_uri("s3://lab/a", member="M", buckets={"lab": S3Connection(S3Endpoint())})
    with pytest.raises(TrialFailure, match=r"ClientError: .*pip install 'tunesmith\[s3\]'"):
        place.check_writable("S3OutputPath")


def test_a_profile_that_is_not_there_is_named(s3_credentials: None) -> None:  # noqa: ARG001 - no files with profiles
    connection = S3Connection(S3Endpoint(profile="lab"))
    with pytest.raises(TrialFailure, match=r"ClientError: .*profile \(lab\) could not be found"):
        connection.client()
