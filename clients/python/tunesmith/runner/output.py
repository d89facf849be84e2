"""From a trial's pipe to its log file, its reports of output and its metrics."""

from __future__ import annotations

import asyncio
from typing import BinaryIO, Final

from tunesmith.runner.lines import LineSplitter
from tunesmith.runner.metrics import MetricScanner
from tunesmith.runner.outbox import Outbox
from tunesmith.runner.settings import RunnerLimits
from tunesmith.v1 import runner_service_pb2 as pb

_READ_BYTES: Final = 64 * 1024
# Together with one line of the largest size this keeps a report far below gRPC's 4 MiB.
_BATCH_CHARACTERS: Final = 128 * 1024


class OutputPump:
    """Carry a trial's output, in order: metrics' reports follow the lines that they were read from.

    Lines travel together: a batch leaves when it is full, or when its first line is old enough.
    The values found in its lines follow it, in the order of their appearance. While the outbox is
    full, the pipe is not read.
    """

    def __init__(
        self, *, log: BinaryIO, scanner: MetricScanner, outbox: Outbox, limits: RunnerLimits
    ) -> None:
        self._log = log
        self._scanner = scanner
        self._outbox = outbox
        self._limits = limits
        self._splitter = LineSplitter()
        self._batch: list[str] = []
        self._batch_characters = 0
        self._values: list[tuple[str, float]] = []
        self._timer: asyncio.TimerHandle | None = None
        #: Names of the metrics of which a value was found.
        self.emitted: set[str] = set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Carry all that comes, until the end of the pipe.

        Raises:
            OSError: The log file cannot be written.
        """
        try:
            while chunk := await reader.read(_READ_BYTES):
                # To the page cache: quicker than the hop to a thread would be.
                self._log.write(chunk)
                for line in self._splitter.feed(chunk):
                    if self._outbox.is_full:
                        await self._outbox.room()
                    self.add(line)
        finally:
            for line in self._splitter.finish():
                self.add(line)
            self.flush()

    def add(self, line: str) -> None:
        """Take in one line."""
        self._batch.append(line)
        self._batch_characters += len(line)
        if values := self._scanner.scan(line):
            self._values += values
            self.emitted.update(name for name, _ in values)
        full = (
            # A line may hold a value of every metric: the outbox is to be looked at meanwhile.
            max(len(self._batch), len(self._values)) >= self._limits.flush_lines
            or self._batch_characters >= _BATCH_CHARACTERS
        )
        if full:
            self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limits.flush_s, self.flush)

    def flush(self) -> None:
        """Report the lines that wait, then the values found in them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._batch:
            self._outbox.append(pb.OutputLines(lines=self._batch))
            for name, value in self._values:
                self._outbox.append(pb.MetricValue(metric_name=name, value=value))
            self._batch, self._values = [], []
            self._batch_characters = 0
