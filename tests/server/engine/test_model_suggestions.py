"""Suggestions of an optimiser on a compute worker: the same however it came to know what it knows."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.server.domain.job_specs import SMALL_SPACE, SPACE, job_spec
from tests.server.engine.compute_parts import COLD, QUICK, running, worker_with
from tests.server.store import samples
from tests.server.store.samples import NOW, changed, existing
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space.encoding import render
from tunesmith_core.space.ranges import SearchSpace
from tunesmith_server.domain.effects import SaveTrial
from tunesmith_server.domain.errors import StoreUnavailable
from tunesmith_server.domain.events import SuggestionsArrived
from tunesmith_server.domain.states import ObjectiveStatus, SecondaryStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import FailureKind, Trial, launch
from tunesmith_server.domain.tuning_job import JobSpec, Strategy
from tunesmith_server.engine import compute as compute_module
from tunesmith_server.engine import model_suggestions
from tunesmith_server.engine.compute import Compute, Connection, WorkerLost
from tunesmith_server.engine.compute_messages import Answer, Begin, Learn, Message
from tunesmith_server.engine.model_suggestions import ModelSuggester, SuggestionFault
from tunesmith_server.store.sqlite import SqliteStore

pytestmark = pytest.mark.timeout(180)

Texts = Mapping[str, str]

#: Longer than any ask takes, the first compilation of the kernels included.
LIMIT_S: Final = 120.0
#: More than the optimiser tries without a model.
ENOUGH: Final = 12


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_module, "_RESTART_PAUSE_S", 0.01)
    monkeypatch.setattr(model_suggestions, "_RETRY_PAUSE_S", 0.01)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "tunesmith.db")
    yield opened
    await opened.close()


@pytest.fixture
async def compute() -> AsyncIterator[Compute]:
    async with running(Compute(command=QUICK)) as made:
        yield made


@dataclass(slots=True)
class Job:
    """A tuning job in a store, whose trials a test launches and ends by hand."""

    store: SqliteStore
    spec: JobSpec
    job_id: int
    trials: list[Trial] = field(default_factory=list)
    seconds: int = 0

    async def launch(self, *configurations: Texts) -> None:
        new = [
            launch(
                name=f"{self.spec.name}-{index:03}",
                index=index,
                definition_name=None,
                parameters=parameters,
                now=NOW,
            )
            for index, parameters in enumerate(configurations, start=len(self.trials) + 1)
        ]
        self.trials += new
        await self._commit(*(SaveTrial(trial=trial, is_new=True) for trial in new))

    async def end(
        self,
        index: int,
        value: float | None = None,
        *,
        status: SecondaryStatus = SecondaryStatus.COMPLETED,
        kind: FailureKind | None = None,
        noted_at_s: int | None = None,
    ) -> None:
        self.seconds += 1
        at = NOW + timedelta(seconds=self.seconds if noted_at_s is None else noted_at_s)
        known = ObjectiveStatus.FAILED if value is None else ObjectiveStatus.SUCCEEDED
        ended = replace(
            self.trials[index - 1],
            secondary_status=status,
            objective_status=known,
            objective_value=value,
            failure_kind=kind,
            failure_reason=kind and "it broke",
            modified_at=at,
            ended_at=at,
        )
        self.trials[index - 1] = ended
        await self._commit(SaveTrial(trial=ended))

    async def run(self, *configurations: Texts) -> None:
        """Launch and complete trials, one after the other, whose objective is a bowl."""
        for configuration in configurations:
            await self.launch(configuration)
            await self.end(len(self.trials), bowl(configuration))

    @property
    def next_index(self) -> int:
        return len(self.trials) + 1

    def suggester(self, compute: Compute) -> ModelSuggester:
        worker = compute.worker_of(self.job_id)
        return ModelSuggester(self.spec, job_id=self.job_id, store=self.store, worker=worker)

    async def ask(self, suggester: ModelSuggester, count: int = 1) -> SuggestionsArrived:
        async with asyncio.timeout(LIMIT_S):
            return await suggester.suggest(first_index=self.next_index, count=count)

    async def _commit(self, *saves: SaveTrial) -> None:
        await self.store.commit(changed(await existing(self.store, self.spec.name), *saves))


def bowl(configuration: Texts) -> float:
    depth = float(configuration.get("depth", "0"))
    return (depth - 6) ** 2 + abs(1000 * float(configuration.get("learning_rate", "0")) - 1)


async def new_job(
    store: SqliteStore,
    name: str = "digits",
    *,
    space: SearchSpace = SPACE,
    seed: int = 7,
    is_seeded: bool = False,
) -> Job:
    spec = job_spec(name=name, space=space, strategy=Strategy.BAYESIAN, seed=seed)
    if is_seeded:
        spec.request.hyper_parameter_tuning_job_config.random_seed = seed
    stored = await store.create_job(samples.new_job(name))
    return Job(store=store, spec=spec, job_id=stored.job.job_id)


async def explored(store: SqliteStore, compute: Compute, *, is_seeded: bool = False) -> Job:
    """Give a tuning job that knows enough for a model, and has one trial pending."""
    job = await new_job(store, is_seeded=is_seeded)
    design = Optimizer(SPACE, seed=1)
    await job.run(*_texts(design.ask(ENOUGH, quasi_random=True)))
    arrived = await job.ask(job.suggester(compute))
    await job.launch(*texts(arrived))
    return job


def texts(arrived: SuggestionsArrived) -> list[Texts]:
    """Give the configurations that came."""
    return [each.parameters for each in arrived.suggestions]


def _texts(configurations: list[Mapping[str, float | int | str]]) -> list[Texts]:
    return [{name: render(value) for name, value in each.items()} for each in configurations]


def note_messages(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Note all that is said to workers from now on."""
    said: list[Message] = []
    real = Connection.post

    def noting(self: Connection, message: Message) -> None:
        said.append(message)
        real(self, message)

    monkeypatch.setattr(Connection, "post", noting)
    return said


