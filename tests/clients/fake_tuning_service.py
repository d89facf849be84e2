"""A tuning service on loopback whose answers a test scripts."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tunesmith.v1 import event_pb2, tuning_service_pb2_grpc
from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse as Event

Step = Message | Exception


class Abort(Exception):
    """Ends a call with a status, with or without details."""

    def __init__(self, code: grpc.StatusCode, message: str, *details: Message) -> None:
        self.code = code
        self.message = message
        self.details = details


@dataclass
class Call:
    operation: str
    request: Any
    metadata: dict[str, str]
    time_left_s: float | None


@dataclass
class FakeTuningService:
    """Answers each operation from a queue of steps; the last one is repeated."""

    answers: dict[str, list[Step]] = field(default_factory=dict)
    streams: list[Sequence[Event | Exception]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    hang: asyncio.Event = field(default_factory=asyncio.Event)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if not operation[0].isupper():
            raise AttributeError(operation)

        async def handle(request: Any, context: Any) -> Any:
            self._note(operation, request, context)
            steps = self.answers[operation]
            step = steps.pop(0) if len(steps) > 1 else steps[0]
            if isinstance(step, TimeoutError):
                await self.hang.wait()
            return await perform(step, context)

        return handle

    async def WatchHyperParameterTuningJob(  # noqa: N802 - gRPC's name
        self, request: event_pb2.WatchHyperParameterTuningJobRequest, context: Any
    ) -> AsyncIterator[Event]:
        self._note("Watch", request, context)
        for step in self.streams.pop(0):
            if isinstance(step, TimeoutError):
                await self.hang.wait()
            yield await perform(step, context)

    def _note(self, operation: str, request: Any, context: Any) -> None:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        self.calls.append(Call(operation, request, metadata, context.time_remaining()))


async def perform(step: Step, context: Any) -> Any:
    if isinstance(step, Abort):
        if step.details:
            context.set_trailing_metadata((("grpc-status-details-bin", packed(step)),))
        await context.abort(step.code, step.message)
    if isinstance(step, Exception):
        raise step
    return step


def packed(abort: Abort) -> bytes:
    status = status_pb2.Status(code=abort.code.value[0], message=abort.message)
    for detail in abort.details:
        message = AnyMessage()
        message.Pack(detail)
        status.details.append(message)
    return bytes(status.SerializeToString())


def refused(code: grpc.StatusCode, reason: str, *details: Message) -> Abort:
    info = error_details_pb2.ErrorInfo(reason=reason, domain="tunesmith")
    return Abort(code, f"because of {reason}", info, *details)


def unavailable() -> Abort:
    return Abort(grpc.StatusCode.UNAVAILABLE, "going down")


@asynccontextmanager
async def serving(service: FakeTuningService) -> AsyncIterator[str]:
    server = grpc.aio.server()
    tuning_service_pb2_grpc.add_TuningServiceServicer_to_server(service, server)  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        service.hang.set()
        await server.stop(None)


@contextmanager
def serving_in_thread(service: FakeTuningService) -> Iterator[str]:
    """Serve on a loop of its own, as another process would."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = serving(service)
    address = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
