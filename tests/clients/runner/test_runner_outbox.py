"""Numbers, acknowledgements, rewinding and bounds of a trial's reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.runner.errors import StreamBroken
from tunesmith.runner.outbox import Outbox
from tunesmith.runner.settings import RunnerLimits
from tunesmith.v1 import runner_service_pb2 as pb

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def make(
    limits: RunnerLimits | None = None, on_append: Callable[[], None] = lambda: None
) -> Outbox:
    return Outbox(
        training_job_name="job",
        lease_token=3,
        limits=limits or RunnerLimits(),
        clock=lambda: AT,
        on_append=on_append,
    )


def take(outbox: Outbox, max_reports: int = 1000, max_bytes: int = 1 << 20) -> list[int]:
    taken = outbox.take(max_reports=max_reports, max_bytes=max_bytes)
    return [report.sequence for report in taken]


def fill(outbox: Outbox, count: int) -> None:
    for number in range(count):
        outbox.append(pb.OutputLines(lines=[str(number)]))


def test_a_report_carries_its_trial_lease_number_time_and_news() -> None:
    outbox = make()
    outbox.append(int(pb.TRIAL_STAGE_STARTING))
    outbox.append(pb.MetricValue(metric_name="m", value=1.5))
    first, second = outbox.take(max_reports=10, max_bytes=1000)
    assert (first.training_job_name, first.lease_token, first.sequence) == ("job", 3, 1)
    assert first.at.ToDatetime(tzinfo=UTC) == AT
    assert first.stage == pb.TRIAL_STAGE_STARTING
    assert (second.sequence, second.metric.value) == (2, 1.5)


def test_what_was_sent_is_not_sent_again_on_the_same_connection() -> None:
    outbox = make()
    fill(outbox, 3)
    assert take(outbox, max_reports=2) == [1, 2]
    assert take(outbox) == [3]
    assert take(outbox) == []


def test_a_new_connection_begins_after_what_is_durable() -> None:
    outbox = make()
    fill(outbox, 4)
    take(outbox)
    outbox.acknowledge(1)
    outbox.rewind(2)
    assert take(outbox) == [3, 4]


def test_a_message_is_bounded_by_size_but_never_empty() -> None:
    outbox = make()
    outbox.append(pb.OutputLines(lines=["x" * 1000]))
    outbox.append(pb.OutputLines(lines=["y" * 1000]))
    assert take(outbox, max_bytes=10) == [1]
    assert take(outbox, max_bytes=0) == [2]


def test_a_server_that_lost_reports_or_has_too_many_is_not_believed() -> None:
    outbox = make()
    fill(outbox, 3)
    take(outbox)
    outbox.acknowledge(2)
    with pytest.raises(StreamBroken, match="has 1 reports of job, after it had acknowledged 2"):
        outbox.rewind(1)
    with pytest.raises(StreamBroken, match="acknowledged report 4 of job, which has 3"):
        outbox.acknowledge(4)


def test_an_old_acknowledgement_changes_nothing() -> None:
    outbox = make()
    fill(outbox, 3)
    outbox.acknowledge(3)
    outbox.acknowledge(1)
    assert outbox.is_empty
    assert outbox.size_bytes == 0
    fill(outbox, 1)
    assert take(outbox) == [4]


async def test_a_full_outbox_has_room_again_after_an_acknowledgement() -> None:
    outbox = make(RunnerLimits(unacknowledged_reports=2))
    fill(outbox, 2)
    assert outbox.is_full
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.acknowledge(1)
    async with asyncio.timeout(1):
        await waiting


def test_size_fills_an_outbox_too() -> None:
    outbox = make(RunnerLimits(unacknowledged_bytes=1000))
    outbox.append(pb.OutputLines(lines=["x" * 2000]))
    assert outbox.is_full
    outbox.lift_bound()
    assert not outbox.is_full


def test_a_closed_outbox_keeps_nothing() -> None:
    told: list[int] = []
    outbox = make(on_append=lambda: told.append(1))
    fill(outbox, 2)
    outbox.close()
    fill(outbox, 2)
    assert outbox.is_empty
    assert take(outbox) == []
    assert len(told) == 2


@given(st.lists(st.sampled_from(["append", "take", "acknowledge", "reconnect"]), max_size=60))
def test_whatever_happens_the_server_gets_every_report_once_and_in_order(steps: list[str]) -> None:
    outbox = make()
    made, stored = 0, 0
    for step in [*steps, "reconnect", "take"]:
        match step:
            case "append":
                fill(outbox, 1)
                made += 1
            case "take":
                for sequence in take(outbox, max_reports=1000):
                    assert sequence <= stored + 1, "a gap"
                    stored = max(stored, sequence)
            case "acknowledge":
                outbox.acknowledge(stored)
            case "reconnect":
                outbox.rewind(stored)
    assert stored == made
