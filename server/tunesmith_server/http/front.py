"""The AWS JSON 1.1 front: one path, the operation in a header, bodies read by their descriptors.

No operation has code of its own here: what there is, and of which types, is read from the service
of the contract. Errors become bodies by the error table.

Sources: Smithy's AWS JSON 1.1 protocol; what botocore 1.44.5 sends and reads.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tunesmith.v1 import tuning_service_pb2
from tunesmith_server.domain.addresses import host_of, is_loopback
from tunesmith_server.domain.errors import (
    AccessDenied,
    MalformedRequest,
    Overloaded,
    UnknownOperation,
)
from tunesmith_server.engine.coordinator import Clock
from tunesmith_server.http import aws_json
from tunesmith_server.http.bodies import Bodies
from tunesmith_server.http.refusals import refusal
from tunesmith_server.http.serving import MAX_HEAD_BYTES
from tunesmith_server.http.sigv4 import SignedRequest, check_claim, verify
from tunesmith_server.operations.error_table import INTERNAL, told, wire_error
from tunesmith_server.operations.limits import MAX_REQUEST_ID
from tunesmith_server.operations.tuning import TuningOperations

logger = logging.getLogger(__name__)

#: More calls than this at a time are throttled.
MAX_CALLS: Final = 256

_TARGET: Final = "x-amz-target"
_PREFIX: Final = "SageMaker."
#: Under which an AWS client repeats a call whose answer it did not get.
_INVOCATION: Final = "amz-sdk-invocation-id"
#: Headers that say what is asked: two of them could be read either way.
_ONCE: Final = ("content-type", _TARGET)
#: What a header has on the wire beside its name and value: a colon, a space and the line's end.
_HEADER_BYTES: Final = 4
#: Longer bodies are read on a thread, one at a time, so that other calls go on meanwhile.
_LONG_BYTES: Final = 64 * 1024
_RETRY_AFTER: Final = timedelta(seconds=1)

Call = Callable[[Any, str | None], Awaitable[Message]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Hold one operation.

    Attributes:
        request_type: What it takes.
        call: Carries it out, given the request and the caller's idempotency key.
    """

    request_type: type[Message]
    call: Call


def operations_of(operations: TuningOperations) -> Mapping[str, Operation]:
    """List the operations that AWS clients may call: all of the service but its streams."""
    service = tuning_service_pb2.DESCRIPTOR.services_by_name["TuningService"]
    return {
        method.name: Operation(
            request_type=GetMessageClass(method.input_type), call=getattr(operations, method.name)
        )
        for method in service.methods
        if not method.server_streaming
    }


