"""What every call passes through: decoding, request ids, errors turned into statuses."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from tunesmith_server.domain.errors import InvalidRequest, MalformedRequest, NotServed, Violation
from tunesmith_server.operations.error_table import INTERNAL, wire_error
from tunesmith_server.operations.limits import MAX_REQUEST_BYTES, MAX_REQUEST_ID
from tunesmith_server.services.status import rich_status

logger = logging.getLogger(__name__)

#: Metadata key of a caller's idempotency key; answered in the trailing metadata too.
REQUEST_ID_KEY: Final = "tunesmith-request-id"

# gRPC's handlers are typed by the messages of each RPC; an interceptor sees all of them.
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


#: Metadata key by which a caller says how many bytes of error details it takes.
ERROR_BYTES_KEY: Final = "tunesmith-error-bytes"


class _Malformed:
    """Stand in for a request whose bytes are no message, or too many.

    Attributes:
        reason: What was wrong and what would be right.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason


def request_id(context: Context) -> str | None:
    """Give the caller's idempotency key, if it sent one.

    Raises:
        InvalidRequest: The key is longer than 128 characters.
    """
    value = _metadata(context, REQUEST_ID_KEY)
    if value is not None and len(value) > MAX_REQUEST_ID:
        message = f"Metadata {REQUEST_ID_KEY} must be at most {MAX_REQUEST_ID} characters long."
        raise InvalidRequest((Violation(path="", message=message, rule="request_id"),))
    return value


def _error_bytes(context: Context) -> int | None:
    """Give how many bytes of error details the caller says that it takes."""
    value = _metadata(context, ERROR_BYTES_KEY)
    return int(value) if value is not None and value.isdecimal() and len(value) < 10 else None  # noqa: PLR2004 - digits of a number that means anything here


def _metadata(context: Context, wanted: str) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == wanted and isinstance(value, str):
            return value
    return None


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turn malformed bytes and raised errors into statuses with details."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of our own services; others answer for themselves."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/tunesmith."):
            return handler
        return _wrapped(handler, method)


def _wrapped(handler: Handler, method: str) -> Handler:
    if handler.request_deserializer is None:
        raise TypeError(f"{method}: without a deserializer there is no message to check")
    decode = _tolerant(handler.request_deserializer)
    encode = handler.response_serializer
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(
            _guarded_unary(handler.unary_unary, method), decode, encode
        )
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(
            _guarded_stream(handler.unary_stream, method), decode, encode
        )
    if handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(
            _guarded_stream(handler.stream_stream, method), decode, encode
        )
    raise TypeError(f"{method}: client-streaming calls are not part of this contract")


def _tolerant(decode: Callable[[bytes], Message]) -> Callable[[bytes], Message | _Malformed]:
    """Let bytes that are no message reach the handler, which then refuses them in words."""

    def decode_or_mark(data: bytes) -> Message | _Malformed:
        if len(data) > MAX_REQUEST_BYTES:
            return _Malformed(
                f"The request is {len(data)} bytes long; it must be at most {MAX_REQUEST_BYTES}."
            )
        try:
            return decode(data)
        except (DecodeError, UnicodeDecodeError):
            return _Malformed(
                "The request could not be decoded: it must be the protobuf message that this "
                "method takes, with every string in valid UTF-8."
            )

    return decode_or_mark


def _refuse_malformed(request: object) -> None:
    if isinstance(request, _Malformed):
        raise MalformedRequest(request.reason)


def _guarded_unary(behaviour: Any, method: str) -> Any:
    async def call(request: Any, context: Context) -> Any:
        try:
            _refuse_malformed(request)
            return await behaviour(request, context)
        except Exception as error:  # noqa: BLE001 - every error becomes a status, bugs too
            await _abort(context, error, method)

    return call


def _guarded_stream(behaviour: Any, method: str) -> Any:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            _refuse_malformed(request)
            async for response in behaviour(_checked(request), context):
                yield response
        except Exception as error:  # noqa: BLE001 - every error becomes a status, bugs too
            await _abort(context, error, method)

    return call


def _checked(request: Any) -> Any:
    """Refuse malformed messages of a request stream as they come."""
    if not hasattr(request, "__aiter__"):
        return request

    async def messages() -> AsyncIterator[Any]:
        async for message in request:
            _refuse_malformed(message)
            yield message

    return messages()


async def _abort(context: Context, error: Exception, method: str) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, NotImplementedError):
        error = NotServed(f"{method} is not implemented in this release.")
    status = logged_status(
        error, method=method, identity=_identity(context), error_bytes=_error_bytes(context)
    )
    await context.abort_with_status(rpc_status.to_status(status))


def logged_status(
    error: Exception, *, method: str, identity: str, error_bytes: int | None = None
) -> status_pb2.Status:
    """Write an error as a status; a bug is logged, and its caller told no more than ``identity``."""
    if wire_error(error) is INTERNAL:
        logger.error("%s failed, request id %s", method, identity, exc_info=error)
    return rich_status(error, request_id=identity, error_bytes=error_bytes)


def _identity(context: Context) -> str:
    """Give the call's id for messages and logs: the caller's own where it has one."""
    try:
        return request_id(context) or uuid.uuid4().hex
    except InvalidRequest:
        return uuid.uuid4().hex
