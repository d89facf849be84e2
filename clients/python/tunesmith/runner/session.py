"""One connection to the server: the hello, then messages both ways until it breaks.

What the messages mean is the agent's; here is how they travel.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Protocol

import grpc
import grpc.aio

from tunesmith.runner.errors import StreamBroken
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import runner_service_pb2_grpc as pb_grpc

_Call = grpc.aio.StreamStreamCall[pb.ConnectRequest, pb.ConnectResponse]

#: Heartbeats that may go unanswered before the connection counts as dead.
_SILENT_HEARTBEATS: Final = 3
_MIN_SILENCE_S: Final = 2.0
_DEFAULT_HEARTBEAT_S: Final = 5.0

#: All the ways in which a connection ends that is made anew.
_BREAKS: Final = (
    grpc.RpcError,
    grpc.aio.UsageError,
    asyncio.InvalidStateError,
    TimeoutError,
    StreamBroken,
)

_CHANNEL_OPTIONS: Final = (
    # Each attempt begins afresh: a shared connection would bring its own back-off.
    ("grpc.use_local_subchannel_pool", 1),
    # The server is on the user's own network; a proxy for the outside does not reach it.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


class SessionHandler(Protocol):
    """What the agent does for a connection."""

    @property
    def wake(self) -> asyncio.Event:
        """Be set whenever there may be something to send."""

    @property
    def is_draining(self) -> bool:
        """Tell whether the runner takes no more trials."""

    @property
    def is_leaving(self) -> bool:
        """Tell whether everything was said, and the stream may end."""

    def hello(self) -> pb.RunnerHello:
        """Say who the runner is and what it holds."""

    def welcomed(self, welcome: pb.RunnerWelcome) -> None:
        """Take in what the server says to the hello."""

    def received(self, message: pb.ConnectResponse) -> None:
        """Take in a message after the welcome."""

    def next_reports(self) -> pb.TrialReports | None:
        """Hand out reports to send now, if there are any."""


async def run_session(handler: SessionHandler, address: str, *, welcome_s: float) -> None:
    """Connect, and carry messages until the agent leaves.

    Raises:
        StreamBroken: The server could not be reached, went away, or broke the contract.
    """
    try:
        async with grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
            stub: pb_grpc.RunnerServiceAsyncStub = pb_grpc.RunnerServiceStub(channel)  # type: ignore[assignment]
            call = stub.Connect()
            try:
                await _talk(call, handler, welcome_s)
            finally:
                call.cancel()
    except _BREAKS as error:
        raise StreamBroken(_told(error)) from error
    except BaseExceptionGroup as errors:
        if errors.split(_BREAKS)[1] is not None:
            raise
        raise StreamBroken(_told(errors)) from errors


async def _talk(call: _Call, handler: SessionHandler, welcome_s: float) -> None:
    async with asyncio.timeout(welcome_s):
        await call.write(pb.ConnectRequest(hello=handler.hello()))
        first = await _read(call)
    if first is None or first.WhichOneof("message") != "welcome":
        raise StreamBroken("the server's first message is no welcome")
    handler.welcomed(first.welcome)
    heartbeat_s = _DEFAULT_HEARTBEAT_S
    if first.welcome.HasField("heartbeat_interval"):
        heartbeat_s = max(0.01, first.welcome.heartbeat_interval.ToTimedelta().total_seconds())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_write_all(call, handler, heartbeat_s))
        tasks.create_task(_read_all(call, handler, heartbeat_s))


async def _write_all(call: _Call, handler: SessionHandler, heartbeat_s: float) -> None:
    """Send what there is; gRPC allows one write at a time, so that all of it is here."""
    loop = asyncio.get_running_loop()
    heartbeat_at = loop.time() + heartbeat_s
    draining_said = False
    while True:
        handler.wake.clear()
        if handler.is_draining and not draining_said:
            await call.write(pb.ConnectRequest(draining=pb.RunnerDraining()))
            draining_said = True
        if loop.time() >= heartbeat_at:
            await call.write(pb.ConnectRequest(heartbeat=pb.RunnerHeartbeat()))
            heartbeat_at = loop.time() + heartbeat_s
        reports = handler.next_reports()
        if reports is not None:
            await call.write(pb.ConnectRequest(reports=reports))
        elif handler.is_leaving:
            await call.done_writing()
            return
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(heartbeat_at):
                    await handler.wake.wait()


async def _read_all(call: _Call, handler: SessionHandler, heartbeat_s: float) -> None:
    silence_s = max(_MIN_SILENCE_S, _SILENT_HEARTBEATS * heartbeat_s)
    while True:
        async with asyncio.timeout(silence_s):
            message = await _read(call)
        if message is None:
            if handler.is_leaving:
                return
            raise StreamBroken("the server ended the stream")
        if message.WhichOneof("message") == "welcome":
            raise StreamBroken("the server said welcome twice")
        handler.received(message)


async def _read(call: _Call) -> pb.ConnectResponse | None:
    message = await call.read()
    return message if isinstance(message, pb.ConnectResponse) else None


def _told(error: BaseException) -> str:
    match error:
        case BaseExceptionGroup():
            return "; ".join(dict.fromkeys(_told(part) for part in error.exceptions))
        case grpc.aio.AioRpcError():
            return f"{error.code().name}: {error.details()}"
        case TimeoutError():
            return "the server does not answer"
        case _:
            return str(error) or type(error).__name__
