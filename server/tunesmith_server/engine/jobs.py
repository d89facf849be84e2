"""All tuning jobs: creation, recovery, callers' wishes, runners' reports.

Every change of a tuning job passes through its coordinator; this module finds the coordinator,
and carries out the commands that its decisions give.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import assert_never

from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import (
    Conflict,
    InvalidState,
    ResourceNotFound,
    TrainingJobInUse,
    TrainingJobNotFound,
)
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.tuning_job import JobSpec, JobState
from tunesmith_server.engine.background import logged
from tunesmith_server.engine.compute import Compute
from tunesmith_server.engine.convergence import Convergence, Leisure
from tunesmith_server.engine.coordinator import Clock, Coordinator
from tunesmith_server.engine.desk import Desk
from tunesmith_server.engine.early_stopping import EarlyStopping
from tunesmith_server.engine.fan_out import FanOut
from tunesmith_server.engine.fleet import Fleet
from tunesmith_server.engine.leases import Leases
from tunesmith_server.engine.specs import Specs
from tunesmith_server.engine.suggestions import Suggester, make_suggester
from tunesmith_server.store.store import Curve, NewJob, Store, StoredJob

logger = logging.getLogger(__name__)


class Jobs:
    """Hold the coordinators of the tuning jobs that have not ended."""

    def __init__(
        self,
        *,
        store: Store,
        fleet: Fleet,
        leases: Leases,
        fan_out: FanOut,
        compute: Compute,
        clock: Clock,
        account: Account,
        site: Site,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._leases = leases
        self._fan_out = fan_out
        self._compute = compute
        self._clock = clock
        self._site = site
        self._specs = Specs(store=store, account=account, site=site)
        self._coordinators: dict[int, Coordinator] = {}
        self._by_name: dict[str, Coordinator] = {}
        self._creating: dict[int, JobSpec] = {}
        self._desks: dict[int, Desk] = {}
        self._suggesters: dict[int, Suggester] = {}
        self._early_stopping: dict[int, EarlyStopping] = {}
        self._convergence: dict[int, Convergence] = {}
        self._leisure = Leisure()
        self._stopping_early: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, recovered: asyncio.Event) -> None:
        """Go on with every unfinished tuning job, then serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for stored in await self._store.open_jobs():
                await self._recover(stored)
            recovered.set()
            await asyncio.get_running_loop().create_future()

    # --- callers' wishes ------------------------------------------------------------------

    async def create(
        self, request: pb.CreateHyperParameterTuningJobRequest, *, seed: int, request_id: str | None
    ) -> str:
        """Create a tuning job and set it going; returns its ARN.

        Args:
            request: The create request; not changed afterwards.
            seed: Seed to use when the request has no RandomSeed.
            request_id: A repeat under the same key returns the first call's ARN.

        Raises:
            InvalidRequest: The request breaks constraints or rules.
            ResourceInUse: The name is taken.
            ResourceLimitExceeded: All tuning jobs together would have too much.
            Conflict: The request id was used for something else.
        """
        # A repeat is answered like the first call, whatever has become of parents and quotas.
        is_repeat = (
            request_id is not None and await self._store.find_request(request_id) is not None
        )
        spec = await self._specs.accepted(request, seed=seed, is_repeat=is_repeat)
        if not is_repeat:
            self._check_quotas(spec)
        # What is being written counts already: several may be created at once.
        self._creating[id(spec)] = spec
        try:
            return await self._create(spec, request, request_id)
        finally:
            del self._creating[id(spec)]

    def _check_quotas(self, spec: JobSpec) -> None:
        open_specs = [each.state.spec for each in self._coordinators.values()]
        used = [each.max_parallel for each in (*open_specs, *self._creating.values())]
        self._site.quotas.check(used=used, wanted=spec.max_parallel)

    async def _create(
        self,
        spec: JobSpec,
        asked: pb.CreateHyperParameterTuningJobRequest,
        request_id: str | None,
    ) -> str:
        request = spec.request
        stored = await self._store.create_job(
            NewJob(
                request=request,
                asked=asked,
                arn=spec.arn,
                seed=spec.seed,
                created_at=self._clock(),
                tags={tag.key: tag.value for tag in request.tags},
                request_id=request_id,
                events=(),
                parents=[parent.job_id for parent in spec.parents],
            )
        )
        if stored.job.job_id not in self._coordinators and not stored.job.status.is_terminal:
            coordinator = self._coordinate(JobState(spec=spec, job=stored.job), curves=())
            self._start(logged(coordinator.deliver(ev.Recovered()), doing=f"starting {spec.name}"))
        return stored.arn

    async def stop(self, name: str, *, request_id: str | None) -> None:
        """Stop a tuning job.

        Raises:
            ResourceNotFound: There is no such tuning job.
            InvalidState: It is stopping or has ended.
            Conflict: The request id was used for something else.
        """
        if await self._is_repeat(request_id, of=f"commit/{name}"):
            return
        stored = await self.read(name)
        coordinator = self._coordinators.get(stored.job.job_id)
        if coordinator is None:
            raise InvalidState(
                f"The request was rejected because the hyperparameter tuning job is already in "
                f"status {stored.job.status}."
            )
        await coordinator.post(ev.JobStopRequested(), request_id=request_id)

    async def stop_training_job(self, name: str, *, request_id: str | None) -> None:
        """Stop one training job.

        Raises:
            TrainingJobNotFound: There is no such training job.
            InvalidState: It is stopping or has ended.
            Conflict: The request id was used for something else.
        """
        stored = await self._store.trial(name)
        if stored is None:
            raise TrainingJobNotFound(name)
        tuning_job_name = stored.job.request.hyper_parameter_tuning_job_name
        if await self._is_repeat(request_id, of=f"commit/{tuning_job_name}"):
            return
        coordinator = self._coordinators.get(stored.job.job.job_id)
        if coordinator is None or stored.trial.status.is_terminal:
            raise InvalidState(
                f"The request was rejected because the training job is in status "
                f"{stored.trial.status}."
            )
        event = ev.TrialStopRequested(trial_name=stored.trial.name)
        await coordinator.post(event, request_id=request_id)

    async def delete(self, name: str, *, request_id: str | None) -> None:
        """Delete an ended tuning job; its training jobs and artifacts stay.

        Raises:
            ResourceNotFound: There is no such tuning job.
            InvalidState: It has not ended.
            Conflict: The request id was used for something else.
        """
        if await self._is_repeat(request_id, of=f"DeleteHyperParameterTuningJob/{name}"):
            return
        stored = await self.read(name)
        if not stored.job.status.is_terminal:
            raise InvalidState(
                f"The request was rejected because the hyperparameter tuning job is in status "
                f"{stored.job.status}, which is not in a terminal state. Stop it first."
            )
        await self._store.delete_job(
            stored.job.job_id, deleted_at=self._clock(), request_id=request_id
        )

    async def delete_training_job(self, name: str, *, request_id: str | None) -> None:
        """Delete an ended training job; its artifacts and its tuning job stay.

        Raises:
            ResourceNotFound: There is no such training job.
            TrainingJobInUse: It has not ended.
            Conflict: The request id was used for something else.
        """
        if await self._is_repeat(request_id, of=f"DeleteTrainingJob/{name}"):
            return
        stored = await self._store.trial(name)
        if stored is not None and not stored.trial.status.is_terminal:
            status = stored.trial.status
            raise TrainingJobInUse(stored.trial.name, status)
        deleted_at = self._clock()
        if stored is None or not await self._store.delete_trial(
            name, deleted_at=deleted_at, request_id=request_id
        ):
            raise ResourceNotFound(f"There is no training job called {name}.")

    async def read(self, name: str) -> StoredJob:
        """Read a tuning job.

        Raises:
            ResourceNotFound: There is no such tuning job.
        """
        stored = await self._store.job(name)
        if stored is None:
            raise ResourceNotFound(
                f"Amazon SageMaker can't find a tuning job called {name}. Type another name."
            )
        return stored

    def find_open(self, name: str) -> Coordinator | None:
        """Find the coordinator of a tuning job that has not ended."""
        return self._by_name.get(name.lower())

    def desk(self, coordinator: Coordinator) -> Desk | None:
        """Find where callers ask for a tuning job's trials; None: they don't run them."""
        return self._desks.get(coordinator.state.job.job_id)

    async def judged(self, trial_name: str) -> None:
        """Wait until it is durable that a trial is to stop early, if it was found to be."""
        stopping = self._stopping_early.get(trial_name)
        if stopping is not None:
            await asyncio.shield(stopping)

    def is_open(self, job_id: int) -> bool:
        """Tell whether a tuning job has not ended, so that more can happen to it."""
        return job_id in self._coordinators

    def device(self, job_id: int) -> str | None:
        """Say what computed a tuning job's latest suggestion; None: nothing has, so far."""
        suggester = self._suggesters.get(job_id)
        return None if suggester is None else suggester.device

    # --- runners' reports -----------------------------------------------------------------

    async def report(self, instance_id: str, reports: Iterable[ev.TrialReported]) -> None:
        """Take in reports of an instance's trials; durable when it returns.

        Reports of trials that the instance no longer holds are dropped.

        Raises:
            SequenceGap: Reports are missing in between.
            StoreUnavailable: The reports could not be made durable.
        """
        waiting: list[asyncio.Future[None]] = []
        for report in reports:
            coordinator = self._fleet.coordinator_of(instance_id, report.trial_name)
            if coordinator is not None:
                waiting.append(coordinator.post(report))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    # --- commands -------------------------------------------------------------------------

    def act(self, coordinator: Coordinator, command: fx.Command) -> None:
        """Begin to carry out one command; never waits."""
        match command:
            case fx.Suggest():
                suggesting = self._suggest(coordinator, command)
                self._start(logged(suggesting, doing=f"suggesting for {coordinator.name}"))
            case fx.Promote():
                promoting = self._promote(coordinator, command)
                self._start(logged(promoting, doing=f"letting go on for {coordinator.name}"))
            case fx.Enqueue():
                self._fleet.enqueue(coordinator, command.trial)
            case fx.Withdraw():
                self._fleet.withdraw(command.trial_name)
            case fx.Lend():
                self._leases.hold(coordinator, command.trial)
            case fx.Release():
                self._leases.release(command.trial_name)
                self._fleet.release(command.trial_name, command.instance_id)
            case fx.StopOnRunner():
                self._leases.stop(command.trial_name)
                self._fleet.stop_trial(
                    command.trial_name,
                    lease_token=command.lease_token,
                    instance_id=command.instance_id,
                    gives_back=command.gives_back,
                )
            case _:
                assert_never(command)

    def committed(self, coordinator: Coordinator, durable: Sequence[fx.Durable]) -> None:
        """Wake watchers, stop who fell behind, and let go of a tuning job that has ended."""
        job_id = coordinator.state.job.job_id
        self._fan_out.changed(job_id)
        early_stopping = self._early_stopping.get(job_id)
        if early_stopping is not None:
            for judged in early_stopping.observe(coordinator.state, durable):
                self._stop_early(coordinator, judged)
        convergence = self._convergence.get(job_id)
        if convergence is not None and convergence.begins(coordinator.state):
            looking = self._look_for_convergence(coordinator, convergence)
            self._start(logged(looking, doing=f"looking for convergence of {coordinator.name}"))
        desk = self._desks.get(job_id)
        if desk is not None:
            desk.wake()
        if coordinator.has_ended:
            self._coordinators.pop(job_id, None)
            self._by_name.pop(coordinator.name.lower(), None)
            self._desks.pop(job_id, None)
            self._early_stopping.pop(job_id, None)
            self._convergence.pop(job_id, None)
            suggester = self._suggesters.pop(job_id, None)
            if suggester is not None:
                suggester.close()

    def _stop_early(
        self, coordinator: Coordinator, judged: ev.TrialFellBehind | ev.TrialReachedRung
    ) -> None:
        name = judged.trial_name
        if name in self._stopping_early:
            return
        stopping = logged(coordinator.deliver(judged), doing=f"stopping {name} early")
        task = self._stopping_early[name] = self._start(stopping)
        task.add_done_callback(lambda _: self._stopping_early.pop(name, None))

    async def _promote(self, coordinator: Coordinator, command: fx.Promote) -> None:
        """Say who of the paused trials may go on, by all that has become durable."""
        early_stopping = self._early_stopping.get(coordinator.state.job.job_id)
        names: Sequence[str] = ()
        if early_stopping is not None:
            names = early_stopping.promotable(coordinator.state, is_last=command.is_last)
        await coordinator.deliver(
            ev.PromotionsArrived(number=command.number, trial_names=tuple(names))
        )

    async def _look_for_convergence(
        self, coordinator: Coordinator, convergence: Convergence
    ) -> None:
        if await convergence.is_found(coordinator.state):
            await coordinator.deliver(ev.ConvergenceDetected())

    async def _suggest(self, coordinator: Coordinator, command: fx.Suggest) -> None:
        suggester = self._suggester(coordinator.state)
        event: ev.Event
        try:
            event = await suggester.suggest(first_index=command.first_index, count=command.count)
        except Exception as error:
            logger.exception("%s: no suggestion", coordinator.name)
            event = ev.SuggestionsFailed(reason=f"{type(error).__name__}: {error}")
        await coordinator.deliver(event)

    def _suggester(self, state: JobState) -> Suggester:
        job_id = state.job.job_id
        if job_id not in self._suggesters:
            self._suggesters[job_id] = make_suggester(
                state.spec, job_id=job_id, store=self._store, compute=self._compute
            )
        return self._suggesters[job_id]

    # --- coordinators ---------------------------------------------------------------------

    async def _recover(self, stored: StoredJob) -> None:
        """Go on with a tuning job that an earlier run of the server left unfinished."""
        spec = await self._specs.stored(stored)
        trials = await self._store.open_trials(stored.job.job_id)
        state = JobState(spec=spec, job=stored.job, trials={trial.name: trial for trial in trials})
        curves: Sequence[Curve] = ()
        if spec.is_judged:
            curves = await self._curves(stored.job.job_id, spec)
        coordinator = self._coordinate(state, curves=curves)
        for trial in trials:
            if spec.lease_terms is None:
                self._fleet.restore(coordinator, trial)
            else:
                self._leases.hold(coordinator, trial)
        logger.info("%s: going on with %d open training jobs", spec.name, len(trials))
        self._start(logged(coordinator.deliver(ev.Recovered()), doing=f"going on with {spec.name}"))

    async def _curves(self, job_id: int, spec: JobSpec) -> list[Curve]:
        """Read what trials have emitted of the objective of their own definition."""
        names = {each.name: each.metric_name for each in spec.definitions}
        only = len(names) == 1
        return [
            curve
            for metric_name in dict.fromkeys(names.values())
            for curve in await self._store.curves(job_id, metric_name)
            if only or names.get(curve.suggestion.definition_name) == metric_name
        ]

    def _coordinate(self, state: JobState, *, curves: Sequence[Curve]) -> Coordinator:
        if state.spec.is_judged:
            paused = {name for name, trial in state.trials.items() if trial.pause_requested}
            self._early_stopping[state.job.job_id] = EarlyStopping(state.spec, curves, paused)
        job_id = state.job.job_id
        # Where it only may be of use it is not worth a process.
        matters = state.spec.criteria.on_convergence
        self._convergence[job_id] = Convergence(
            state.spec,
            job_id=job_id,
            store=self._store,
            worker=self._compute.worker_of(job_id) if matters else self._compute.at_hand,
            leisure=self._leisure,
        )
        coordinator = Coordinator(state, store=self._store, clock=self._clock, actor=self)
        self._coordinators[state.job.job_id] = coordinator
        self._by_name[coordinator.name.lower()] = coordinator
        self._start(coordinator.run())
        if state.spec.lease_terms is not None:
            desk = self._desks[state.job.job_id] = Desk(coordinator, self._suggester(state))
            self._start(desk.run())
        return coordinator

    async def _is_repeat(self, request_id: str | None, *, of: str) -> bool:
        """Tell whether a change, ``<operation>/<resource>``, was made before.

        Raises:
            Conflict: The request id was used for something else.
        """
        used = None if request_id is None else await self._store.find_request(request_id)
        if used is None:
            return False
        if used.lower() != of.lower():
            raise Conflict(
                f"The request id {request_id} was used before, for {used}; a new request needs an "
                f"id of its own."
            )
        return True

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            work.close()
            raise RuntimeError("Jobs.run must be running before tuning jobs are created")
        return self._tasks.create_task(work)
