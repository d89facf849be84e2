"""A server for runner tests: real gRPC over loopback, durable in memory, as rude as asked."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import runner_service_pb2_grpc as pb_grpc

Key = tuple[str, int]


class FakeServer(pb_grpc.RunnerServiceServicer):
    """Keep each report once, acknowledge it, and tell tests what came."""

    def __init__(self) -> None:
        self.reports: dict[Key, list[pb.TrialReport]] = defaultdict(list)
        self.deliveries: list[tuple[Key, int]] = []
        self.hellos: list[pb.RunnerHello] = []
        self.drainings = 0
        self.heartbeats = 0
        self.goodbyes = 0
        self.gaps: list[tuple[Key, int]] = []
        self.revoked: set[Key] = set()
        self.acknowledges = True
        self._outgoing: asyncio.Queue[pb.ConnectResponse | None] | None = None
        self._changed = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Serve on a free port and say where."""
        self._server = grpc.aio.server()
        pb_grpc.add_RunnerServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def vanish(self) -> None:
        """End as a killed process does: every connection breaks."""
        assert self._server is not None
        await self._server.stop(grace=0)

    async def Connect(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[pb.ConnectRequest],
        context: Any,  # noqa: ARG002 - gRPC's signature
    ) -> AsyncIterator[pb.ConnectResponse]:
        first = await anext(aiter(request_iterator))
        hello = first.hello
        self.hellos.append(hello)
        outgoing: asyncio.Queue[pb.ConnectResponse | None] = asyncio.Queue()
        outgoing.put_nowait(pb.ConnectResponse(welcome=self._welcome(hello)))
        self._outgoing = outgoing
        self._notify()
        reading = asyncio.create_task(self._read(request_iterator, outgoing))
        try:
            while (message := await outgoing.get()) is not None:
                yield message
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, grpc.RpcError, grpc.aio.BaseError):
                await reading

    def _welcome(self, hello: pb.RunnerHello) -> pb.RunnerWelcome:
        welcome = pb.RunnerWelcome()
        welcome.heartbeat_interval.FromMilliseconds(200)
        welcome.lease_duration.FromSeconds(10)
        for held in hello.held_trials:
            key = (held.training_job_name, held.lease_token)
            if key in self.revoked:
                welcome.revoked.append(held)
            else:
                welcome.resumed.append(self._position(key))
        return welcome

    def _position(self, key: Key) -> pb.TrialPosition:
        return pb.TrialPosition(
            training_job_name=key[0], lease_token=key[1], sequence=len(self.reports[key])
        )

    async def _read(
        self,
        requests: AsyncIterator[pb.ConnectRequest],
        outgoing: asyncio.Queue[pb.ConnectResponse | None],
    ) -> None:
        async for request in requests:
            match request.WhichOneof("message"):
                case "reports":
                    self._store(request.reports.reports, outgoing)
                case "heartbeat":
                    self.heartbeats += 1
                    outgoing.put_nowait(pb.ConnectResponse(heartbeat=pb.RunnerHeartbeat()))
                case "draining":
                    self.drainings += 1
            self._notify()
        self.goodbyes += 1
        outgoing.put_nowait(None)
        self._notify()

    def _store(
        self,
        reports: Any,
        outgoing: asyncio.Queue[pb.ConnectResponse | None],
    ) -> None:
        keys: dict[Key, None] = {}
        for report in reports:
            key = (report.training_job_name, report.lease_token)
            self.deliveries.append((key, report.sequence))
            stored = self.reports[key]
            if report.sequence == len(stored) + 1:
                stored.append(report)
            elif report.sequence > len(stored):
                self.gaps.append((key, report.sequence))
            keys[key] = None
        if self.acknowledges:
            acknowledged = pb.ReportsAcknowledged(positions=[self._position(key) for key in keys])
            outgoing.put_nowait(pb.ConnectResponse(acknowledged=acknowledged))

    def _notify(self) -> None:
        self._changed.set()

    async def until(self, true: Callable[[], object], limit_s: float = 10.0) -> None:
        """Wait until something that arrives makes a condition true."""
        async with asyncio.timeout(limit_s):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def connected(self, times: int = 1) -> None:
        """Wait for a runner's hello."""
        await self.until(lambda: len(self.hellos) >= times)

    async def send(self, message: pb.ConnectResponse) -> None:
        """Tell the connected runner something."""
        await self.connected()
        assert self._outgoing is not None
        self._outgoing.put_nowait(message)

    async def assign(self, assignment: pb.TrialAssignment) -> Key:
        """Hand out a trial."""
        await self.send(pb.ConnectResponse(assignment=assignment))
        return assignment.training_job_name, assignment.lease_token

    async def stop_trial(self, key: Key) -> None:
        """Ask for a trial's end."""
        stop = pb.TrialStop(training_job_name=key[0], lease_token=key[1])
        await self.send(pb.ConnectResponse(stop=stop))

    async def stage(self, key: Key, stage: pb.TrialStage.ValueType) -> None:
        """Wait until a trial reached a stage."""
        await self.until(lambda: stage in self.stages(key))

    async def line(self, key: Key, line: str) -> None:
        """Wait until a trial wrote a line."""
        await self.until(lambda: line in self.lines(key))

    async def ended(self, key: Key, limit_s: float = 10.0) -> pb.TrialEnded:
        """Wait for a trial's end."""
        await self.until(lambda: any(self._ends(key)), limit_s)
        (ended,) = self._ends(key)
        return ended

    def _ends(self, key: Key) -> Iterator[pb.TrialEnded]:
        return (r.ended for r in self.reports[key] if r.WhichOneof("report") == "ended")

    def stages(self, key: Key) -> list[pb.TrialStage.ValueType]:
        """List the stages that a trial reported."""
        return [r.stage for r in self.reports[key] if r.WhichOneof("report") == "stage"]

    def lines(self, key: Key) -> list[str]:
        """List the lines that a trial wrote."""
        return [line for r in self.reports[key] for line in r.output.lines]

    def metrics(self, key: Key) -> list[tuple[str, float]]:
        """List the metrics that a trial reported."""
        return [
            (r.metric.metric_name, r.metric.value)
            for r in self.reports[key]
            if r.WhichOneof("report") == "metric"
        ]
