"""The trial runner: holds trials, gives them their places, and talks to the server about them.

A pure client. It keeps its trials running while the server is away, and sends again what the
server has not acknowledged, so that nothing is lost; the sequence numbers let the server count
nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil

from tunesmith.runner import data_directory
from tunesmith.runner.contract import trial_tree
from tunesmith.runner.endings import failed
from tunesmith.runner.errors import StreamBroken, TrialFailure
from tunesmith.runner.gpus import HostGpu, choose_gpus, host_gpus, wanted_gpus
from tunesmith.runner.locations import Buckets
from tunesmith.runner.outbox import Outbox
from tunesmith.runner.places import Places
from tunesmith.runner.s3_client import S3Connection, S3Endpoint, S3Patience, is_boto3_there
from tunesmith.runner.s3_pool import TransferPool
from tunesmith.runner.session import run_session
from tunesmith.runner.settings import RunnerLimits, RunnerSettings, server_address
from tunesmith.runner.stop_reasons import StopReason
from tunesmith.runner.threads import WorkerThreads
from tunesmith.runner.trial import Trial, TrialHost
from tunesmith.v1 import runner_service_pb2 as pb

_LOGGER: Final = logging.getLogger(__name__)

_MESSAGE_REPORTS: Final = 1000
_MESSAGE_BYTES: Final = 1024 * 1024
_FORGOTTEN_MAX: Final = 10_000

_Key = tuple[str, int]


async def run_runner(settings: RunnerSettings, *, stop: asyncio.Event) -> None:
    """Run a trial runner in this process and thread until told to stop.

    When ``stop`` is set, the server is told, running trials are stopped and given back, and
    their last reports are waited for, some seconds at most. Cancelling ends it at once: its
    trials are killed, and the server learns of it when their lease is over, or from the next
    runner in the same data directory.

    Raises:
        RunnerBusy: Another runner uses the data directory.
        UnknownGpu: A GPU of the settings is not on this host.
        OSError: The data directory cannot be used.
    """
    agent = RunnerAgent(
        settings,
        instance_id=uuid.uuid4().hex,
        environment=dict(os.environ),
        rng=random.Random(),  # noqa: S311 - spreads reconnects
        clock=lambda: datetime.now(UTC),
    )
    await agent.run(stop)


@dataclass(slots=True, kw_only=True, eq=False)
class _Held:
    """A trial that runs here, or has reports that the server has not acknowledged."""

    assignment: pb.TrialAssignment
    outbox: Outbox
    trial: Trial | None = None
    is_running: bool = False
    is_revoked: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return self.assignment.training_job_name

    @property
    def lease_token(self) -> int:
        return self.assignment.lease_token

    @property
    def key(self) -> _Key:
        return self.name, self.lease_token

    def revoke(self) -> None:
        """Kill the trial and say nothing of it any more."""
        self.is_revoked = True
        self.outbox.close()
        if self.trial is not None:
            self.trial.stop(StopReason.REVOKED)


class RunnerAgent:
    """Hold trials on behalf of one server."""

    def __init__(
        self,
        settings: RunnerSettings,
        *,
        instance_id: str,
        environment: Mapping[str, str],
        rng: random.Random,
        clock: Callable[[], datetime],
    ) -> None:
        self.wake = asyncio.Event()
        self.is_draining = False
        self.is_leaving = False
        self._settings = settings
        self._instance_id = instance_id
        self._environment = environment
        self._rng = rng
        self._clock = clock
        self._cpu_count = _cpu_count()
        self._gpus: list[HostGpu] = []
        self._predecessors: list[str] = []
        self._held: dict[_Key, _Held] = {}
        self._forgotten: dict[_Key, None] = {}
        self._all_done = asyncio.Event()
        self._all_done.set()
        self._was_welcomed = False
        self._tasks: asyncio.TaskGroup
        self._host: TrialHost
        self._places: Places

    async def run(self, stop: asyncio.Event) -> None:
        """Run until told to stop; see ``run_runner``."""
        settings = self._settings
        with (
            data_directory.exclusive(settings.data_dir),
            ExitStack() as connections,
            WorkerThreads(2 * settings.slots + 2) as threads,
        ):
            self._predecessors = data_directory.register_instance(
                settings.data_dir, self._instance_id
            )
            # Only after this may the server be told that they are dead.
            await threads.run(data_directory.end_leftovers, settings.data_dir)
            wanted = wanted_gpus(settings.gpus, self._environment.get("CUDA_VISIBLE_DEVICES"))
            self._gpus = choose_gpus(await threads.run(host_gpus), wanted)
            self._places = Places(runner_name=settings.name, slots=settings.slots, gpus=self._gpus)
            self._host = TrialHost(
                threads=threads,
                limits=settings.limits,
                environment=self._environment,
                buckets=_connected(settings.buckets, settings.limits, connections),
                file_roots=settings.file_roots,
                cpu_count=self._cpu_count,
                clock=self._clock,
            )
            async with asyncio.TaskGroup() as self._tasks:
                connection = self._tasks.create_task(self._stay_connected())
                stopping = self._tasks.create_task(stop.wait())
                await asyncio.wait({connection, stopping}, return_when=asyncio.FIRST_COMPLETED)
                await self._drain(connection)
                stopping.cancel()

    async def _drain(self, connection: asyncio.Task[None]) -> None:
        """Give the trials back, see that the server knows, and leave."""
        limits = self._settings.limits
        self.is_draining = True
        self.wake.set()
        running = [held for held in self._held.values() if held.trial is not None]
        limit_s = limits.drain_s
        for held in running:
            if held.trial is not None and held.is_running:
                held.trial.stop(StopReason.DRAINING)
                limit_s = max(limit_s, held.trial.grace_s + limits.drain_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                for held in running:
                    await held.ended.wait()
        for held in list(self._held.values()):
            if held.is_running:
                _LOGGER.error("%s did not end in %.0f s and is abandoned", held.name, limit_s)
                held.revoke()
        if not connection.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.farewell_s):
                    await self._all_done.wait()
        self.is_leaving = True
        self.wake.set()
        await asyncio.wait({connection}, timeout=limits.farewell_s)
        connection.cancel()

    async def _stay_connected(self) -> None:
        """Connect, again and again, until the agent leaves or has been alone too long."""
        limits = self._settings.limits
        loop = asyncio.get_running_loop()
        alone_since = loop.time()
        pause_s = limits.backoff_min_s
        is_told = False
        while True:
            began = loop.time()
            self._was_welcomed = False
            address = server_address(self._settings.server)
            try:
                if address is None:
                    raise StreamBroken(f"{self._settings.server} holds no address")  # noqa: TRY301 - handled like every other break
                await run_session(self, address, welcome_s=limits.welcome_s)
            except StreamBroken as error:
                level = logging.DEBUG if is_told and not self._was_welcomed else logging.WARNING
                _LOGGER.log(level, "no server at %s: %s; trying again", address, error)
                is_told = True
            if self._was_welcomed:
                alone_since = loop.time()
            if self.is_leaving or self._is_orphaned(loop.time() - alone_since):
                return
            if self._was_welcomed and loop.time() - began > limits.backoff_max_s:
                pause_s = limits.backoff_min_s
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, limits.backoff_max_s)

    def _is_orphaned(self, alone_s: float) -> bool:
        limit_s = self._settings.exit_when_orphaned_s
        if limit_s is None or alone_s < limit_s:
            return False
        if any(held.is_running for held in self._held.values()):
            return False
        _LOGGER.warning("no server for %.1f s: the runner ends", alone_s)
        return True

    # What a session asks and tells.

    def hello(self) -> pb.RunnerHello:
        """Say who the runner is and what it holds."""
        settings = self._settings
        return pb.RunnerHello(
            runner_name=settings.name,
            instance_id=self._instance_id,
            replaced_instance_ids=self._predecessors,
            slots=settings.slots,
            cpu_count=self._cpu_count,
            memory_bytes=psutil.virtual_memory().total,
            gpus=[
                pb.Gpu(
                    device_id=gpu.device_id,
                    product_name=gpu.product_name,
                    memory_bytes=gpu.memory_bytes,
                )
                for gpu in self._gpus
            ],
            labels=settings.labels,
            held_trials=[
                pb.HeldTrial(training_job_name=held.name, lease_token=held.lease_token)
                for held in self._held.values()
                if not held.is_revoked
            ],
        )

    def welcomed(self, welcome: pb.RunnerWelcome) -> None:
        """Go on with what the server resumed, and give up the rest."""
        self._was_welcomed = True
        _LOGGER.info("connected; %d trials go on", len(welcome.resumed))
        positions = {(p.training_job_name, p.lease_token): p.sequence for p in welcome.resumed}
        lost: StreamBroken | None = None
        for held in list(self._held.values()):
            if held.is_revoked:
                continue
            if held.key not in positions:
                _LOGGER.warning("%s: the lease is no longer good, the trial is killed", held.name)
                held.revoke()
            else:
                try:
                    held.outbox.rewind(positions[held.key])
                except StreamBroken as error:
                    lost = error
                    held.revoke()
            self._forget_if_done(held)
        if lost is not None:
            # The next hello no longer names the trial, from which the server learns of it.
            raise lost

    def received(self, message: pb.ConnectResponse) -> None:
        """Take in a message after the welcome."""
        match message.WhichOneof("message"):
            case "assignment":
                self._assign(message.assignment)
            case "stop":
                held = self._held.get((message.stop.training_job_name, message.stop.lease_token))
                if held is not None and held.trial is not None:
                    is_pause = message.stop.gives_back
                    held.trial.stop(StopReason.PAUSED if is_pause else StopReason.REQUESTED)
            case "acknowledged":
                for position in message.acknowledged.positions:
                    held = self._held.get((position.training_job_name, position.lease_token))
                    if held is not None:
                        held.outbox.acknowledge(position.sequence)
                        self._forget_if_done(held)
            case _:
                pass  # A heartbeat; or a message of a later version, which nothing here awaits.

    def next_reports(self) -> pb.TrialReports | None:
        """Hand out reports of all trials, one message full; a busy trial comes last next time."""
        reports: list[pb.TrialReport] = []
        size = 0
        for held in list(self._held.values()):
            if len(reports) >= _MESSAGE_REPORTS or size >= _MESSAGE_BYTES:
                break
            taken = held.outbox.take(
                max_reports=_MESSAGE_REPORTS - len(reports), max_bytes=_MESSAGE_BYTES - size
            )
            if taken:
                reports += taken
                size += sum(report.ByteSize() for report in taken)
                self._held[held.key] = self._held.pop(held.key)
        return pb.TrialReports(reports=reports) if reports else None

    # Trials and their places.

    def _assign(self, assignment: pb.TrialAssignment) -> None:
        key = (assignment.training_job_name, assignment.lease_token)
        if key in self._held or key in self._forgotten:
            return
        outbox = Outbox(
            training_job_name=assignment.training_job_name,
            lease_token=assignment.lease_token,
            limits=self._settings.limits,
            clock=self._clock,
            on_append=self.wake.set,
        )
        held = _Held(assignment=assignment, outbox=outbox)
        others = [other for other in self._held.values() if other.name == held.name]
        if any(other.lease_token > held.lease_token for other in others):
            _LOGGER.warning("%s: an assignment under an outlived lease is ignored", held.name)
            return
        self._held[key] = held
        self._all_done.clear()
        if self.is_draining:
            outbox.append(pb.TrialEnded(outcome=pb.TRIAL_OUTCOME_RETURNED))
            return
        for other in others:
            other.revoke()
        try:
            tree = trial_tree(self._settings.data_dir.resolve(), *key)
        except TrialFailure as failure:
            outbox.append(failed(failure))
            return
        held.trial = Trial(assignment=assignment, tree=tree, outbox=outbox, host=self._host)
        held.is_running = True
        self._tasks.create_task(self._hold(held, held.trial))

    async def _hold(self, held: _Held, trial: Trial) -> None:
        """See a trial through, from its place to its end."""
        # The places of revoked trials are free for the server at once; they die in a moment.
        for other in [other for other in self._held.values() if other.is_revoked]:
            if other.is_running:
                await other.ended.wait()
        ended: pb.TrialEnded | None
        try:
            with self._places.taken(gpu_count=held.assignment.gpu_count) as gpus:
                ended = await trial.run(gpus)
        except TrialFailure as failure:
            ended = failed(failure)
        held.is_running = False
        held.ended.set()
        if ended is not None:
            held.outbox.append(ended)
        self._forget_if_done(held)
        await trial.tidy()

    def _forget_if_done(self, held: _Held) -> None:
        if held.is_running or not held.outbox.is_empty or self._held.get(held.key) is not held:
            return
        del self._held[held.key]
        self._forgotten[held.key] = None
        while len(self._forgotten) > _FORGOTTEN_MAX:
            del self._forgotten[next(iter(self._forgotten))]
        if not self._held:
            self._all_done.set()


def _connected(
    buckets: Mapping[str, Path | S3Endpoint], limits: RunnerLimits, closing: ExitStack
) -> Buckets:
    """Give those buckets that are reached in the same way one connection; none is made yet."""
    endpoints = {each for each in buckets.values() if isinstance(each, S3Endpoint)}
    if endpoints and not is_boto3_there():
        _LOGGER.warning("no bucket can be reached over the network: pip install 'tunesmith[s3]'")
    pool = TransferPool()
    patience = S3Patience(reading_s=limits.reading_patience_s, storing_s=limits.storing_patience_s)
    connections = {
        endpoint: S3Connection(endpoint, pool=pool, patience=patience) for endpoint in endpoints
    }
    for connection in connections.values():
        closing.callback(connection.close)
    closing.callback(pool.close)
    return {
        name: connections[place] if isinstance(place, S3Endpoint) else place
        for name, place in buckets.items()
    }


def _cpu_count() -> int:
    """Count the CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
