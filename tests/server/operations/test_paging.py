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
from tunesmith_server.operations import paging
from tunesmith_server.store.store import Position

REQUEST = pb.ListHyperParameterTuningJobsRequest(name_contains="digits", max_results=5)

_KEYS = st.text() | st.floats(allow_nan=False)

_ODD_KEYS: tuple[object, ...] = (None, True, [], {}, 10**400)


_ODD_EVENTS: tuple[object, ...] = (-1, 2**63, 1.0, True, "1", [])


def _token(*parts: object) -> str:
    """Make a token as the service does, of whatever parts."""
    return paging._sealed(parts)


def _unsealed(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _issued(position: Position) -> str:
    token = paging.next_token(REQUEST, position)
    assert token is not None
    return token


def _digest() -> str:
    token = _issued(Position(key="k", name="n"))
    digest: str = json.loads(base64.urlsafe_b64decode(token))[0]
    return digest


@given(key=_KEYS, name=st.text(), as_of=st.none() | st.integers(0, 2**63 - 1))
def test_a_position_comes_back_as_it_was(key: str | float, name: str, as_of: int | None) -> None:
    there = Position(key=key, name=name, as_of=as_of)
    assert paging.position(REQUEST, _issued(there)) == there


def test_the_last_page_has_no_token_and_no_token_is_the_first_page() -> None:
    assert paging.next_token(REQUEST, None) is None
    assert paging.position(REQUEST, "") is None


def test_the_page_size_may_change_between_pages() -> None:
    token = _issued(Position(key="k", name="n"))
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
    token = _issued(Position(key="k", name="n"))
    with pytest.raises(InvalidPagingToken, match="other filters or another order"):
        paging.position(other, token)


@pytest.mark.parametrize(
    "token",
    [
        *("!", "x", "é", "AAAA", "A" * 8192),
        *(_token(), _token("a", "b"), _token("a", "b", "c", None, "e"), _token({"a": 1}, 2, 3, 4)),
        *(_unsealed(), _unsealed({"a": 1}, 2), _unsealed(_digest(), "k", "n", None, "0" * 8)),
        *(_token(_digest(), "k", "n", as_of) for as_of in _ODD_EVENTS),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[" * 6000).decode(),
        *(_token(_digest(), key, "n", None) for key in _ODD_KEYS),
        *(_token(_digest(), "k", name, None) for name in (None, 1, "\ud800")),
        _token(_digest(), "\udfff", "n", None),
    ],
)
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(InvalidPagingToken, match="not a token that this service issued"):
        paging.position(REQUEST, token)


@given(position=st.builds(Position, key=_KEYS, name=st.text()), data=st.data())
def test_a_token_in_which_one_bit_was_flipped_is_refused(
    position: Position, data: st.DataObject
) -> None:
    raw = bytearray(base64.urlsafe_b64decode(_issued(position)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = paging.position(REQUEST, base64.urlsafe_b64encode(raw).decode())
    except InvalidPagingToken:
        return
    assert found == position  # a letter of an escape, in whose case nothing lies


@given(st.text())
def test_whatever_comes_as_a_token_is_read_or_refused(token: str) -> None:
    try:
        found = paging.position(REQUEST, token)
    except InvalidPagingToken:
        return
    assert found is None
