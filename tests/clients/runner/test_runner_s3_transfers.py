"""Objects in parts, when something happens in their middle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.s3 import content_of
from tunesmith.runner.errors import TrialFailure
from tunesmith.runner.locations import S3Location
from tunesmith.runner.s3_client import S3Connection
from tunesmith.runner.s3_storage import S3Storage

MIB = 1024 * 1024


def nothing(_: int) -> None:
    """Never object."""


@dataclass(frozen=True)
class Lab:
    """A bucket, as a runner stores to it and as its owner sees it."""

    storage: S3Storage
    client: Any
    s3: Any
    bucket: str

    def content(self) -> dict[str, bytes]:
        return content_of(self.s3, self.bucket)

    def uploads(self) -> list[Any]:
        found: list[Any] = self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return found


@pytest.fixture
def lab(s3_connection: S3Connection, s3: Any, s3_bucket: str) -> Lab:
    location = S3Location(connection=s3_connection, bucket=s3_bucket, key="data")
    storage = S3Storage(location, uri=f"s3://{s3_bucket}/data")
    return Lab(storage, s3_connection.client(), s3, s3_bucket)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Make a directory with a file of three parts."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(MIB) * 17)
    return source


def broken(*_: object, **__: object) -> Any:
    raise ConnectionClosedError(endpoint_url="http://127.0.0.1")


@pytest.mark.parametrize("call", ["upload_part", "complete_multipart_upload"])
@pytest.mark.parametrize("arrives", [False, True])
def test_a_request_whose_connection_breaks_is_made_again_and_its_part_is_there_once(
    lab: Lab,
    large: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    *,
    arrives: bool,
) -> None:
    real = getattr(lab.client, call)

    def breaks_once(**options: Any) -> Any:
        monkeypatch.setattr(lab.client, call, real)
        if arrives:
            real(**options)
        return broken()

    monkeypatch.setattr(lab.client, call, breaks_once)
    lab.storage.store_tree("model", large, check=nothing)
    content = (large / "large").read_bytes()
    assert lab.content() == {"data/model/large": content}
    assert lab.uploads() == []


def test_a_file_that_becomes_shorter_is_not_stored_and_leaves_no_parts(
    lab: Lab,
    large: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = lab.client.create_multipart_upload

    def shortens(**options: Any) -> Any:
        os.truncate(large / "large", 10)
        return real(**options)

    monkeypatch.setattr(lab.client, "create_multipart_upload", shortens)
    with pytest.raises(OSError, match="the file became shorter while it was stored"):
        lab.storage.store_tree("model", large, check=nothing)
    assert lab.content() == {}
    assert lab.uploads() == []


@pytest.mark.parametrize("changes", [1, 2, 3])
def test_an_object_that_changes_while_it_is_fetched_is_fetched_anew_and_no_mixture(
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: int,
) -> None:
    # Shorter every time, and still in parts.
    versions = [letter * (17 - at) * MIB for at, letter in enumerate((b"a", b"b", b"c", b"d"))]
    left = versions[: changes + 1]

    def replace() -> None:
        lab.s3.put_object(Bucket=lab.bucket, Key="data/large", Body=left.pop(0))

    replace()
    real = lab.client.get_object

    def changed(**options: Any) -> Any:
        answer = real(**options)
        if "Range" not in options and left:
            replace()
        return answer

    monkeypatch.setattr(lab.client, "get_object", changed)
    told: list[int] = []
    if changes < 3:
        lab.storage.fetch_tree(tmp_path, check=told.append)
        content = (tmp_path / "large").read_bytes()
        assert content == versions[changes]
        # No byte of what takes the same place counts twice.
        assert len(content) <= sum(told) <= len(versions[0])
    else:
        refused = r"InternalServerError: .*'data/large' changed while it was read, 3 times"
        with pytest.raises(TrialFailure, match=refused) as failure:
            lab.storage.fetch_tree(tmp_path, check=told.append)
        assert failure.value.retryable
        assert not (tmp_path / "large").exists()


@pytest.mark.parametrize("arrives", [False, True])
def test_parts_that_s3_has_forgotten_were_made_an_object_or_are_lost(
    lab: Lab, large: Path, monkeypatch: pytest.MonkeyPatch, *, arrives: bool
) -> None:
    real = lab.client.complete_multipart_upload

    def forgotten(**_: object) -> Any:
        said = {"Error": {"Code": "NoSuchUpload"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
        raise ClientError(said, "CompleteMultipartUpload")

    def breaks(**options: Any) -> Any:
        monkeypatch.setattr(lab.client, "complete_multipart_upload", forgotten)
        if arrives:
            real(**options)
        return broken()

    monkeypatch.setattr(lab.client, "complete_multipart_upload", breaks)
    if arrives:
        lab.storage.store_tree("model", large, check=nothing)
        assert lab.content().keys() == {"data/model/large"}
    else:
        with pytest.raises(OSError, match=r"S3 says"):
            lab.storage.store_tree("model", large, check=nothing)
        assert lab.content() == {}
