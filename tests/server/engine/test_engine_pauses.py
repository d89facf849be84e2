"""Pauses at rungs through the engine: who rests, who goes on, and what a restart makes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.server.engine.engine_parts import (
    LIMIT_S,
    Engine,
    Runner,
    ended,
    running_engine,
    tuning_request,
)
from tests.server.engine.test_jobs import _settled
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1.tuning_job_pb2 import HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.verdicts import StoppingRule

METRIC = "loss"
#: What the trials give at each of their values, by launch index.
LOSSES = {1: 5.0, 2: 4.0, 3: 1.0, 4: 3.0}


async def create(engine: Engine, name: str = "job") -> None:
    """Create a tuning job of four trials, one at a time; rungs at 1 and 4 of 6 values."""
    request = tuning_request(name, jobs=4, parallel=1)
    config = request.hyper_parameter_tuning_job_config
    config.strategy = HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND
    config.strategy_config.hyperband_strategy_config.min_resource = 1
    config.strategy_config.hyperband_strategy_config.max_resource = 6
    config.random_seed = 1  # so that no model is needed
    request.training_job_definition.checkpoint_config.s3_uri = "file:///kept"
    await engine.jobs.create(request, seed=1, request_id=None)


class Program:
    """Be the programs of all trials on one runner: each goes on from its checkpoint."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.begun: list[tuple[int, int]] = []

    async def run(self, emitted: dict[int, int]) -> None:
        """Run the next trial until it is asked back, or has emitted all."""
        assignment = await self.runner.assignment()
        index = int(assignment.training_job_name.split("-")[1])
        self.begun.append((index, emitted.get(index, 0)))
        assert assignment.checkpoint_config.s3_uri == "file:///kept"
        news: list[ev.Report] = [ev.StageReached(stage=ev.Stage.TRAINING)]
        while emitted.get(index, 0) < 6:
            emitted[index] = emitted.get(index, 0) + 1
            news.append(ev.MetricEmitted(metric_name=METRIC, value=LOSSES[index]))
            await self.runner.report(assignment, *news)
            if await self._is_asked_back(assignment):
                await self.runner.report(assignment, *news, ended(ev.Outcome.RETURNED))
                return
        await self.runner.report(assignment, *news, ended())

    async def _is_asked_back(self, assignment: pb.TrialAssignment) -> bool:
        name, engine = assignment.training_job_name, self.runner.engine
        await engine.jobs.judged(name)
        stored = await engine.store.trial(name)
        if stored is None or not stored.trial.pause_requested:
            return False
        message = await self.runner.next()
        assert message.stop.training_job_name == name
        return message.stop.gives_back


async def trial(engine: Engine, index: int) -> Trial:
    job = await engine.jobs.read("job")
    found = {each.index: each for each in await engine.store.open_trials(job.job.job_id)}
    return found[index]


async def test_the_best_that_rests_goes_on_and_the_others_are_stopped_at_the_end(
    tmp_path: Path,
) -> None:
    emitted: dict[int, int] = {}
    async with running_engine(tmp_path) as engine:
        await create(engine)
        program = Program(await engine.connect("a"))
        async with asyncio.timeout(LIMIT_S):
            for _ in range(6):
                await program.run(emitted)
        # All four come to rest at the first rung; the third goes on, rests at the second, alone there,
        # and goes on all the same, since nothing else is to be done.
        assert program.begun == [(1, 0), (2, 0), (3, 0), (4, 0), (3, 1), (3, 4)]
        assert await _settled(engine, "job") is TuningJobStatus.COMPLETED
        job = (await engine.jobs.read("job")).job
        assert (job.counters.completed, job.counters.stopped) == (1, 3)
        assert job.best is not None
        assert (job.best.index, job.best.objective_value) == (3, 1.0)
        assert job.best.metrics[METRIC].step == 6
        for index in (1, 2, 4):
            name = f"job-{index:03d}"
            (left,) = [
                each
                for each in [await engine.store.trial(n) for n in await names(engine)]
                if each is not None and each.trial.name.startswith(name)
            ]
            assert left.trial.status is TrainingJobStatus.STOPPED
            assert left.trial.objective_value == LOSSES[index]
            assert left.trial.verdict is not None
            assert left.trial.verdict.rule is StoppingRule.PAUSED


async def names(engine: Engine) -> list[str]:
    job = await engine.jobs.read("job")
    events = await engine.store.events(job.job.job_id, after=0, limit=1000)
    found = {event.training_job.summary.training_job_name for event in events}
    return sorted(found - {""})


async def test_a_restarted_server_keeps_who_rests_and_lets_the_best_go_on(tmp_path: Path) -> None:
    emitted: dict[int, int] = {}
    async with running_engine(tmp_path) as engine:
        await create(engine)
        program = Program(await engine.connect("a"))
        for _ in range(3):
            await program.run(emitted)
        assert (await trial(engine, 1)).is_paused
    async with running_engine(tmp_path) as engine:
        program = Program(await engine.connect("b"))
        for _ in range(3):
            await program.run(emitted)
        assert program.begun == [(4, 0), (3, 1), (3, 4)]
        assert await _settled(engine, "job") is TuningJobStatus.COMPLETED


async def test_a_pause_that_was_missed_is_sent_again(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await create(engine)
        runner = await engine.connect("a")
        assignment = await runner.assignment()
        await runner.report(assignment, ev.MetricEmitted(metric_name=METRIC, value=5.0))
        assert (await runner.next()).stop.gives_back
        runner.leave()
        held = pb.HeldTrial(
            training_job_name=assignment.training_job_name, lease_token=assignment.lease_token
        )
        back = await engine.connect("a", held=[held])
        message = await back.next()
        assert (message.stop.training_job_name, message.stop.gives_back) == (
            assignment.training_job_name,
            True,
        )
