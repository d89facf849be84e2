"""The runners: who is connected, which trials each holds, and which trial goes where.

A trial is leased to a runner's process (its *instance*). The lease outlives the connection: an
instance that comes back within the lease's duration goes on where it was; one that stays away
longer, or that a successor declares dead, loses its trials.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import Conflict
from tunesmith_server.domain.states import TrainingJobStatus
from tunesmith_server.domain.trial import Trial
from tunesmith_server.engine.assignments import Assigner
from tunesmith_server.engine.background import logged
from tunesmith_server.engine.coordinator import Coordinator

logger = logging.getLogger(__name__)

#: A session whose runner lets so many messages pile up is ended; the runner connects anew.
_OUTGOING_LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """Say how patient the server is with runners.

    Attributes:
        lease: An instance away for longer than this loses its trials.
        heartbeat: How often each side says that it is alive; silence three times as long ends
            a connection.
    """

    lease: timedelta = timedelta(seconds=60)
    heartbeat: timedelta = timedelta(seconds=5)


class Session:
    """Hold what waits to be sent to one connected runner."""

    def __init__(self) -> None:
        self._outgoing: asyncio.Queue[pb.ConnectResponse | Exception] = asyncio.Queue()

    def send(self, message: pb.ConnectResponse) -> None:
        """Queue a message; a runner that does not read them is cut off."""
        if self._outgoing.qsize() >= _OUTGOING_LIMIT:
            self.end(Conflict("The runner does not read what it is sent; connect again."))
        else:
            self._outgoing.put_nowait(message)

    def end(self, error: Exception) -> None:
        """End the session with an error once what is queued has been sent."""
        self._outgoing.put_nowait(error)

    async def next_message(self) -> pb.ConnectResponse:
        """Wait for the next message to send.

        Raises:
            Exception: What ``end`` was given.
        """
        message = await self._outgoing.get()
        if isinstance(message, Exception):
            raise message
        return message


@dataclass(slots=True, kw_only=True)
class _Held:
    """One trial on a runner."""

    coordinator: Coordinator
    lease_token: int
    gpu_count: int


@dataclass(slots=True, kw_only=True)
class _Runner:
    """One instance, connected or lately so."""

    instance_id: str
    name: str
    slots: int = 0
    gpu_count: int = 0
    draining: bool = False
    lost: bool = False
    session: Session | None = None
    away_since: float = 0.0
    held: dict[str, _Held] = field(default_factory=dict)

    def free_slots(self) -> int:
        return self.slots - len(self.held)

    def free_gpus(self) -> int:
        return self.gpu_count - sum(held.gpu_count for held in self.held.values())

    def takes(self, gpu_count: int) -> bool:
        if self.session is None or self.draining or self.lost:
            return False
        return self.free_slots() > 0 and self.free_gpus() >= gpu_count


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    coordinator: Coordinator
    trial: Trial
    gpu_count: int


class Fleet:
    """Place trials on runners and notice runners that are gone."""

    def __init__(self, *, assigner: Assigner, settings: FleetSettings) -> None:
        self._assigner = assigner
        self._settings = settings
        self._runners: dict[str, _Runner] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Look for lost runners until cancelled."""
        pause_s = min(1.0, self._settings.lease.total_seconds() / 4)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._place()
            while True:
                await asyncio.sleep(pause_s)
                self._expire_leases()

    # --- trials ---------------------------------------------------------------------------

    def enqueue(self, coordinator: Coordinator, trial: Trial) -> None:
        """Find a runner for a waiting trial, now or when one has room."""
        gpu_count = self._assigner.gpu_count(coordinator.state.spec, trial)
        self._waiting[trial.name] = _Waiting(
            coordinator=coordinator, trial=trial, gpu_count=gpu_count
        )
        self._place()
        most = max((runner.gpu_count for runner in self._runners.values()), default=None)
        if trial.name in self._waiting and most is not None and gpu_count > most:
            logger.warning(
                "%s waits for a runner with %d GPUs; those connected have %d at most",
                *(trial.name, gpu_count, most),
            )

    def withdraw(self, trial_name: str) -> None:
        """Look for a runner for this trial no longer."""
        self._waiting.pop(trial_name, None)

    def release(self, trial_name: str, instance_id: str) -> None:
        """Free the place of a trial whose lease ended."""
        runner = self._runners.get(instance_id)
        if runner is not None and runner.held.pop(trial_name, None) is not None:
            self._forget_if_idle(runner)
            self._place()

    def restore(self, coordinator: Coordinator, trial: Trial) -> None:
        """Take note, after a restart, of a lease that was given before it."""
        if trial.lease is None:
            return
        lease = trial.lease
        runner = self._runners.get(lease.instance_id)
        if runner is None:
            runner = _Runner(
                instance_id=lease.instance_id, name=lease.runner_name, away_since=_monotonic()
            )
            self._runners[lease.instance_id] = runner
        runner.held[trial.name] = _Held(
            coordinator=coordinator,
            lease_token=lease.token,
            gpu_count=self._assigner.gpu_count(coordinator.state.spec, trial),
        )

    def stop_trial(
        self, trial_name: str, *, lease_token: int, instance_id: str, gives_back: bool = False
    ) -> None:
        """Tell a trial's runner to stop or to pause it, now or when it is back."""
        runner = self._runners.get(instance_id)
        if runner is not None and runner.session is not None:
            runner.session.send(_stop(trial_name, lease_token, gives_back=gives_back))

    def coordinator_of(self, instance_id: str, trial_name: str) -> Coordinator | None:
        """Find whose trial this is, if the instance holds it."""
        runner = self._runners.get(instance_id)
        held = runner.held.get(trial_name) if runner is not None else None
        return held.coordinator if held is not None else None

    # --- runners --------------------------------------------------------------------------

    async def connect(self, hello: pb.RunnerHello) -> Session:
        """Take in a runner and settle which of its trials are still its own."""
        for dead in hello.replaced_instance_ids:
            if dead != hello.instance_id:
                await self._lose(dead, f"the runner {hello.runner_name} was restarted")
        runner = self._runners.get(hello.instance_id)
        if runner is None:
            runner = _Runner(instance_id=hello.instance_id, name=hello.runner_name)
            self._runners[hello.instance_id] = runner
        elif runner.session is not None:
            runner.session.end(Conflict("The same runner connected again."))
        runner.name, runner.slots = hello.runner_name, hello.slots
        runner.gpu_count, runner.lost = len(hello.gpus), False
        session = runner.session = Session()
        self._welcome(runner, session, hello.held_trials)
        logger.info(
            "runner %s connected: %d slots, %d GPUs", runner.name, runner.slots, runner.gpu_count
        )
        self._place()
        return session

    def disconnect(self, instance_id: str, session: Session) -> None:
        """Take note that a session ended; the runner's leases go on for their duration."""
        runner = self._runners.get(instance_id)
        if runner is None or runner.session is not session:
            return
        logger.info("runner %s disconnected, holding %d trials", runner.name, len(runner.held))
        runner.session, runner.away_since = None, _monotonic()
        self._forget_if_idle(runner)

    def drain(self, instance_id: str) -> None:
        """Give a runner no more trials."""
        runner = self._runners.get(instance_id)
        if runner is not None:
            runner.draining = True

    def _welcome(self, runner: _Runner, session: Session, said: Iterable[pb.HeldTrial]) -> None:
        """Tell a runner which of its trials go on, which are revoked and which it lacks."""
        welcome = pb.RunnerWelcome()
        welcome.lease_duration.FromTimedelta(self._settings.lease)
        welcome.heartbeat_interval.FromTimedelta(self._settings.heartbeat)
        known: set[str] = set()
        for trial in said:
            held = runner.held.get(trial.training_job_name)
            state = held and held.coordinator.state.trials.get(trial.training_job_name)
            if held is None or not state or held.lease_token != trial.lease_token:
                welcome.revoked.append(trial)
                continue
            known.add(trial.training_job_name)
            welcome.resumed.add(
                training_job_name=trial.training_job_name,
                lease_token=trial.lease_token,
                sequence=state.reported_sequence,
            )
        session.send(pb.ConnectResponse(welcome=welcome))
        for name, held in runner.held.items():
            trial_state = held.coordinator.state.trials.get(name)
            if trial_state is None or trial_state.lease_token != held.lease_token:
                continue  # its assignment is being made durable and is sent after that
            if name not in known:
                self._send_assignment(runner, held, trial_state)
            if trial_state.status is TrainingJobStatus.STOPPING:
                session.send(_stop(name, held.lease_token))
            elif trial_state.pause_requested:
                session.send(_stop(name, held.lease_token, gives_back=True))

    def _forget_if_idle(self, runner: _Runner) -> None:
        if runner.session is None and not runner.held:
            self._runners.pop(runner.instance_id, None)

    def _expire_leases(self) -> None:
        limit = _monotonic() - self._settings.lease.total_seconds()
        for runner in tuple(self._runners.values()):
            if runner.session is None and runner.away_since < limit:
                away_s = self._settings.lease.total_seconds()
                reason = f"the runner {runner.name} has been away for more than {away_s:g} s"
                self._start(self._lose(runner.instance_id, reason))

    async def _lose(self, instance_id: str, reason: str) -> None:
        """Fail what a dead instance held."""
        runner = self._runners.get(instance_id)
        if runner is None:
            return
        runner.away_since = _monotonic()  # once is enough while the losses are written
        runner.lost = True  # its connection may not have broken yet
        for name, held in tuple(runner.held.items()):
            logger.warning("%s is lost: %s", name, reason)
            lost = ev.RunnerLost(trial_name=name, lease_token=held.lease_token, reason=reason)
            await held.coordinator.deliver(lost)

    # --- placement ------------------------------------------------------------------------

    def _place(self) -> None:
        """Give waiting trials, oldest first, to runners with room."""
        if self._tasks is None:
            return
        for name, waiting in tuple(self._waiting.items()):
            runner = self._roomiest(waiting.gpu_count)
            if runner is None:
                continue
            del self._waiting[name]
            runner.held[name] = _Held(
                coordinator=waiting.coordinator,
                lease_token=waiting.trial.lease_token + 1,
                gpu_count=waiting.gpu_count,
            )
            self._start(self._hand_out(runner, waiting))

    def _roomiest(self, gpu_count: int) -> _Runner | None:
        able = [runner for runner in self._runners.values() if runner.takes(gpu_count)]
        # Trials without GPUs go where fewest GPUs are left idle by them.
        return max(
            able, key=lambda r: (gpu_count > 0 or -r.gpu_count, r.free_slots()), default=None
        )

    async def _hand_out(self, runner: _Runner, waiting: _Waiting) -> None:
        """Lease a trial to a runner, durably, then send it."""
        coordinator, name = waiting.coordinator, waiting.trial.name
        await coordinator.deliver(
            ev.TrialAssigned(
                trial_name=name, runner_name=runner.name, instance_id=runner.instance_id
            )
        )
        trial, held = coordinator.state.trials.get(name), runner.held.get(name)
        if held is None:
            return  # released already: the lease has come and gone
        if trial is None or trial.lease is None or trial.lease.instance_id != runner.instance_id:
            self.release(name, runner.instance_id)  # stopped before it was leased
            return
        self._send_assignment(runner, held, trial)
        if trial.status is TrainingJobStatus.STOPPING:
            # Leased and stopped in one commit: the order to stop went out before the trial did.
            self.stop_trial(name, lease_token=held.lease_token, instance_id=runner.instance_id)

    def _send_assignment(self, runner: _Runner, held: _Held, trial: Trial) -> None:
        if runner.session is None:
            return  # sent when it is back
        assignment = self._assigner.assignment(held.coordinator.state.spec, trial)
        if isinstance(assignment, ev.TrialReported):
            self._start(held.coordinator.deliver(assignment))
            return
        runner.session.send(pb.ConnectResponse(assignment=assignment))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(logged(work, doing="handing out a trial or giving it up"))


def _stop(trial_name: str, lease_token: int, *, gives_back: bool = False) -> pb.ConnectResponse:
    stop = pb.TrialStop(
        training_job_name=trial_name, lease_token=lease_token, gives_back=gives_back
    )
    return pb.ConnectResponse(stop=stop)


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