async def test_only_what_is_new_is_told_and_it_comes_to_the_same(
    store: SqliteStore, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(store, is_seeded=True)
    suggester = job.suggester(compute)
    await job.run(*texts(await job.ask(suggester, 6)))
    for _ in range(4):
        with monkeypatch.context() as patched:
            said = note_messages(patched)
            arrived = await job.ask(suggester, 2)
        assert not any(isinstance(message, Begin) for message in said)
        told = sum(len(message.ends) for message in said if isinstance(message, Learn))
        assert told in {2, 6}
        anew = await job.ask(job.suggester(compute), 2)
        assert arrived == anew
        # What the second suggester asked is not launched: its optimiser must not be gone on with.
        await job.ask(suggester, 2)
        await job.run(*texts(arrived))


async def test_a_killed_worker_is_replaced_and_suggests_the_same(
    store: SqliteStore, compute: Compute
) -> None:
    job = await explored(store, compute)
    suggester = job.suggester(compute)
    expected = await job.ask(suggester)
    connection = await compute.worker_of(job.job_id).connection()
    os.kill(connection.pid, signal.SIGKILL)
    assert await job.ask(suggester) == expected
    assert (await compute.worker_of(job.job_id).connection()).pid != connection.pid


async def test_a_worker_that_dies_over_an_ask_is_asked_again(
    store: SqliteStore, compute: Compute, tmp_path: Path
) -> None:
    job = await explored(store, compute)
    expected = await job.ask(job.suggester(compute))
    marker = tmp_path / "died"
    dies_once = f"""
real = compute_worker.Searches.ask
def ask(*arguments):
    if not os.path.exists({str(marker)!r}):
        open({str(marker)!r}, "w").close()
        os._exit(9)
    return real(*arguments)
compute_worker.Searches.ask = ask
"""
    async with running(Compute(command=worker_with("lambda: None", before=dies_once))) as fragile:
        assert await job.ask(job.suggester(fragile)) == expected
    assert marker.exists()


async def test_a_worker_that_dies_over_every_ask_is_not_asked_for_ever(store: SqliteStore) -> None:
    job = await new_job(store)
    dies = worker_with(
        "lambda: None", before="compute_worker.Searches.ask = lambda *_: os._exit(9)"
    )
    async with running(Compute(command=dies)) as compute:
        with pytest.raises(SuggestionFault, match="the compute worker was lost 3 times"):
            await job.ask(job.suggester(compute))


async def test_a_restarted_server_goes_on_with_the_same_suggestions(
    store: SqliteStore, compute: Compute
) -> None:
    job = await explored(store, compute, is_seeded=True)
    expected = await job.ask(job.suggester(compute), 3)
    async with running(Compute(command=QUICK)) as other:
        assert await job.ask(job.suggester(other), 3) == expected


async def test_the_seed_is_what_differs(store: SqliteStore, compute: Compute) -> None:
    one, two = [await new_job(store, f"job-{seed}", seed=seed) for seed in (1, 2)]
    first = await one.ask(one.suggester(compute), 4)
    assert first != await two.ask(two.suggester(compute), 4)


async def test_until_the_worker_is_warm_suggestions_are_quasi_random(
    store: SqliteStore, compute: Compute
) -> None:
    job = await explored(store, compute)
    warm = await job.ask(job.suggester(compute))
    async with running(Compute(command=COLD)) as cold:
        arrived = await job.ask(job.suggester(cold))
    assert arrived != warm
    optimizer = Optimizer(SPACE, seed=job.spec.seed)
    design = _texts(optimizer.ask(2 * ENOUGH, quasi_random=True))
    tried = [trial.parameters for trial in job.trials]
    (expected, *_) = [each for each in design if each not in tried]
    assert texts(arrived) == [expected]


async def test_a_job_with_a_random_seed_waits_for_the_compiler_alone(
    store: SqliteStore, compute: Compute, tmp_path: Path
) -> None:
    seeded = await explored(store, compute, is_seeded=True)
    expected = await seeded.ask(seeded.suggester(compute))
    first, other = await new_job(store, "first", is_seeded=True), await new_job(store, "other")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = worker_with(f"lambda: open({str(gate)!r}).close()")
    async with running(Compute(command=command)) as slow:
        waiting = asyncio.create_task(seeded.ask(seeded.suggester(slow)))
        # Others on the same worker do not wait; nor does a first suggestion, which has no model.
        assert len(texts(await other.ask(other.suggester(slow)))) == 1
        assert len(texts(await first.ask(first.suggester(slow)))) == 1
        assert not waiting.done()
        await asyncio.to_thread(gate.write_text, "")
        assert await waiting == expected


async def test_a_large_ask_is_answered_in_turns(store: SqliteStore, compute: Compute) -> None:
    job = await new_job(store)
    suggester = job.suggester(compute)
    arrived = await job.ask(suggester, 1000)
    assert 1 <= len(texts(arrived)) < 20
    assert not arrived.exhausted
    await job.launch(*texts(arrived))
    more = await job.ask(suggester, 1000)
    assert not [each for each in texts(more) if each in texts(arrived)]


async def test_a_worker_has_one_tuning_job_at_a_time(
    store: SqliteStore, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [await new_job(store, f"job-{number}") for number in range(4)]
    served: list[int] = []
    busy = False
    real = Connection.ask

    async def noting(
        self: Connection,
        news: Sequence[Message],
        *,
        job_id: int,
        pending: Sequence[Suggestion],
        count: int,
    ) -> Answer:
        nonlocal busy
        assert not busy
        busy = True
        answer = await real(self, news, job_id=job_id, pending=pending, count=count)
        busy = False
        served.append(job_id)
        return answer

    monkeypatch.setattr(Connection, "ask", noting)
    await asyncio.gather(*(job.ask(job.suggester(compute), 8) for job in made))
    assert sorted(served) == [job.job_id for job in made]


async def test_a_small_space_is_used_up(store: SqliteStore, compute: Compute) -> None:
    job = await new_job(store, space=SMALL_SPACE)
    suggester = job.suggester(compute)
    first = await job.ask(suggester, 4)
    assert not first.exhausted
    await job.run(*texts(first))
    rest = await job.ask(suggester, 4)
    assert (len(texts(rest)), rest.exhausted) == (2, True)
    await job.launch(*texts(rest))
    assert await job.ask(suggester) == SuggestionsArrived(suggestions=(), exhausted=True)


async def test_failed_and_stopped_trials_are_learnt_from(
    store: SqliteStore, compute: Compute
) -> None:
    job = await new_job(store)
    suggester = job.suggester(compute)
    await job.launch(*texts(await job.ask(suggester, 8)))
    await job.end(1, kind=FailureKind.NON_RETRYABLE, status=SecondaryStatus.FAILED)
    await job.end(2, kind=FailureKind.RETRYABLE, status=SecondaryStatus.FAILED)
    await job.end(3, status=SecondaryStatus.STOPPED)
    await job.end(4, 2.0, status=SecondaryStatus.MAX_RUNTIME_EXCEEDED)
    await job.end(5)
    await job.end(7, 1.0)
    arrived = await job.ask(suggester)
    assert arrived == await job.ask(job.suggester(compute))
    assert texts(arrived)[0] not in [trial.parameters for trial in job.trials]


async def test_nothing_but_failures_still_leaves_suggestions(
    store: SqliteStore, compute: Compute
) -> None:
    job = await new_job(store)
    suggester = job.suggester(compute)
    for _ in range(ENOUGH):
        await job.launch(*texts(await job.ask(suggester)))
        await job.end(
            len(job.trials), kind=FailureKind.NON_RETRYABLE, status=SecondaryStatus.FAILED
        )
    assert len({tuple(trial.parameters.items()) for trial in job.trials}) == ENOUGH


async def test_an_end_that_belongs_before_others_has_all_told_from_the_beginning(
    store: SqliteStore, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await explored(store, compute)
    suggester = job.suggester(compute)
    await job.launch(*texts(await job.ask(suggester)))
    await job.end(ENOUGH + 2, 3.0, noted_at_s=1000)
    await job.ask(suggester)
    await job.end(ENOUGH + 1, 4.0, noted_at_s=500)
    said = note_messages(monkeypatch)
    arrived = await job.ask(suggester)
    assert isinstance(said[0], Begin)
    assert arrived == await job.ask(job.suggester(compute))


async def test_a_store_that_cannot_be_read_is_read_again(
    store: SqliteStore, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(store)
    failures = [StoreUnavailable("disk I/O error")] * 2
    real = store.outcomes

    async def failing(job_id: int, *, first_index: int = 1) -> object:
        if failures:
            raise failures.pop()
        return await real(job_id, first_index=first_index)

    monkeypatch.setattr(store, "outcomes", failing)
    assert len(texts(await job.ask(job.suggester(compute)))) == 1
    assert not failures


async def test_a_tuning_job_that_has_ended_leaves_nothing_on_its_worker(
    store: SqliteStore, compute: Compute
) -> None:
    job = await new_job(store)
    suggester = job.suggester(compute)
    await job.ask(suggester)
    connection = await compute.worker_of(job.job_id).connection()

    async def fault() -> str:
        return (await connection.ask([], job_id=job.job_id, pending=[], count=1)).fault

    assert await fault() == ""
    suggester.close()
    assert "was not begun here" in await fault()
    await job.ask(suggester)  # it was under way
    assert "was not begun here" in await fault()


async def test_what_the_optimiser_refuses_is_a_fault(store: SqliteStore, compute: Compute) -> None:
    job = await new_job(store)
    await job.run({"learning_rate": "0.01", "depth": "99", "booster": "tree"})
    with pytest.raises(SuggestionFault, match=r"SpaceError: .*depth"):
        await job.ask(job.suggester(compute))


async def test_a_tuning_job_that_ends_while_it_waits_for_its_turn_is_no_fault(
    store: SqliteStore, compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    job = await new_job(store)
    suggester = job.suggester(compute)
    await job.ask(suggester)  # the optimiser is there, and is not begun again
    connection = await compute.worker_of(job.job_id).connection()
    async with connection.turn():
        waiting = asyncio.create_task(job.ask(suggester))
        while connection.in_line < 2:  # noqa: ASYNC110 - it says nothing when it grows
            await asyncio.sleep(0)
        suggester.close()
    assert await waiting == SuggestionsArrived(suggestions=(), exhausted=False)
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_what_computed_the_latest_suggestion_is_known(
    store: SqliteStore, compute: Compute
) -> None:
    job = await new_job(store)
    suggester = job.suggester(compute)
    assert suggester.device is None
    await job.ask(suggester)
    assert suggester.device == "cpu"


async def test_a_turn_is_shared_where_a_gpu_computes_and_no_seed_forbids_it(
    store: SqliteStore, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[bool] = []
    turn, ask = Connection.turn, Connection.ask

    def noted(self: Connection, *, is_shared: bool = False) -> AbstractAsyncContextManager[None]:
        turns.append(is_shared)
        return turn(self, is_shared=is_shared)

    async def lost_once(self: Connection, *arguments: Any, **options: Any) -> Answer:
        if len(turns) == 1:
            raise WorkerLost("it died")
        return await ask(self, *arguments, **options)

    monkeypatch.setattr(Connection, "turn", noted)
    monkeypatch.setattr(Connection, "ask", lost_once)
    for is_seeded, device, shares in [
        (False, "gpu:0 A Card", True),
        (True, "gpu:0 A Card", False),
        (False, "cpu", False),
        (False, None, False),
    ]:
        job = await new_job(store, f"{is_seeded}-{device}".replace(" ", "-"), is_seeded=is_seeded)
        suggester = job.suggester(compute)
        suggester._device = device
        turns.clear()
        await job.ask(suggester)
        # Once it was lost in company it is asked alone: whoever kills a worker is found out.
        assert turns == [shares, False]
