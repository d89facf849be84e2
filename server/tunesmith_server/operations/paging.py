"""Paging tokens: opaque to callers, tied to the query that they go on with.

A token ends with a digest of the rest, so that one that was cut or changed on its way is refused. That
keeps nobody from making one: it would only begin a page elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.message import Message

from tunesmith.v1 import sorting_pb2
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_service_pb2 as service_pb
from tunesmith_server.domain.errors import InvalidPagingToken
from tunesmith_server.store.store import Position

_NOT_OURS: Final = "it is not a token that this service issued"
_LATEST: Final = 2**63 - 1

#: Members that may change from page to page.
_FREE_MEMBERS: Final = ("next_token", "max_results")
_BY_NAME: Final = sorting_pb2.HYPER_PARAMETER_TUNING_JOB_SORT_BY_OPTIONS_NAME
_TRIALS_BY_NAME: Final = sorting_pb2.TRAINING_JOB_SORT_BY_OPTIONS_NAME
_BY_TIME: Final = sorting_pb2.SORT_BY_CREATION_TIME
_UPWARDS: Final = sorting_pb2.SORT_ORDER_ASCENDING
#: What a list is sorted by when its request does not say. A query is the same one said or unsaid.
DEFAULT_SORT: Final[Mapping[type[Message], Mapping[str, int]]] = {
    service_pb.ListHyperParameterTuningJobsRequest: {"sort_by": _BY_NAME, "sort_order": _UPWARDS},
    training_pb.ListTrainingJobsForHyperParameterTuningJobRequest: {
        "sort_by": _TRIALS_BY_NAME,
        "sort_order": _UPWARDS,
    },
    training_pb.ListTrainingJobsRequest: {"sort_by": _BY_TIME, "sort_order": _UPWARDS},
}


def next_token(request: Message, position: Position | None) -> str | None:
    """Write the token of the page after ``position``; None when there is no such page."""
    if position is None:
        return None
    return _sealed([_digest(request), position.key, position.name, position.as_of])


def _sealed(parts: Sequence[object]) -> str:
    return base64.urlsafe_b64encode(json.dumps([*parts, _seal(parts)]).encode()).decode()


def _seal(parts: Sequence[object]) -> str:
    return hashlib.blake2s(json.dumps(parts).encode(), digest_size=4).hexdigest()


def position(request: Message, token: str) -> Position | None:
    """Read a token; None for an empty one.

    Raises:
        InvalidPagingToken: The token is not one of ours, or belongs to another query.
    """
    if not token:
        return None
    try:
        *parts, seal = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        digest, key, name, as_of = parts
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidPagingToken(_NOT_OURS) from None
    if isinstance(key, bool) or not isinstance(key, str | int | float) or not isinstance(name, str):
        raise InvalidPagingToken(_NOT_OURS)
    if as_of is not None and not (type(as_of) is int and 0 <= as_of <= _LATEST):
        raise InvalidPagingToken(_NOT_OURS)
    if seal != _seal(parts):
        raise InvalidPagingToken(_NOT_OURS)
    try:
        key = key if isinstance(key, str) else float(key)
        f"{key}{name}".encode()  # JSON can hold half a character, which no text in the store can
    except (OverflowError, UnicodeEncodeError):
        raise InvalidPagingToken(_NOT_OURS) from None
    if digest != _digest(request):
        raise InvalidPagingToken("it belongs to a query with other filters or another order")
    return Position(key=key, name=name, as_of=as_of)


def _digest(request: Message) -> str:
    """Identify a query by everything but its page."""
    query = type(request)()
    query.CopyFrom(request)
    for member in _FREE_MEMBERS:
        query.ClearField(member)
    for member, default in DEFAULT_SORT.get(type(request), {}).items():
        if getattr(query, member) == default:
            query.ClearField(member)
    named = type(request).__name__.encode() + query.SerializeToString(deterministic=True)
    return hashlib.blake2s(named, digest_size=8).hexdigest()
