"""Find out who signed a request: AWS Signature Version 4, with the access keys of the site.

Pure: the clock is an argument. Only signatures in the ``Authorization`` header are read, as AWS
clients send them for JSON; those in a query string are not.

Source: "Create a signed AWS API request" in the AWS General Reference. Oracle in the tests:
botocore's own signer.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tunesmith_server.domain.errors import (
    IncompleteSignature,
    InvalidSignature,
    MissingSignature,
    UnknownAccessKey,
)

#: How far a client's clock may be from ours, before or after.
MAX_SKEW: Final = timedelta(minutes=5)

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SERVICE: Final = "sagemaker"
_TERMINATOR: Final = "aws4_request"
_DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_DATE: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")
#: Must be signed, with whatever begins with ``x-amz-``: they say what is asked, and of whom.
_SIGNED_ALWAYS: Final = frozenset({"host", "content-type"})
_PARTS: Final = frozenset({"Credential", "SignedHeaders", "Signature"})
#: The parts of a scope: key id, day, region, service, terminator.
_SCOPE_PARTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """Hold a request as it came.

    Attributes:
        method: In capitals.
        path: As on the request line, still encoded.
        query: What follows the question mark there, still encoded.
        headers: Names in small letters, and values, in the order in which they came.
        body: The whole body.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Give a header as it is signed: one text, inner runs of white space as one space."""
        values = [" ".join(value.split()) for key, value in self.headers if key == name]
        return ",".join(values) if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authorization:
    """Hold what an ``Authorization`` header says."""

    key_id: str
    day: str
    region: str
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        return f"{self.day}/{self.region}/{_SERVICE}/{_TERMINATOR}"


def check_claim(request: SignedRequest, secrets: Mapping[str, str], *, now: datetime) -> None:
    """Refuse a request that ``verify`` would refuse whatever its body is, which may not be there yet.

    So that nothing is read for those who do not even name a key of the site. The arguments and
    errors are those of ``verify``.
    """
    _claim(request, secrets, now=now)


def verify(request: SignedRequest, secrets: Mapping[str, str], *, now: datetime) -> str:
    """Give the id of the access key that a request is signed with.

    Args:
        request: The request.
        secrets: The secret access keys of the site, by access key id.
        now: The time, aware.

    Raises:
        MissingSignature: It has no signature.
        IncompleteSignature: Its signature cannot be read, or leaves out what must be signed.
        UnknownAccessKey: No such key is known.
        InvalidSignature: The signature is too old, or not this request's under this key.
    """
    claimed, secret, signed_at = _claim(request, secrets, now=now)
    expected = _signature(request, claimed, secret, signed_at=signed_at)
    if not hmac.compare_digest(expected, claimed.signature):
        raise InvalidSignature(
            "The signature is not the one that this request has under this access key. Check the "
            "secret access key, and that nothing changes the request on its way."
        )
    return claimed.key_id


def _claim(
    request: SignedRequest, secrets: Mapping[str, str], *, now: datetime
) -> tuple[_Authorization, str, datetime]:
    """Give what a request claims, with the secret that would prove it, and when it was signed."""
    claimed = _authorization(request)
    signed_at = _signed_at(request, claimed)
    secret = secrets.get(claimed.key_id)
    if secret is None:
        raise UnknownAccessKey(
            f"This site has no access key {claimed.key_id[:64]!r}: [access_keys] of its "
            "configuration lists those that it has."
        )
    _check_age(signed_at, now=now)
    return claimed, secret, signed_at


def _authorization(request: SignedRequest) -> _Authorization:
    header = request.header("authorization")
    if header is None:
        raise MissingSignature(
            "The request is not signed. This server knows its callers by access keys: give the "
            "client one, such as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    algorithm, _, rest = header.partition(" ")
    if algorithm != _ALGORITHM:
        raise IncompleteSignature(f"The Authorization header must begin with {_ALGORITHM}.")
    words = rest.split(",")
    parts = dict(word.strip().partition("=")[::2] for word in words)
    if len(words) != len(_PARTS) or parts.keys() != _PARTS:
        raise IncompleteSignature(
            f"The Authorization header must have {', '.join(sorted(_PARTS))}, once each."
        )
    scope = parts["Credential"].split("/")
    if len(scope) != _SCOPE_PARTS or scope[3:] != [_SERVICE, _TERMINATOR]:
        raise IncompleteSignature(
            "The Authorization header must have a Credential of the form "
            f"KEY/DATE/REGION/{_SERVICE}/{_TERMINATOR}."
        )
    signature = parts["Signature"]
    if not _SIGNATURE.fullmatch(signature):
        raise IncompleteSignature("The Authorization header must have a Signature of 64 digits.")
    signed_headers = tuple(parts["SignedHeaders"].split(";"))
    _check_signed_headers(request, signed_headers)
    return _Authorization(
        key_id=scope[0],
        day=scope[1],
        region=scope[2],
        signed_headers=signed_headers,
        signature=signature,
    )


def _check_signed_headers(request: SignedRequest, signed: Sequence[str]) -> None:
    present = {name for name, _ in request.headers}
    needed = {name for name in present if name in _SIGNED_ALWAYS or name.startswith("x-amz-")} | {
        "host"
    }
    missing = sorted(needed.difference(signed)) + sorted(set(signed).difference(present))
    if missing or list(signed) != sorted(set(signed)):
        told = f"; {', '.join(missing)} is not signed, or not there" if missing else ""
        raise IncompleteSignature(
            "SignedHeaders must list, in order and once each, headers that the request has, among "
            f"them host, content-type and all that begin with x-amz-{told}."
        )


def _signed_at(request: SignedRequest, claimed: _Authorization) -> datetime:
    written = request.header("x-amz-date") or ""
    at = _parsed_date(written)
    if at is None:
        raise IncompleteSignature("The request must have an X-Amz-Date such as 20261124T093000Z.")
    if claimed.day != written[:8]:
        raise InvalidSignature(
            f"The date of the Credential, {claimed.day!r}, is not that of X-Amz-Date, {written}."
        )
    return at


def _parsed_date(written: str) -> datetime | None:
    # What `strptime` reads is less strict than what is signed.
    if not _DATE.fullmatch(written):
        return None
    try:
        return datetime.strptime(written, _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _check_age(signed_at: datetime, *, now: datetime) -> None:
    told = f"{_text(signed_at)}; the server's clock says {_text(now)}, and 5 minutes are allowed."
    if signed_at < now - MAX_SKEW:
        raise InvalidSignature(f"Signature expired: it is of {told}")
    if signed_at > now + MAX_SKEW:
        raise InvalidSignature(f"Signature not yet current: it is of {told}")


def _signature(
    request: SignedRequest, claimed: _Authorization, secret: str, *, signed_at: datetime
) -> str:
    canonical = "\n".join(
        (
            request.method,
            request.path or "/",
            _canonical_query(request.query),
            *(f"{name}:{request.header(name)}" for name in claimed.signed_headers),
            "",
            ";".join(claimed.signed_headers),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    to_sign = "\n".join(
        (
            _ALGORITHM,
            _text(signed_at),
            claimed.scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        )
    )
    key = _signing_key(secret, claimed.day, claimed.region)
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def _canonical_query(query: str) -> str:
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return "&".join(f"{name}={value}" for name, value in pairs)


@functools.lru_cache(maxsize=128)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, _SERVICE, _TERMINATOR):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_DATE_FORMAT)
