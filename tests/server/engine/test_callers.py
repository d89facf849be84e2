"""Callers that run their own trials, over a real store: asks, leases, late calls, restarts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.server.engine.compute_parts import QUICK
from tests.server.engine.engine_parts import LIMIT_S, Engine, running_engine
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import (
    AlreadyCompleted,
    Conflict,
    InvalidState,
    ResourceNotFound,
    StoreUnavailable,
    TrainingJobNotFound,
)
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.domain.trial import Trial
from tunesmith_server.engine import leases
from tunesmith_server.engine.compute import Compute
from tunesmith_server.store.store import TrialQuery

HOUR: Final = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_PAUSE_S", 0.02)


async def ask(
    engine: Engine, client: str, count: int = 1, *, job: str = "digits", wait_s: float = 0.0
) -> list[Trial]:
    """Ask for trials; the tuning job goes on."""
    async with asyncio.timeout(LIMIT_S):
        lent, status = await engine.callers.suggest(
            job, client_id=client, count=count, max_wait_s=wait_s
        )
    assert status is TuningJobStatus.IN_PROGRESS
    return [each.trial for each in lent]


async def complete(
    engine: Engine, trial: Trial, value: float = 0.5, *, completion_id: str | None = None
) -> None:
    await engine.callers.complete(
        ev.TrialCompleted(
            trial_name=trial.name,
            lease_token=trial.lease_token,
            verdict=ev.Verdict.MEASURED,
            value=value,
            completion_id=completion_id,
        )
    )


async def fail(engine: Engine, trial: Trial, *, completion_id: str | None = None) -> None:
    await engine.callers.complete(
        ev.TrialCompleted(
            trial_name=trial.name,
            lease_token=trial.lease_token,
            verdict=ev.Verdict.FAILED,
            value=None,
            reason="it broke",
            completion_id=completion_id,
        )
    )


async def report(engine: Engine, trial: Trial, values: Mapping[str, float], step: int = 0) -> bool:
    return await engine.callers.report(
        trial.name, lease_token=trial.lease_token, step=step, values=values
    )


async def stored(engine: Engine, name: str) -> Trial:
    found = await engine.store.trial(name)
    assert found is not None
    return found.trial


async def test_a_caller_drives_a_tuning_job_to_its_end(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=3, parallel=2, lease=HOUR)
        names = []
        for number in range(3):
            (trial,) = await ask(engine, "a")
            names.append(trial.name)
            assert await report(engine, trial, {"loss": 2.0}) is False
            await complete(engine, trial, float(number))
        lent, status = await engine.callers.suggest(
            "digits", client_id="a", count=1, max_wait_s=10.0
        )
        assert (lent, status) == ((), TuningJobStatus.COMPLETED)
        job = await engine.jobs.read("digits")
        assert job.job.best is not None
        assert job.job.best.name == names[0]
        assert await engine.store.measurements(names[0])


async def test_repeated_asks_are_for_the_same_trials(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=4, lease=HOUR)
        first = await ask(engine, "a", 2)
        assert await ask(engine, "a", 2) == first
        assert await ask(engine, "a") == first[:1]
        both = await asyncio.gather(ask(engine, "a", 3), ask(engine, "a", 3))
        assert both[0] == both[1]
        assert len(both[0]) == 3
        (other,) = await ask(engine, "b", 3)
        assert other not in both[0], "the limit of open trials leaves one"
        assert await ask(engine, "c") == []


async def test_asks_at_once_get_trials_of_their_own(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=100, parallel=64, lease=HOUR)
        given = await asyncio.gather(*(ask(engine, f"client-{n}") for n in range(64)))
        assert len({trial.name for (trial,) in given}) == 64
        assert len({tuple(trial.parameters.items()) for (trial,) in given}) == 64


async def test_an_ask_that_has_got_a_trial_waits_for_no_other_that_can_not_come(
    tmp_path: Path,
) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=2, parallel=2, lease=HOUR)
        (first,) = await ask(engine, "a")
        # It asks for a second one while the end of the first one is on its way.
        asking = ask(engine, "a", 2, wait_s=10 * LIMIT_S)
        _, given = await asyncio.gather(complete(engine, first), asking)
        assert [trial.index for trial in given] == [2]


async def test_an_ask_waits_for_a_place(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=2, parallel=1, lease=HOUR)
        (first,) = await ask(engine, "a")
        waiting = asyncio.ensure_future(ask(engine, "b", wait_s=LIMIT_S))
        assert await ask(engine, "c") == []
        await complete(engine, first)
        (second,) = await waiting
        assert second.index == 2


async def test_an_ask_for_more_than_it_holds_waits_too(tmp_path: Path) -> None:
    """A client with more workers than there are places would else ask again and again."""
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=3, parallel=2, lease=HOUR)
        held = await ask(engine, "a", 2)
        assert await ask(engine, "a", 3) == held, "without a wait it is told what it holds"
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await ask(engine, "a", 3, wait_s=0.3) == held
        assert loop.time() - began >= 0.3
        waiting = asyncio.ensure_future(ask(engine, "a", 3, wait_s=LIMIT_S))
        await ask(engine, "b")  # once this is answered, the other one is in the queue
        await complete(engine, held[0])
        assert [trial.index for trial in await waiting] == [2, 3]


@pytest.mark.parametrize("turns", range(4, 20))
async def test_an_ask_beside_the_end_is_answered_and_leaves_nothing_open(
    tmp_path: Path, turns: int
) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=9, lease=HOUR)
        (first,) = await ask(engine, "a")  # from now on suggestions are ready
        await complete(engine, first)
        loop = asyncio.get_running_loop()
        began = loop.time()
        stopping = asyncio.ensure_future(engine.jobs.stop("digits", request_id=None))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(LIMIT_S):
            asks = [
                engine.callers.suggest("digits", client_id=client, count=1, max_wait_s=0.0)
                for client in "abc"
            ]
            told = [lent.trial for lent_to, _ in await asyncio.gather(*asks) for lent in lent_to]
            await stopping
            for trial in told:
                await complete(engine, trial)
            job = await engine.store.job("digits")
            while job is None or not job.job.status.is_terminal:
                await asyncio.sleep(0.01)
                job = await engine.store.job("digits")
        # Nobody waited for trials that nobody knows of.
        assert loop.time() - began < 4


async def test_a_trial_that_is_stopped_as_it_begins_is_waited_for_by_nobody(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=9, lease=HOUR)
        await complete(engine, (await ask(engine, "a"))[0])
        coordinator = engine.jobs.find_open("digits")
        assert coordinator is not None
        asking = asyncio.ensure_future(
            engine.callers.suggest("digits", client_id="b", count=1, max_wait_s=0.0)
        )
        await asyncio.sleep(0)  # what it wants is decided together with the stop
        coordinator.post(ev.JobStopRequested())
        lent, status = await asking
        assert (lent, status) == ([], TuningJobStatus.STOPPED)
        page = await engine.store.list_trials(TrialQuery())
        assert [each.trial.status for each in page.items] == ["Completed", "Stopped"]


async def test_asks_wait_while_a_tuning_job_ends(tmp_path: Path) -> None:
    """Otherwise who is told that it is in progress asks again at once, without end."""
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=2, lease=HOUR)
        (held,) = await ask(engine, "slow")
        for _ in range(5):
            (trial,) = await ask(engine, "a", wait_s=LIMIT_S)
            await fail(engine, trial)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await ask(engine, "a", wait_s=0.3) == []
        assert loop.time() - began >= 0.3
        assert await ask(engine, "a") == [], "without a wait it is told at once"
        waiting = asyncio.ensure_future(
            engine.callers.suggest("digits", client_id="a", count=1, max_wait_s=LIMIT_S)
        )
        await complete(engine, held)
        assert await waiting == ([], TuningJobStatus.FAILED)


async def test_a_completion_id_stands_for_one_result(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=9, lease=HOUR)
        one, two = await ask(engine, "a", 2)
        await complete(engine, one, 0.5, completion_id="key")
        await complete(engine, one, 0.5, completion_id="key")
        with pytest.raises(Conflict, match="with another result; nothing was changed"):
            await complete(engine, one, 0.25, completion_id="key")
        with pytest.raises(Conflict, match="with another result"):
            await fail(engine, one, completion_id="key")
        await fail(engine, two, completion_id="other")
        await fail(engine, two, completion_id="other")
        with pytest.raises(Conflict, match="with another result"):
            await complete(engine, two, math.nan, completion_id="other")


async def test_a_lease_that_never_was_is_called_so(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=9, lease=HOUR)
        (trial,) = await ask(engine, "a")
        never = replace(trial, lease_token=99)
        with pytest.raises(Conflict, match=r"never a lease 99 .* its latest one is 1"):
            await complete(engine, never)


async def test_a_repeat_beside_the_first_completion_is_answered_like_it(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=3, parallel=2, lease=HOUR)
        first, second = await ask(engine, "a", 2)
        both = [complete(engine, first, completion_id="once") for _ in range(2)]
        assert await asyncio.gather(*both) == [None, None]
        results = await asyncio.gather(
            complete(engine, second, completion_id="one"),
            complete(engine, second, completion_id="other"),
            return_exceptions=True,
        )
        assert [type(each) for each in results] == [type(None), AlreadyCompleted]


async def test_a_late_or_second_call_changes_nothing(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=3, parallel=2, lease=HOUR)
        (trial,) = await ask(engine, "a")
        await complete(engine, trial, 0.5, completion_id="once")
        before = await stored(engine, trial.name)
        with pytest.raises(AlreadyCompleted):
            await complete(engine, trial, 0.25)
        with pytest.raises(AlreadyCompleted):
            await complete(engine, trial, 0.25, completion_id="twice")
        with pytest.raises(AlreadyCompleted):
            await report(engine, trial, {"loss": 1.0})
        await complete(engine, trial, 0.5, completion_id="once")
        assert await stored(engine, trial.name) == before


async def test_a_silent_callers_trial_is_offered_again(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=3, parallel=1, lease=timedelta(seconds=1))
        (lost,) = await ask(engine, "a")
        await report(engine, lost, {"loss": 1.0})
        (again,) = await ask(engine, "b", wait_s=LIMIT_S)
        assert (again.name, again.parameters) == (lost.name, lost.parameters)
        assert again.lease_token == lost.lease_token + 1
        for late in (complete(engine, lost), report(engine, lost, {"loss": 0.0})):
            with pytest.raises(Conflict, match=r"lease 1 .* is not the current one, 2"):
                await late
        assert await engine.store.measurements(lost.name) == ()
        await complete(engine, again)


async def test_calls_keep_a_lease(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=3, parallel=2, lease=timedelta(seconds=1))
        kept, lost = await ask(engine, "a", 2)
        waiting = asyncio.ensure_future(ask(engine, "b", wait_s=LIMIT_S))
        while not waiting.done():
            assert await report(engine, kept, {}) is False
            await asyncio.sleep(0.05)
        assert [trial.name for trial in waiting.result()] == [lost.name]
        await complete(engine, kept)


async def test_a_silent_callers_trial_fails_where_the_job_says_so(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create(
            "digits", jobs=3, parallel=1, lease=timedelta(seconds=1), fails_late=True
        )
        (lost,) = await ask(engine, "a")
        (other,) = await ask(engine, "b", wait_s=LIMIT_S)
        assert other.name != lost.name
        assert (await stored(engine, lost.name)).status == "Failed"
        with pytest.raises(AlreadyCompleted):
            await complete(engine, lost)


async def test_a_stopped_job_hears_its_callers_out(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=3, parallel=2, lease=HOUR)
        first, second = await ask(engine, "a", 2)
        await engine.jobs.stop("digits", request_id=None)
        assert await report(engine, first, {"loss": 1.0}) is True
        lent, status = await engine.callers.suggest(
            "digits", client_id="a", count=2, max_wait_s=LIMIT_S
        )
        assert (list(lent), status) == ([], TuningJobStatus.STOPPING)
        await complete(engine, first, 0.5)
        ended = await stored(engine, first.name)
        assert (ended.status, ended.objective_value) == ("Stopped", 0.5)
        await complete(engine, second)
        assert (await engine.jobs.read("digits")).job.status is TuningJobStatus.STOPPED


async def test_leases_survive_a_restart(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=4, parallel=3, lease=HOUR)
        held = await ask(engine, "a", 2)
        await complete(engine, held[0], 0.5, completion_id="once")
    async with running_engine(tmp_path) as engine:
        await complete(engine, held[0], 0.5, completion_id="once")
        assert await ask(engine, "a") == held[1:]
        await complete(engine, held[1])
        assert (await stored(engine, held[1].name)).status == "Completed"


async def test_a_store_that_fails_hands_nothing_out(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=4, parallel=3, lease=HOUR)
        (first,) = await ask(engine, "a")
        await engine.store.close()
        with pytest.raises(StoreUnavailable):
            await ask(engine, "b")
        with pytest.raises(StoreUnavailable):
            await complete(engine, first)


async def test_what_runners_run_is_not_for_callers(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits")
        with pytest.raises(InvalidState, match="runners"):
            await ask(engine, "a")
        with pytest.raises(ResourceNotFound):
            await ask(engine, "a", job="letters")
        runner = await engine.connect("runner")
        trial = await stored(engine, (await runner.assignment()).training_job_name)
        with pytest.raises(InvalidState, match="runner"):
            await complete(engine, trial)
        with pytest.raises(TrainingJobNotFound):
            await engine.callers.report("no-such", lease_token=1, step=0, values={"a": 1.0})


@pytest.mark.parametrize("bayesian", [False, True])
async def test_every_configuration_of_a_finite_space_is_handed_out_once(
    tmp_path: Path, *, bayesian: bool
) -> None:
    async with running_engine(tmp_path, compute=Compute(command=QUICK)) as engine:
        await engine.create(
            "digits", jobs=6, parallel=3, lease=HOUR, bayesian=bayesian, small=True, random_seed=1
        )
        seen = set()
        while True:
            lent, status = await engine.callers.suggest(
                "digits", client_id="a", count=2, max_wait_s=LIMIT_S
            )
            if status is not TuningJobStatus.IN_PROGRESS:
                break
            for each in lent:
                seen.add(tuple(each.trial.parameters.items()))
                await complete(engine, each.trial)
        assert (status, len(seen)) == (TuningJobStatus.COMPLETED, 6)


@pytest.mark.timeout(60)
async def test_seeded_suggestions_do_not_depend_on_how_they_were_asked_for(tmp_path: Path) -> None:
    """Computed ahead or on demand, before or after a restart: the same, for the same history."""
    runs = []
    for restart_at in (None, 7):
        folder = tmp_path / str(restart_at)
        folder.mkdir()
        told: list[Mapping[str, str]] = []
        for part in (range(restart_at or 0), range(restart_at or 0, 14)):
            async with running_engine(folder, compute=Compute(command=QUICK)) as engine:
                if part.start == 0:
                    await engine.create(
                        "digits",
                        jobs=20,
                        parallel=4,
                        lease=HOUR,
                        bayesian=True,
                        random_seed=3,
                        request_id="once",
                    )
                for number in part:
                    (trial,) = await ask(engine, "a")
                    told.append(trial.parameters)
                    if restart_at is None:
                        await asyncio.sleep(0.01)  # what is computed ahead is ready, or not
                    await complete(engine, trial, float(number % 5))
        runs.append(told)
    assert runs[0] == runs[1]
