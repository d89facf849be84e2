"""Paging tokens: a round trip for those we issue, a refusal for all others."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.v1 import sorting_pb2
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import InvalidPagingToken
from tunesmith_server.services import paging
from tunesmith_server.store.store import Position

REQUEST = pb.ListHyperParameterTuningJobsRequest(name_contains="digits", max_results=5)

_KEYS = st.text() | st.floats(allow_nan=False)

_ODD_KEYS: tuple[object, ...] = (None, True, [], {}, 10**400)


def _token(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _digest() -> str:
    token = paging.next_token(REQUEST, Position(key="k", name="n"))
    digest: str = json.loads(base64.urlsafe_b64decode(token))[0]
    return digest


@given(key=_KEYS, name=st.text())
def test_a_position_comes_back_as_it_was(key: str | float, name: str) -> None:
    there = Position(key=key, name=name)
    assert paging.position(REQUEST, paging.next_token(REQUEST, there)) == there


def test_the_last_page_has_no_token_and_no_token_is_the_first_page() -> None:
    assert paging.next_token(REQUEST, None) == ""
    assert paging.position(REQUEST, "") is None


def test_the_page_size_may_change_between_pages() -> None:
    token = paging.next_token(REQUEST, Position(key="k", name="n"))
    larger = pb.ListHyperParameterTuningJobsRequest(
        name_contains="digits", max_results=50, next_token=token
    )
    assert paging.position(larger, token) == Position(key="k", name="n")


@pytest.mark.parametrize(
    "other",
    [
        pb.ListHyperParameterTuningJobsRequest(name_contains="digit"),
        pb.ListHyperParameterTuningJobsRequest(
            name_contains="digits", sort_order=sorting_pb2.SORT_ORDER_DESCENDING
        ),
        training_pb.ListTrainingJobsRequest(name_contains="digits"),
    ],
    ids=["filter", "order", "operation"],
)
def test_a_token_of_another_query_is_refused(
    other: pb.ListHyperParameterTuningJobsRequest | training_pb.ListTrainingJobsRequest,
) -> None:
    token = paging.next_token(REQUEST, Position(key="k", name="n"))
    with pytest.raises(InvalidPagingToken, match="other filters or another order"):
        paging.position(other, token)


@pytest.mark.parametrize(
    "token",
    [
        *("!", "x", "é", "AAAA", "A" * 8192),
        *(_token(), _token("a", "b"), _token("a", "b", "c", "d"), _token({"a": 1}, 2, 3)),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[" * 6000).decode(),
        *(_token(_digest(), key, "n") for key in _ODD_KEYS),
        *(_token(_digest(), "k", name) for name in (None, 1, "\ud800")),
        _token(_digest(), "\udfff", "n"),
    ],
)
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(InvalidPagingToken, match="not a token that this service issued"):
        paging.position(REQUEST, token)


@given(st.text())
def test_whatever_comes_as_a_token_is_read_or_refused(token: str) -> None:
    try:
        found = paging.position(REQUEST, token)
    except InvalidPagingToken:
        return
    assert found is None
