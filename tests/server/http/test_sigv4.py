"""Signatures are those of botocore's own signer, and nothing that was not signed passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith_server.domain.errors import (
    IncompleteSignature,
    InvalidSignature,
    MissingSignature,
    TunesmithError,
    UnknownAccessKey,
)
from tunesmith_server.http.sigv4 import MAX_SKEW, SignedRequest, check_claim, verify

KEY_ID: Final = "AKIDLAB"
SECRET: Final = "a8Kd0/tunesmith+of-the-lab"  # noqa: S105 - nothing is behind it
SECRETS: Final = {KEY_ID: SECRET, "OTHER": "another/secret-of-the-lab"}
TARGET: Final = "SageMaker.ListHyperParameterTuningJobs"
HEADERS: Final = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": TARGET}


def signed(
    body: bytes = b"{}",
    *,
    headers: Mapping[str, str] = HEADERS,
    key_id: str = KEY_ID,
    secret: str = SECRET,
    token: str | None = None,
    region: str = "eu-central-1",
    service: str = "sagemaker",
    url: str = "http://server.lab:7071/",
) -> tuple[SignedRequest, datetime]:
    """Have botocore sign a request now; gives it as the server gets it, and the time of it."""
    request = AWSRequest("POST", url, headers=dict(headers), data=body)
    SigV4Auth(Credentials(key_id, secret, token), service, region).add_auth(request)
    prepared = request.prepare()
    sent = {name.lower(): str(value) for name, value in request.headers.items()}
    sent["host"] = "server.lab:7071"
    query = prepared.url.partition("?")[2]
    at = datetime.strptime(sent["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    made = SignedRequest(
        method="POST", path="/", query=query, headers=list(sent.items()), body=body
    )
    return made, at


def with_header(request: SignedRequest, name: str, value: str | None) -> SignedRequest:
    """Give a request with one header changed, added or taken away."""
    kept = [(key, old) for key, old in request.headers if key != name]
    return replace(request, headers=kept if value is None else [*kept, (name, value)])


def edited(request: SignedRequest, old: str, new: str) -> SignedRequest:
    """Give a request whose Authorization header says something else."""
    said = request.header("authorization") or ""
    assert old in said
    return with_header(request, "authorization", said.replace(old, new))


def refused(request: SignedRequest, now: datetime) -> TunesmithError:
    with pytest.raises(TunesmithError) as error:
        verify(request, SECRETS, now=now)
    assert SECRET not in str(error.value)
    return error.value


def test_what_botocore_signs_is_let_in_under_its_key() -> None:
    request, now = signed()
    assert verify(request, SECRETS, now=now) == KEY_ID


@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=200),
    region=st.from_regex(r"[a-z]{2}-[a-z]{3,9}-[1-9]", fullmatch=True),
    extra=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30),
    token=st.none() | st.just("a session's token"),
)
def test_whatever_is_signed_is_let_in_and_one_bit_of_its_body_changed_is_not(
    body: bytes, region: str, extra: str, token: str | None
) -> None:
    headers = {**HEADERS, "X-Amz-Extra": f"{extra}   {extra}"}
    request, now = signed(body, headers=headers, region=region, token=token)
    assert verify(request, SECRETS, now=now) == KEY_ID
    other = bytes([body[0] ^ 1]) + body[1:] if body else b"x"
    assert isinstance(refused(replace(request, body=other), now), InvalidSignature)


@pytest.mark.parametrize("query", ["b=2&a=1", "a", "a=1&a=0", "x=%20%2F"])
def test_a_query_is_signed_too(query: str) -> None:
    request, now = signed(url=f"http://server.lab:7071/?{query}")
    assert verify(request, SECRETS, now=now) == KEY_ID
    assert isinstance(refused(replace(request, query="c=3"), now), InvalidSignature)


@pytest.mark.parametrize(
    "change",
    [
        lambda request: replace(request, method="PUT"),
        lambda request: replace(request, path="/elsewhere"),
        lambda request: replace(request, query="a=1"),
        lambda request: replace(request, body=b"{ }"),
        lambda request: with_header(request, "host", "other.lab:7071"),
        lambda request: with_header(request, "x-amz-target", "SageMaker.DeleteTags"),
        lambda request: with_header(request, "content-type", "text/plain"),
        lambda request: edited(request, "eu-central-1", "us-east-1"),
        lambda request: edited(request, "Credential=AKIDLAB", "Credential=OTHER"),
    ],
)
def test_what_was_changed_on_its_way_is_refused(
    change: Callable[[SignedRequest], SignedRequest],
) -> None:
    request, now = signed()
    assert isinstance(refused(change(request), now), InvalidSignature)


def test_another_secret_is_refused() -> None:
    request, now = signed(secret=SECRET.swapcase())
    assert isinstance(refused(request, now), InvalidSignature)


def test_an_unknown_key_is_refused_by_its_id() -> None:
    request, now = signed(key_id="AKIDOTHER")
    error = refused(request, now)
    assert isinstance(error, UnknownAccessKey)
    assert "'AKIDOTHER'" in str(error)


@pytest.mark.parametrize(
    ("age", "is_in_time"),
    [
        (MAX_SKEW, True),
        (-MAX_SKEW, True),
        (MAX_SKEW + timedelta(seconds=1), False),
        (-MAX_SKEW - timedelta(seconds=1), False),
        (timedelta(days=1), False),
    ],
)
def test_a_signature_holds_for_five_minutes(age: timedelta, is_in_time: bool) -> None:  # noqa: FBT001 - a test's parameter
    request, at = signed()
    if is_in_time:
        assert verify(request, SECRETS, now=at + age) == KEY_ID
        return
    error = refused(request, at + age)
    assert isinstance(error, InvalidSignature)
    assert "5 minutes are allowed" in str(error)


def test_a_date_that_is_changed_afterwards_does_not_make_a_signature_younger() -> None:
    request, at = signed()
    later = (at + timedelta(minutes=6)).strftime("%Y%m%dT%H%M%SZ")
    forged = with_header(request, "x-amz-date", later)
    assert isinstance(refused(forged, at + timedelta(minutes=6)), InvalidSignature)


@pytest.mark.parametrize(
    "change",
    [
        lambda request: with_header(request, "authorization", ""),
        lambda request: with_header(request, "authorization", "Basic dXNlcjpwYXNz"),
        lambda request: with_header(request, "authorization", "AWS4-HMAC-SHA256"),
        lambda request: with_header(request, "authorization", "AWS4-HMAC-SHA256 " + "," * 10_000),
        lambda request: edited(request, "/aws4_request", ""),
        lambda request: edited(request, "/sagemaker/", "/s3/"),
        lambda request: edited(request, "Signature=", "Signature=zz"),
        lambda request: edited(request, "SignedHeaders=content-type;host", "SignedHeaders=host"),
        lambda request: edited(request, "content-type;host;", "host;content-type;"),
        lambda request: edited(request, "content-type;host;", "content-type;host;host;"),
        lambda request: edited(request, ";x-amz-target", ""),
        lambda request: edited(request, ";x-amz-target", ";x-amz-target;x-nothing"),
        lambda request: with_header(request, "x-amz-added", "later"),
        lambda request: with_header(request, "x-amz-date", None),
        lambda request: with_header(request, "x-amz-date", "yesterday"),
        lambda request: with_header(request, "x-amz-date", "20261399T000000Z"),
    ],
)
def test_a_signature_that_leaves_something_out_is_refused(
    change: Callable[[SignedRequest], SignedRequest],
) -> None:
    request, now = signed()
    assert isinstance(refused(change(request), now), IncompleteSignature)


def test_a_claim_is_checked_before_there_is_a_body() -> None:
    request, now = signed(b"whatever it will be")
    check_claim(replace(request, body=b""), SECRETS, now=now)
    with pytest.raises(UnknownAccessKey):
        check_claim(replace(request, body=b""), {}, now=now)
    with pytest.raises(InvalidSignature):
        check_claim(replace(request, body=b""), SECRETS, now=now + timedelta(days=1))


def test_two_signatures_are_none() -> None:
    request, now = signed()
    twice = replace(request, headers=[*request.headers, ("authorization", "AWS4-HMAC-SHA256 x")])
    assert isinstance(refused(twice, now), IncompleteSignature)


def test_no_signature_is_told_apart_from_a_wrong_one() -> None:
    request, now = signed()
    error = refused(with_header(request, "authorization", None), now)
    assert isinstance(error, MissingSignature)
    assert "AWS_ACCESS_KEY_ID" in str(error)


def test_a_signature_for_another_service_is_refused() -> None:
    request, now = signed(service="s3")
    assert isinstance(refused(request, now), IncompleteSignature)
