"""What tests of several folders share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.s3 import CREDENTIALS, moto, s3_client


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Serve S3 on a loopback port."""
    with moto() as url:
        yield url


@pytest.fixture(scope="session")
def s3(s3_url: str) -> Iterator[Any]:
    """Give a client for it."""
    with closing(s3_client(s3_url)) as client:
        yield client


@pytest.fixture
def s3_bucket(s3: Any) -> str:
    """Make a bucket of the test's own."""
    name = f"lab.{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process find credentials as a runner does, and none but these."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
