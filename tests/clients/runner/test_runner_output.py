"""Lines travel in batches, and the values found in them right behind, in their order."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime

from tunesmith.runner.metrics import MetricScanner
from tunesmith.runner.outbox import Outbox
from tunesmith.runner.output import OutputPump
from tunesmith.runner.settings import RunnerLimits
from tunesmith.v1 import runner_service_pb2 as pb

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
METRICS = (("loss", r"loss=(\S+)"), ("acc", r"acc=(\S+)"))
#: A timer never flushes: what is tested is the rest.
NEVER_S = 3600.0


class Trial:
    """Be a trial's pipe, and what is reported of it."""

    def __init__(self, limits: RunnerLimits) -> None:
        self.reader = asyncio.StreamReader()
        self.log = io.BytesIO()
        self.reported = asyncio.Event()
        self.outbox = Outbox(
            training_job_name="job",
            lease_token=1,
            limits=limits,
            clock=lambda: AT,
            on_append=self.reported.set,
        )
        self._pump = OutputPump(
            log=self.log, scanner=MetricScanner(METRICS), outbox=self.outbox, limits=limits
        )

    async def run(self) -> None:
        async with asyncio.timeout(10):
            await self._pump.run(self.reader)

    async def write(self, text: str) -> list[pb.TrialReport]:
        """Write all at once and end; gives what is reported."""
        self.reader.feed_data(text.encode())
        self.reader.feed_eof()
        await self.run()
        return self.outbox.take(max_reports=100_000, max_bytes=2**30)


def told(reports: list[pb.TrialReport]) -> list[object]:
    """Show reports of lines as lists, and values as pairs."""
    return [
        list(report.output.lines)
        if report.HasField("output")
        else (report.metric.metric_name, report.metric.value)
        for report in reports
    ]


async def test_values_follow_the_lines_of_their_batch_in_order_of_appearance() -> None:
    trial = Trial(RunnerLimits(flush_lines=3, flush_s=NEVER_S))
    text = "a\nacc=1 loss=2\nloss=3\nb\nc\nd\nloss=4"
    reports = await trial.write(text)
    assert told(reports) == [
        ["a", "acc=1 loss=2", "loss=3"],
        *(("loss", 2.0), ("acc", 1.0), ("loss", 3.0)),
        ["b", "c", "d"],
        ["loss=4"],
        ("loss", 4.0),
    ]
    assert [report.sequence for report in reports] == list(range(1, len(reports) + 1))
    assert trial.log.getvalue().decode() == text


async def test_a_metric_on_every_line_makes_one_report_a_line_and_one_a_batch() -> None:
    limits = RunnerLimits(flush_lines=200, flush_s=NEVER_S, unacknowledged_reports=10_000)
    reports = await Trial(limits).write("".join(f"loss={n}\n" for n in range(1000)))
    assert len(reports) == 1000 + 5
    assert [r.metric.value for r in reports if r.HasField("metric")] == [*range(1000)]


async def test_values_fill_a_batch_too() -> None:
    limits = RunnerLimits(flush_lines=4, flush_s=NEVER_S)
    reports = await Trial(limits).write("loss=1 acc=2\n" * 5)
    sizes = [len(report.output.lines) for report in reports if report.HasField("output")]
    assert sizes == [2, 2, 1]


async def test_a_line_and_its_value_leave_when_no_other_comes() -> None:
    trial = Trial(RunnerLimits(flush_s=0.01))
    running = asyncio.create_task(trial.run())
    trial.reader.feed_data(b"loss=1\n")
    async with asyncio.timeout(10):
        await trial.reported.wait()
    assert told(trial.outbox.take(max_reports=9, max_bytes=9999)) == [["loss=1"], ("loss", 1.0)]
    trial.reader.feed_eof()
    await running


async def test_a_full_outbox_stops_the_reading_within_a_batch() -> None:
    trial = Trial(RunnerLimits(flush_lines=10, flush_s=NEVER_S, unacknowledged_reports=20))
    trial.reader.feed_data(b"loss=1\n" * 1000)
    trial.reader.feed_eof()
    running = asyncio.create_task(trial.run())
    acknowledged = 0
    async with asyncio.timeout(10):
        while not running.done():
            await asyncio.sleep(0)
            # One batch beyond the bound, at most.
            assert len(trial.outbox) < 20 + 11
            acknowledged += len(trial.outbox)
            trial.outbox.acknowledge(acknowledged)
    await running
    assert acknowledged + len(trial.outbox) == 1000 + 100
