"""A store and an actor that record what they are told, and an engine to drive by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, cast

from tests.server.domain.create_requests import BAYESIAN, RANDOM, create_request
from tests.server.domain.job_specs import job_spec
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import tuning_service_pb2 as tuning_pb
from tunesmith.v1.tuning_job_pb2 import (
    LEASE_EXPIRY_ACTION_FAIL,
    TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO,
)
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.instance_types import InstanceProfile
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.tuning_job import JobSpec, JobState, TuningJob
from tunesmith_server.engine.assignments import Assigner
from tunesmith_server.engine.callers import Callers
from tunesmith_server.engine.compute import Compute
from tunesmith_server.engine.coordinator import Clock, Coordinator
from tunesmith_server.engine.fan_out import FanOut
from tunesmith_server.engine.fleet import Fleet, FleetSettings, Session
from tunesmith_server.engine.jobs import Jobs
from tunesmith_server.engine.leases import Leases
from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import Commit, Store

NOW: Final = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
#: Longer than any of these tests takes; a test that waits for it has failed.
LIMIT_S: Final = 10.0

SITE: Final = Site(
    instance_types={
        "two.gpus": InstanceProfile(vcpus=4, memory_bytes=2**30, gpus=2),
        "one.gpu": InstanceProfile(vcpus=4, memory_bytes=2**30, gpus=1),
    }
)


class RecordingStore:
    """Keep commits; wait, or fail, where a test wants it to.

    Attributes:
        commits: What was made durable.
        failures: Raised by the next commits, one each; by None nothing is.
        gate: Commits wait until it is set.
        waiting: Set while a commit waits.
    """

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.failures: list[Exception | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    async def commit(self, commit: Commit) -> None:
        self.waiting.set()
        await self.gate.wait()
        self.waiting.clear()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.commits.append(commit)

    def as_store(self) -> Store:
        """Pass for a store, of which a coordinator uses nothing but ``commit``."""
        return cast("Store", self)


@dataclass(slots=True)
class RecordingActor:
    """Note commands, and how many commits there were when each came."""

    store: RecordingStore
    acted: list[tuple[int, fx.Command]] = field(default_factory=list)
    changes: int = 0

    def act(self, _: Coordinator, command: fx.Command) -> None:
        self.acted.append((len(self.store.commits), command))

    def committed(self, _: Coordinator, durable: Sequence[fx.Durable]) -> None:  # noqa: ARG002 - the interface's
        self.changes += 1


def new_state(spec: JobSpec | None = None) -> JobState:
    job = TuningJob(job_id=1, status=TuningJobStatus.IN_PROGRESS, created_at=NOW, modified_at=NOW)
    return JobState(spec=spec or job_spec(), job=job)


def suggested(*values: str, exhausted: bool = False) -> ev.SuggestionsArrived:
    """Propose one configuration for each value."""
    suggestions = tuple(Suggestion(parameters={"depth": value}) for value in values)
    return ev.SuggestionsArrived(suggestions=suggestions, exhausted=exhausted)


def assigned(name: str, *, instance_id: str = "i-1") -> ev.TrialAssigned:
    return ev.TrialAssigned(trial_name=name, runner_name="r", instance_id=instance_id)


def reported(name: str, sequence: int, report: ev.Report, *, lease: int = 1) -> ev.TrialReported:
    return ev.TrialReported(
        trial_name=name, lease_token=lease, sequence=sequence, reported_at=NOW, report=report
    )


def ended(outcome: ev.Outcome = ev.Outcome.COMPLETED) -> ev.TrialEnded:
    return ev.TrialEnded(
        outcome=outcome,
        failure_reason="AlgorithmError: it broke" if outcome is ev.Outcome.FAILED else "",
        retryable=False,
        model_artifacts_uri="",
        training_started_at=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Hold a running engine over a real store."""

    store: SqliteStore
    fleet: Fleet
    jobs: Jobs
    fan_out: FanOut
    callers: Callers

    async def create(
        self,
        name: str,
        *,
        jobs: int = 1,
        parallel: int = 1,
        instance_type: str = "local",
        request_id: str | None = None,
        random_seed: int | None = None,
        bayesian: bool = False,
        lease: timedelta | None = None,
        fails_late: bool = False,
        small: bool = False,
        stops_early: bool = False,
    ) -> str:
        """Create a tuning job; returns its ARN."""
        request = tuning_request(name, jobs=jobs, parallel=parallel, instance_type=instance_type)
        config = request.hyper_parameter_tuning_job_config
        if lease is not None:  # its callers run the trials
            request.ClearField("training_job_definition")
            request.trial_lease_config.lease_duration_in_seconds = int(lease.total_seconds())
            if fails_late:
                request.trial_lease_config.lease_expiry_action = LEASE_EXPIRY_ACTION_FAIL
        if small:  # six configurations
            config.ClearField("parameter_ranges")
            ranges = config.parameter_ranges.categorical_parameter_ranges
            ranges.add(name="booster", values=["tree", "linear"])
            ranges.add(name="depth", values=["3", "6", "9"])
        if bayesian:
            config.strategy = BAYESIAN
        if stops_early:
            config.training_job_early_stopping_type = TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO
        if random_seed is not None:
            config.random_seed = random_seed
        return await self.jobs.create(request, seed=1, request_id=request_id)

    async def connect(
        self,
        instance_id: str,
        *,
        slots: int = 1,
        gpus: int = 0,
        held: Sequence[pb.HeldTrial] = (),
        replaced: Sequence[str] = (),
    ) -> Runner:
        """Connect a runner."""
        session = await self.fleet.connect(
            pb.RunnerHello(
                runner_name=f"runner {instance_id}",
                instance_id=instance_id,
                slots=slots,
                gpus=[pb.Gpu(device_id=str(number)) for number in range(gpus)],
                held_trials=held,
                replaced_instance_ids=replaced,
            )
        )
        runner = Runner(engine=self, instance_id=instance_id, session=session)
        runner.welcome = (await runner.next()).welcome
        return runner


