"""One tuning job's loop: groups, durability first, and a store that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from tests.server.domain.job_specs import job_spec
from tests.server.engine.engine_parts import (
    LIMIT_S,
    NOW,
    RecordingActor,
    RecordingStore,
    assigned,
    ended,
    new_state,
    reported,
    suggested,
)
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import InvalidState, Overloaded, SequenceGap, StoreUnavailable
from tunesmith_server.domain.states import SecondaryStatus, TuningJobStatus
from tunesmith_server.domain.tuning_job import JobSpec
from tunesmith_server.engine import coordinator as coordinator_module
from tunesmith_server.engine.coordinator import Coordinator


@dataclass(slots=True)
class Bench:
    """Hold a coordinator with its surroundings."""

    coordinator: Coordinator
    store: RecordingStore
    actor: RecordingActor
    running: asyncio.Task[None]

    async def post(self, event: ev.Event, *, request_id: str | None = None) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.coordinator.post(event, request_id=request_id)

    def name(self, index: int = 0) -> str:
        return list(self.coordinator.state.trials)[index]


@asynccontextmanager
async def bench(spec: JobSpec | None = None, *, now: datetime = NOW) -> AsyncIterator[Bench]:
    store = RecordingStore()
    actor = RecordingActor(store)
    made = Coordinator(new_state(spec), store=store.as_store(), clock=lambda: now, actor=actor)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        try:
            if made.state.deadline is None or made.state.deadline > now:
                await made.post(ev.Recovered())  # which asks for suggestions
                actor.acted.clear()
                actor.changes = 0
            yield Bench(made, store, actor, running)
        finally:
            running.cancel()


def _trials_saved(durable: object) -> list[str]:
    assert isinstance(durable, list)
    return [effect.trial.name for effect in durable if isinstance(effect, fx.SaveTrial)]


async def test_events_that_wait_for_a_commit_are_committed_together() -> None:
    async with bench() as b:
        await b.post(suggested("3", "4"))
        b.store.gate.clear()
        first = b.coordinator.post(assigned(b.name(0)))
        await b.store.waiting.wait()
        waiting = [
            b.coordinator.post(assigned(b.name(1))),
            b.coordinator.post(reported(b.name(0), 1, ev.StageReached(stage=ev.Stage.TRAINING))),
            b.coordinator.post(reported(b.name(0), 2, ev.OutputWritten(lines=("a",)))),
        ]
        b.store.gate.set()
        await asyncio.gather(first, *waiting)

        assert len(b.store.commits) == 3
        together = b.store.commits[-1]
        assert _trials_saved(together.durable) == [b.name(1), b.name(0), b.name(0)]
        assert [commit.job.version for commit in b.store.commits] == [1, 2, 3]


async def test_nobody_is_answered_and_nothing_is_done_before_the_commit() -> None:
    async with bench() as b:
        b.store.gate.clear()
        done = b.coordinator.post(suggested("3"))
        await b.store.waiting.wait()
        assert not done.done()
        assert b.actor.acted == []
        assert b.coordinator.state.trials == {}
        b.store.gate.set()
        await done
        assert [kind for kind, _ in b.actor.acted] == [1] * len(b.actor.acted)
        assert any(isinstance(command, fx.Enqueue) for _, command in b.actor.acted)
        assert b.actor.changes == 1


async def test_a_store_that_fails_leaves_the_state_as_it_was_and_fails_the_whole_group() -> None:
    async with bench() as b:
        await b.post(suggested("3", "4"))
        before, acted = b.coordinator.state, list(b.actor.acted)
        b.store.gate.clear()
        holding = b.coordinator.post(assigned(b.name(0)))
        await b.store.waiting.wait()
        grouped = [b.coordinator.post(assigned(b.name(index))) for index in (0, 1)]
        b.store.failures = [StoreUnavailable("full"), StoreUnavailable("full")]
        b.store.gate.set()
        results = await asyncio.gather(holding, *grouped, return_exceptions=True)

        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert b.coordinator.state == before
        assert b.actor.acted == acted
        await b.post(assigned(b.name(1)))
        assert b.store.commits[-1].job.version == before.job.version + 1


async def test_an_event_that_cannot_be_written_fails_alone() -> None:
    async with bench() as b:
        await b.post(suggested("3", "4"))
        b.store.gate.clear()
        holding = b.coordinator.post(assigned(b.name(0)))
        await b.store.waiting.wait()
        bad = b.coordinator.post(reported(b.name(0), 1, ev.StageReached(stage=ev.Stage.TRAINING)))
        good = b.coordinator.post(assigned(b.name(1)))
        # The one that waits, then both together, then the bad one.
        too_large = OverflowError("too large for a column")
        b.store.failures = [None, too_large, too_large]
        b.store.gate.set()
        results = await asyncio.gather(holding, bad, good, return_exceptions=True)
        assert list(results) == [None, too_large, None]
        trial = b.coordinator.state.trials[b.name(0)]
        assert trial.secondary_status is SecondaryStatus.STARTING


async def test_a_refused_event_fails_alone() -> None:
    async with bench() as b:
        await b.post(suggested("3", "4"))
        b.store.gate.clear()
        holding = b.coordinator.post(assigned(b.name(0)))
        await b.store.waiting.wait()
        gap = b.coordinator.post(reported(b.name(0), 5, ended()))
        good = b.coordinator.post(assigned(b.name(1)))
        b.store.gate.set()
        results = await asyncio.gather(holding, gap, good, return_exceptions=True)

        assert isinstance(results[1], SequenceGap)
        assert results[0] is None
        assert results[2] is None
        trial = b.coordinator.state.trials[b.name(1)]
        assert trial.secondary_status is SecondaryStatus.STARTING


async def test_a_trial_that_is_launched_and_ends_in_one_group_is_both_in_its_commit() -> None:
    async with bench(job_spec(jobs=2, parallel=2)) as b:
        # Both are there before the loop gets to look.
        arrived = b.coordinator.post(suggested("3", "4"))
        stop = b.coordinator.post(ev.JobStopRequested())
        await asyncio.gather(arrived, stop)
        (commit,) = b.store.commits
        saved = [effect for effect in commit.durable if isinstance(effect, fx.SaveTrial)]
        assert [(save.is_new, save.trial.secondary_status) for save in saved] == [
            *[(True, SecondaryStatus.PENDING)] * 2,
            *[(False, SecondaryStatus.STOPPED)] * 2,
        ]


async def test_every_request_id_is_recorded() -> None:
    async with bench(job_spec(jobs=3, parallel=3)) as b:
        await b.post(suggested("3", "4", "5"))
        names = list(b.coordinator.state.trials)
        b.store.gate.clear()
        waiting = [
            b.coordinator.post(ev.TrialStopRequested(trial_name=name), request_id=f"key {name}")
            for name in names
        ]
        b.store.gate.set()
        await asyncio.gather(*waiting)
        recorded = [commit.request_id for commit in b.store.commits]
        assert [key for key in recorded if key] == [f"key {name}" for name in names]


async def test_an_event_that_changes_nothing_is_answered_without_a_commit() -> None:
    async with bench() as b:
        await b.post(suggested("3"))
        name = b.name()
        await b.post(assigned(name))
        await b.post(reported(name, 1, ev.StageReached(stage=ev.Stage.TRAINING)))
        commits, changes = len(b.store.commits), b.actor.changes
        await b.post(reported(name, 1, ev.StageReached(stage=ev.Stage.TRAINING)))
        await b.post(reported(name, 9, ended(), lease=7))
        assert (len(b.store.commits), b.actor.changes) == (commits, changes)


async def test_the_servers_own_events_are_handed_in_until_the_store_takes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator_module, "_RETRY_PAUSE_S", 0.0)
    async with bench() as b:
        b.store.failures = [StoreUnavailable("full")] * 3
        async with asyncio.timeout(LIMIT_S):
            await b.coordinator.deliver(suggested("3"))
        assert len(b.coordinator.state.trials) == 1
        assert b.store.failures == []


async def test_events_beyond_what_can_wait_are_turned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator_module, "_MAILBOX_LIMIT", 3)
    async with bench() as b:
        b.store.gate.clear()
        posted = [b.coordinator.post(ev.Recovered()) for _ in range(3)]
        over = b.coordinator.post(ev.Recovered())
        with pytest.raises(Overloaded) as refused:
            await over
        assert refused.value.retry_after == timedelta(seconds=1)
        b.store.gate.set()
        await asyncio.gather(*posted)


async def test_the_loop_ends_with_its_job_and_late_events_are_answered() -> None:
    async with bench() as b:
        await b.post(suggested("3"))
        b.store.gate.clear()
        stop = b.coordinator.post(ev.JobStopRequested())
        await b.store.waiting.wait()
        queued = b.coordinator.post(assigned("late"))
        b.store.gate.set()
        await asyncio.gather(stop, queued)
        async with asyncio.timeout(LIMIT_S):
            await b.running
        assert b.coordinator.has_ended
        await b.post(suggested("4"))
        async with asyncio.timeout(LIMIT_S):
            await b.coordinator.deliver(assigned("later still"))


async def test_a_caller_is_told_when_a_job_has_ended_already() -> None:
    async with bench() as b:
        await b.post(suggested("3"))
        await b.post(assigned(b.name()))
        await b.post(ev.JobStopRequested())
        with pytest.raises(InvalidState, match="already in status Stopping"):
            await b.post(ev.JobStopRequested())


async def test_a_job_ends_at_its_deadline_without_being_asked() -> None:
    spec = job_spec(max_runtime=timedelta(seconds=120))
    async with bench(spec, now=NOW + timedelta(seconds=121)) as b:
        async with asyncio.timeout(LIMIT_S):
            await b.running
        assert b.coordinator.state.job.status is TuningJobStatus.COMPLETED
        assert len(b.store.commits) == 1


async def test_a_deadline_that_cannot_be_written_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator_module, "_RETRY_PAUSE_S", 0.0)
    spec = job_spec(max_runtime=timedelta(seconds=120))
    async with bench(spec, now=NOW + timedelta(seconds=121)) as b:
        b.store.failures = [StoreUnavailable("full")] * 2
        async with asyncio.timeout(LIMIT_S):
            await b.running
        assert b.coordinator.has_ended
