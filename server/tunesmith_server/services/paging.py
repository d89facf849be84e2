"""Paging tokens: opaque to callers, tied to the query that they go on with."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from google.protobuf.message import Message

from tunesmith_server.domain.errors import InvalidPagingToken
from tunesmith_server.store.store import Position

#: Members that may change from page to page.
_FREE_MEMBERS = ("next_token", "max_results")


def next_token(request: Message, position: Position | None) -> str:
    """Write the token of the page after ``position``; empty when there is none."""
    if position is None:
        return ""
    parts = [_digest(request), position.key, position.name]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def position(request: Message, token: str) -> Position | None:
    """Read a token; None for an empty one.

    Raises:
        InvalidPagingToken: The token is not one of ours, or belongs to another query.
    """
    if not token:
        return None
    try:
        digest, key, name = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidPagingToken("it is not a token that this service issued") from None
    if isinstance(key, bool) or not isinstance(key, str | int | float) or not isinstance(name, str):
        raise InvalidPagingToken("it is not a token that this service issued")
    try:
        key = key if isinstance(key, str) else float(key)
        f"{key}{name}".encode()  # JSON can hold half a character, which no text in the store can
    except (OverflowError, UnicodeEncodeError):
        raise InvalidPagingToken("it is not a token that this service issued") from None
    if digest != _digest(request):
        raise InvalidPagingToken("it belongs to a query with other filters or another order")
    return Position(key=key, name=name)


def _digest(request: Message) -> str:
    """Identify a query by everything but its page."""
    query = type(request)()
    query.CopyFrom(request)
    for member in _FREE_MEMBERS:
        query.ClearField(member)
    named = type(request).__name__.encode() + query.SerializeToString(deterministic=True)
    return hashlib.blake2s(named, digest_size=8).hexdigest()