class AwsJsonFront:
    """Answer AWS clients."""

    def __init__(
        self, *, operations: TuningOperations, access_keys: Mapping[str, str], clock: Clock
    ) -> None:
        """Make a front.

        Args:
            operations: What calls do.
            access_keys: Secrets by access key id; none: nobody is asked who they are, and only
                clients that name this host as a loopback one are answered.
            clock: Tells the time, for signatures.
        """
        self._operations = operations_of(operations)
        self._rules = operations.violations
        self._access_keys = access_keys
        self._clock = clock
        self._calls = 0
        self._bodies = Bodies()
        self._long_bodies = asyncio.Lock()

    def app(self) -> Starlette:
        """Give the application to be served."""
        return Starlette(
            routes=[
                Route("/", self.answer, methods=["POST"]),
                Route("/healthz", _is_alive, methods=["GET"]),
            ],
            exception_handlers={404: _no_such_place, 405: _no_such_place},
        )

    async def answer(self, request: Request) -> Response:
        """Answer one call, whatever becomes of it."""
        request_id = str(uuid.uuid4())
        self._calls += 1
        try:
            message = await self._called(request)
            return _response(200, aws_json.answer(message), request_id)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads
        except Exception as error:  # noqa: BLE001 - every error becomes a body, bugs too
            response = _refused(error, request_id, target=request.headers.get(_TARGET, ""))
            if _has_two_lengths(request):
                response.headers["connection"] = "close"  # where the next call begins is not sure
            return response
        finally:
            self._calls -= 1

    async def _called(self, request: Request) -> Message:
        if self._calls > MAX_CALLS:
            raise Overloaded(
                f"Rate exceeded: {MAX_CALLS} calls are under way; try again soon.",
                retry_after=_RETRY_AFTER,
            )
        _check_head(request)
        # First, so that nothing is read for those who are not let in.
        self._admit(request)
        async with self._bodies.whole(request.stream()) as body:
            if self._access_keys:
                verify(_as_signed(request, body), self._access_keys, now=self._clock())
            operation = self._operation(request)
            message = await self._message(operation, body)
        return await operation.call(message, _idempotency_key(request))

    def _admit(self, request: Request) -> None:
        """Let in those who name a key of the site; without keys, those of this host."""
        if self._access_keys:
            check_claim(_as_signed(request, b""), self._access_keys, now=self._clock())
            return
        # A page in a browser can have a name of its own lead here; the browser then sends that name.
        named = host_of(request.headers.get("host", ""))
        if named is None or not is_loopback(named):
            raise AccessDenied(
                f"This server has no access keys, and so answers to loopback names alone, such as "
                f"127.0.0.1 and localhost, not to {(named or '')[:100]!r}. Add an [access_keys.NAME] to its "
                "configuration to be reached by another name."
            )

    def _operation(self, request: Request) -> Operation:
        """Find the operation that the headers name."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != aws_json.CONTENT_TYPE:
            raise UnknownOperation(
                f"The Content-Type is {content_type[:60]!r}; write {aws_json.CONTENT_TYPE!r}."
            )
        target = request.headers.get(_TARGET, "")
        operation = self._operations.get(target.removeprefix(_PREFIX))
        if operation is None or not target.startswith(_PREFIX):
            raise UnknownOperation(
                f"X-Amz-Target is {target[:100]!r}; this server has {_PREFIX} followed by one of "
                f"{', '.join(self._operations)}."
            )
        return operation

    async def _message(self, operation: Operation, body: bytes) -> Message:
        read = partial(aws_json.read_request, body, operation.request_type, rules=self._rules)
        if len(body) <= _LONG_BYTES:
            return read()
        async with self._long_bodies:
            return await asyncio.to_thread(read)


async def _is_alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _idempotency_key(request: Request) -> str | None:
    """Give what all attempts of one call have in common, so that a repeat changes nothing anew."""
    key = request.headers.get(_INVOCATION)
    return key if key and len(key) <= MAX_REQUEST_ID else None


def _as_signed(request: Request, body: bytes) -> SignedRequest:
    return SignedRequest(
        method=request.method,
        path=request.scope.get("raw_path", b"/").decode("latin-1"),
        query=request.scope["query_string"].decode("latin-1"),
        headers=[
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
        ],
        body=body,
    )


def _response(status: int, body: bytes, request_id: str) -> Response:
    return Response(
        body, status, {"x-amzn-RequestId": request_id}, media_type=aws_json.CONTENT_TYPE
    )


def _refused(error: Exception, request_id: str, *, target: str) -> Response:
    wire = wire_error(error)
    if wire is INTERNAL:
        logger.error("%s failed, request id %s", target[:100], request_id, exc_info=error)
    message = told(error, request_id=request_id)
    return refusal(wire.http_status, wire.reason, message, request_id=request_id)


def _no_such_place(_request: Request, error: Exception) -> Response:
    """Refuse what is neither a call nor the question whether the server is there."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = "Calls are POST requests to /; GET /healthz tells whether the server is there."
    headers = error.headers if isinstance(error, HTTPException) else None
    return refusal(status, "UnknownOperationException", message, headers=headers)


def _has_two_lengths(request: Request) -> bool:
    """Tell whether a request says twice where its body ends, so that a proxy may have read it otherwise."""
    return "content-length" in request.headers and "transfer-encoding" in request.headers


def _check_head(request: Request) -> None:
    """Refuse a head that is too long, or that others before us may have read otherwise.

    Raises:
        MalformedRequest: It is.
    """
    raw = request.headers.raw
    # The server's own limit is on what it has to wait for, and a long head may come at once.
    length = sum(len(name) + len(value) + _HEADER_BYTES for name, value in raw)
    if length + len(request.scope.get("raw_path", b"")) > MAX_HEAD_BYTES:
        raise MalformedRequest(
            f"The request line and headers are longer than {MAX_HEAD_BYTES} bytes, the most that a "
            "request may have."
        )
    if _has_two_lengths(request):
        raise MalformedRequest("There are a Content-Length and a Transfer-Encoding; send one.")
    for header in _ONCE:
        if len(request.headers.getlist(header)) > 1:
            raise MalformedRequest(f"The header {header} comes more than once.")