@dataclass(slots=True, kw_only=True)
class Runner:
    """Be a connected runner."""

    engine: Engine
    instance_id: str
    session: Session
    welcome: pb.RunnerWelcome = field(default_factory=pb.RunnerWelcome)

    async def next(self) -> pb.ConnectResponse:
        async with asyncio.timeout(LIMIT_S):
            return await self.session.next_message()

    async def assignment(self) -> pb.TrialAssignment:
        message = await self.next()
        assert message.HasField("assignment"), message
        return message.assignment

    async def report(self, assignment: pb.TrialAssignment, *news: ev.Report) -> None:
        """Report news of a trial, numbered from 1."""
        reports = [
            reported(assignment.training_job_name, sequence, each, lease=assignment.lease_token)
            for sequence, each in enumerate(news, start=1)
        ]
        await self.engine.jobs.report(self.instance_id, reports)

    def leave(self) -> None:
        """Lose the connection."""
        self.engine.fleet.disconnect(self.instance_id, self.session)

    async def has_nothing(self) -> bool:
        """Tell whether nothing is waiting to be sent, once all that is ready has run."""
        for _ in range(100):
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await self.session.next_message()
                return False
        return True


def tuning_request(
    name: str, *, jobs: int = 1, parallel: int = 1, instance_type: str = "local"
) -> tuning_pb.CreateHyperParameterTuningJobRequest:
    request = create_request()
    request.hyper_parameter_tuning_job_name = name
    config = request.hyper_parameter_tuning_job_config
    config.strategy = RANDOM
    config.resource_limits.max_number_of_training_jobs = jobs
    config.resource_limits.max_parallel_training_jobs = parallel
    request.training_job_definition.resource_config.instance_type = instance_type
    return request


@asynccontextmanager
async def running_engine(
    folder: Path,
    *,
    lease: timedelta = timedelta(seconds=60),
    site: Site = SITE,
    clock: Clock = lambda: datetime.now(UTC),
    compute: Compute | None = None,
) -> AsyncIterator[Engine]:
    """Run an engine as the server does; a second one on the folder goes on where it was.

    There are compute workers only where they are given.
    """
    store = await SqliteStore.open(folder / "tunesmith.db")
    try:
        fleet = Fleet(
            assigner=Assigner(site=site, stop_grace=timedelta(seconds=5), clock=clock),
            settings=FleetSettings(lease=lease),
        )
        leases = Leases(stop_grace=timedelta(seconds=5))
        fan_out = FanOut()
        jobs = Jobs(
            store=store,
            fleet=fleet,
            leases=leases,
            fan_out=fan_out,
            compute=compute or Compute(),
            clock=clock,
            account=Account(),
            site=site,
        )
        recovered = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(work) for work in (fleet.run(), leases.run(), jobs.run(recovered))
            ]
            if compute is not None:
                running.append(tasks.create_task(compute.run()))
            await recovered.wait()
            try:
                callers = Callers(jobs=jobs, leases=leases, store=store)
                yield Engine(store=store, fleet=fleet, jobs=jobs, fan_out=fan_out, callers=callers)
            finally:
                for task in running:
                    task.cancel()
    finally:
        await store.close()
