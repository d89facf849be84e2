"""Make calls of the tuning service: deadlines, request ids, retries.

A call is repeated while the server is unavailable, and only then: changing calls carry a request
id, under which the server answers a repetition without carrying it out twice. Not for what the
calls mean; see ``aio.py``.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tunesmith.errors import Throttled
from tunesmith.statuses import ERROR_BYTES_KEY, REQUEST_ID_KEY, error_of
from tunesmith.v1.event_pb2 import (
    WatchHyperParameterTuningJobRequest,
    WatchHyperParameterTuningJobResponse,
)
from tunesmith.v1.suggestion_service_pb2_grpc import SuggestionServiceStub
from tunesmith.v1.tuning_service_pb2_grpc import TuningServiceStub

if TYPE_CHECKING:
    from tunesmith.v1.suggestion_service_pb2_grpc import SuggestionServiceAsyncStub
    from tunesmith.v1.tuning_service_pb2_grpc import TuningServiceAsyncStub

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)

_CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # A server on this host is back within moments of its restart: look for it as often.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Each client learns for itself whether the server is there.
    ("grpc.use_local_subchannel_pool", 1),
    # Servers are on loopback so far, where a proxy from the environment can only be in the way.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # An error's details are metadata, of which gRPC takes 8 KiB unless told otherwise.
    ("grpc.max_metadata_size", 1024 * 1024),
    ("grpc.absolute_max_metadata_size", 1024 * 1024),
)
_ERROR_BYTES: Final = (ERROR_BYTES_KEY, str(256 * 1024))

# What a server that is going down, or not there, ends calls with.
_PASSING: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """Bound how long calls wait and how often they are repeated.

    Attributes:
        deadline_s: For a whole call, repetitions included.
        retries: Repetitions of a call while the server is unavailable.
        backoff_s: Pause before the first repetition; doubles, and is drawn between half and all.
        backoff_max_s: Longest pause.
        watch_s: Longest life of one stream of events; then it is opened anew where it ended.
        outage_s: For how long a watch tries to find the server again.
    """

    deadline_s: float = 30.0
    retries: int = 4
    backoff_s: float = 0.1
    backoff_max_s: float = 2.0
    watch_s: float = 600.0
    outage_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Hold what a caller takes from its surroundings, for tests to replace.

    Attributes:
        clock: Monotonic, in seconds.
        rng: Spreads repetitions; nothing else depends on it.
        new_request_id: Makes an id that no other call has.
    """

    clock: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    new_request_id: Callable[[], str] = lambda: str(uuid.uuid4())


class Caller:
    """Own a channel to one server, and make calls on it."""

    def __init__(
        self, address: str, *, settings: CallSettings, surroundings: Surroundings | None = None
    ) -> None:
        """Open the channel; the server is looked for at the first call.

        Args:
            address: ``HOST:PORT``.
            settings: Deadlines and retries.
            surroundings: Clock, chance and ids; absent: the process's own.
        """
        self.address = address
        self._settings = settings
        self._surroundings = surroundings or Surroundings()
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self.stub: TuningServiceAsyncStub = TuningServiceStub(self._channel)  # type: ignore[assignment]
        self.suggestions: SuggestionServiceAsyncStub = SuggestionServiceStub(self._channel)  # type: ignore[assignment]
        self._background: set[asyncio.Task[None]] = set()

    @property
    def deadline_s(self) -> float:
        """Give how long a call may take."""
        return self._settings.deadline_s

    async def close(self) -> None:
        """Close the channel; calls under way, and work in the background, are cancelled."""
        for task in self._background:
            task.cancel()
        await self._channel.close()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Do work in the background until it is done or this is closed."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def read(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Req, Resp],
        request: Req,
        *,
        patient: bool = False,
    ) -> Resp:
        """Make a call that changes nothing, or nothing more when it is repeated.

        Args:
            method: Of a stub.
            request: The request.
            patient: Repeat it for as long as a watch would look for the server, and also while the
                server has too much to do.

        Raises:
            TunesmithError: The call failed, after all repetitions.
        """
        return await self._call(method, request, request_id="", patient=patient)

    async def change(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Req, Resp],
        request: Req,
        *,
        request_id: str | None = None,
        patient: bool = False,
    ) -> Resp:
        """Make a call that changes something, once, however often it is sent.

        Args:
            method: Of a stub.
            request: The request.
            request_id: Of an earlier call that this one repeats; absent: a new one.
            patient: As for ``read``.

        Raises:
            TunesmithError: The call failed, after all repetitions.
        """
        identity = request_id or self._surroundings.new_request_id()
        return await self._call(method, request, request_id=identity, patient=patient)

    async def watch(
        self, request: WatchHyperParameterTuningJobRequest
    ) -> AsyncIterator[WatchHyperParameterTuningJobResponse]:
        """Stream a tuning job's events until it ends, over disconnects and server restarts.

        Args:
            request: What to watch; the sequence in it is moved on with the events.

        Raises:
            TunesmithError: The server refused, or was not found again in time.
        """
        clock = self._surroundings.clock
        failures, outage_since = 0, None
        while True:
            opened = clock()
            call = self.stub.WatchHyperParameterTuningJob(
                request, timeout=self._settings.watch_s, metadata=(_ERROR_BYTES,)
            )
            try:
                async for event in call:
                    request.after_sequence, failures, outage_since = event.sequence, 0, None
                    yield event
            except grpc.aio.AioRpcError as failure:
                if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    continue
                if clock() - opened > self._settings.backoff_max_s:
                    failures, outage_since = 0, None
                outage_since = clock() if outage_since is None else outage_since
                outlasted = clock() - outage_since >= self._settings.outage_s
                if failure.code() not in _PASSING or outlasted:
                    raise error_of(failure, address=self.address) from failure
            else:
                return
            finally:
                call.cancel()
            await asyncio.sleep(self._pause_s(failures))
            failures += 1

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Req, Resp],
        request: Req,
        *,
        request_id: str,
        patient: bool,
    ) -> Resp:
        clock = self._surroundings.clock
        metadata: tuple[tuple[str, str], ...] = (_ERROR_BYTES,)
        if request_id:
            metadata += ((REQUEST_ID_KEY, request_id),)
        settings = self._settings
        deadline = clock() + settings.deadline_s + (settings.outage_s if patient else 0.0)
        attempt = 0
        while True:
            try:
                timeout_s = min(settings.deadline_s, deadline - clock())
                return await method(request, timeout=timeout_s, metadata=metadata)
            except grpc.aio.AioRpcError as failure:
                error = error_of(failure, address=self.address, request_id=request_id)
                pause_s = max(self._pause_s(attempt), error.retry_after_s or 0.0)
                passes = failure.code() in _PASSING or (patient and isinstance(error, Throttled))
                enough = attempt >= settings.retries and not patient
                if not passes or enough or clock() + pause_s >= deadline:
                    raise error from failure
            await asyncio.sleep(pause_s)
            attempt += 1

    def _pause_s(self, attempt: int) -> float:
        longest = min(
            self._settings.backoff_max_s, self._settings.backoff_s * 2.0 ** min(attempt, 30)
        )
        return longest * self._surroundings.rng.uniform(0.5, 1.0)
