"""A trial's reports that the server has not acknowledged, in order, numbered and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tunesmith.runner.errors import StreamBroken
from tunesmith.runner.settings import RunnerLimits
from tunesmith.v1 import runner_service_pb2 as pb

#: One piece of news; stages travel by their number.
News = pb.MetricValue | pb.OutputLines | pb.TrialEnded | int


class Outbox:
    """Number, keep, hand out and forget the reports of one trial under one lease.

    ``append`` never refuses: it is the reader of the trial's output that asks ``is_full`` and
    waits for ``room``, so that a server that is away stops the trial's writing instead of
    filling the runner's memory.
    """

    def __init__(
        self,
        *,
        training_job_name: str,
        lease_token: int,
        limits: RunnerLimits,
        clock: Callable[[], datetime],
        on_append: Callable[[], None],
    ) -> None:
        self._training_job_name = training_job_name
        self._lease_token = lease_token
        self._limits = limits
        self._clock = clock
        self._on_append = on_append
        self._reports: deque[pb.TrialReport] = deque()
        self._bytes = 0
        self._acknowledged = 0
        self._sent = 0
        self._bounded = True
        self._closed = False
        self._room = asyncio.Event()
        self._room.set()

    def append(self, news: News) -> None:
        """Give the news the next number and keep it for sending."""
        if self._closed:
            return
        at = Timestamp()
        at.FromDatetime(self._clock())
        report = pb.TrialReport(
            training_job_name=self._training_job_name,
            lease_token=self._lease_token,
            sequence=self._acknowledged + len(self._reports) + 1,
            at=at,
        )
        match news:
            case pb.MetricValue():
                report.metric.CopyFrom(news)
            case pb.OutputLines():
                report.output.CopyFrom(news)
            case pb.TrialEnded():
                report.ended.CopyFrom(news)
            case stage:
                report.stage = pb.TrialStage.ValueType(stage)
        self._reports.append(report)
        self._bytes += report.ByteSize()
        self._update_room()
        self._on_append()

    def take(self, *, max_reports: int, max_bytes: int) -> list[pb.TrialReport]:
        """Hand out the next reports that were not sent on this connection.

        At least one is handed out if there is one and ``max_reports`` allows it.
        """
        taken: list[pb.TrialReport] = []
        size = 0
        start = self._sent - self._acknowledged
        for index in range(start, min(start + max_reports, len(self._reports))):
            report = self._reports[index]
            size += report.ByteSize()
            if taken and size > max_bytes:
                break
            taken.append(report)
        self._sent += len(taken)
        return taken

    def acknowledge(self, sequence: int) -> None:
        """Forget the reports up to and including this one: they are durable.

        Raises:
            StreamBroken: There never was a report of that number.
        """
        if sequence > self._acknowledged + len(self._reports):
            raise StreamBroken(
                f"the server acknowledged report {sequence} of {self._training_job_name}, which "
                f"has {self._acknowledged + len(self._reports)}"
            )
        while self._acknowledged < sequence:
            self._bytes -= self._reports.popleft().ByteSize()
            self._acknowledged += 1
        self._sent = max(self._sent, self._acknowledged)
        self._update_room()

    def rewind(self, sequence: int) -> None:
        """Begin anew on a new connection, after the last report that the server has.

        Raises:
            StreamBroken: The server lost reports that it had acknowledged, or has some that
                were never made.
        """
        if sequence < self._acknowledged:
            raise StreamBroken(
                f"the server has {sequence} reports of {self._training_job_name}, after it had "
                f"acknowledged {self._acknowledged}"
            )
        self.acknowledge(sequence)
        self._sent = self._acknowledged

    def lift_bound(self) -> None:
        """Let everything in that is still to come; for the little that follows an end."""
        self._bounded = False
        self._update_room()

    def close(self) -> None:
        """Drop everything, now and from now on."""
        self._closed = True
        self._acknowledged += len(self._reports)
        self._sent = self._acknowledged
        self._reports.clear()
        self._bytes = 0
        self._update_room()

    @property
    def is_empty(self) -> bool:
        """Tell whether every report is durable."""
        return not self._reports

    @property
    def is_full(self) -> bool:
        """Tell whether the bound is reached."""
        return not self._room.is_set()

    @property
    def size_bytes(self) -> int:
        """Tell how much is kept, as on the wire."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._reports)

    async def room(self) -> None:
        """Wait until the outbox is no longer full; however long the server is away."""
        await self._room.wait()

    def _update_room(self) -> None:
        full = self._bounded and (
            len(self._reports) >= self._limits.unacknowledged_reports
            or self._bytes >= self._limits.unacknowledged_bytes
        )
        if full:
            self._room.clear()
        else:
            self._room.set()
