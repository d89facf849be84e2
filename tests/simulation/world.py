"""Run a whole tuning job in simulated time: its lifecycle is the real one, all around it is not.

``run_tuning_job(spec, World(program=bowl))`` takes milliseconds. A world may lose runners, shut
them down, crash the service and have callers stop things; the same world gives the same history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import assert_never

import numpy as np

from tests.server.domain.job_specs import CREATED_AT
from tests.simulation.agenda import Act, Agenda
from tests.simulation.decisions import Decisions
from tests.simulation.program import Program, bowl
from tests.simulation.runner import SimulatedRunner
from tests.simulation.suggester import make_suggester
from tunesmith.v1 import event_pb2
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import InvalidState, TrainingJobNotFound
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobSpec, TuningJob
from tunesmith_server.engine.early_stopping import EarlyStopping


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Say what surrounds a tuning job. Mean times are of exponential distributions.

    Attributes:
        program: What trials do.
        seed: Of all that is random.
        runners: The slots of each host.
        suggestion_s: How long a suggestion takes.
        max_stop_s: A trial that is stopped takes up to this long.
        loss_every_s: Mean time to the loss of a host's runner; None: never.
        drain_every_s: Mean time to the shutdown of a host's runner, which returns its trials.
        away_s: How long a host is without a runner then.
        crash_every_s: Mean time to a crash of the service; None: never.
        down_s: How long the service is away then.
        stop_job_at_s: When a caller stops the tuning job; None: never.
        stop_trials: When a caller stops the trial of which launch index.
        limit_s: A tuning job that goes on for longer is stuck.
    """

    program: Program = bowl
    seed: int = 0
    runners: tuple[int, ...] = (2,)
    suggestion_s: float = 0.1
    max_stop_s: float = 120.0
    loss_every_s: float | None = None
    drain_every_s: float | None = None
    away_s: float = 60.0
    crash_every_s: float | None = None
    down_s: float = 10.0
    stop_job_at_s: float | None = None
    stop_trials: tuple[tuple[float, int], ...] = ()
    limit_s: float = 1e7


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Hold what became of a tuning job.

    Attributes:
        job: Its last state.
        trials: Its training jobs in launch order.
        measurements: All values of the objective metric by training job.
        events: What watchers were told.
        most_open: The most training jobs that were open at one time.
        crashes: How often the service crashed.
        steps: How many events were decided.
        took: Simulated time from its creation to its end.
    """

    job: TuningJob
    trials: tuple[Trial, ...]
    measurements: Mapping[str, tuple[float, ...]]
    events: tuple[event_pb2.WatchHyperParameterTuningJobResponse, ...]
    most_open: int
    crashes: int
    steps: int
    took: timedelta


class StuckError(Exception):
    """Report a tuning job that does not end."""


def run_tuning_job(spec: JobSpec, world: World) -> History:
    """Run a tuning job from its creation to its end.

    Raises:
        StuckError: It does not end.
        InvariantBroken: The lifecycle has a bug.
    """
    service = _Service(spec, world)
    service.start()
    end = CREATED_AT + timedelta(seconds=world.limit_s)
    while not service.has_ended:
        if not service.agenda.advance() or service.agenda.now > end:
            raise StuckError(f"{spec.name} at {service.agenda.now}: {service.decisions.state}")
    return service.history()


class _Service:
    """Stand for the engine and for callers: carry out commands, place trials, crash, restart."""

    def __init__(self, spec: JobSpec, world: World) -> None:
        self.agenda = Agenda(CREATED_AT)
        self.decisions = Decisions(spec, CREATED_AT)
        self._spec = spec
        self._world = world
        self._rng = np.random.Generator(np.random.Philox(world.seed))
        self._suggester = make_suggester(spec)
        self._early_stopping: EarlyStopping | None = None
        self._runners: dict[str, SimulatedRunner] = {}
        self._instances = 0
        self._most_open = 0
        self._crashes = 0
        # What the service knows only in memory.
        self._life = 0
        self._is_up = True
        self._crash_due: str | None = None
        self._waiting: dict[str, Trial] = {}
        self._places: dict[str, set[str]] = {}

    @property
    def has_ended(self) -> bool:
        return self.decisions.state.job.status.is_terminal

    def start(self) -> None:
        """Create the tuning job and enter what is going to disturb it."""
        world = self._world
        self._boot()
        for number, slots in enumerate(world.runners, start=1):
            self._new_runner(f"host-{number}", slots)
        self._now_and_then(world.crash_every_s, self._arm_crash)
        if world.stop_job_at_s is not None:
            self.agenda.after(world.stop_job_at_s, partial(self._call, ev.JobStopRequested()))
        for at_s, index in world.stop_trials:
            self.agenda.after(at_s, partial(self._stop_trial, index))

    def history(self) -> History:
        self.decisions.check_durable()
        taken = any(self._places.values())
        assert not (self._is_up and taken), f"places are still taken: {self._places}"
        store, metric_of = self.decisions.store, self._metric_of
        return History(
            job=store.job,
            trials=tuple(store.trials.values()),
            measurements={
                name: tuple(s.value for s in kept if s.metric_name == metric_of(store.trials[name]))
                for name, kept in store.measurements.items()
            },
            events=tuple(store.events),
            most_open=self._most_open,
            crashes=self._crashes,
            steps=self.decisions.steps,
            took=self.agenda.now - CREATED_AT,
        )

    def _metric_of(self, trial: Trial) -> str:
        return self._spec.definition_of(trial).metric_name

    # --- the engine -----------------------------------------------------------------------

    def _boot(self) -> None:
        """Read the tuning job, and go on with it."""
        self._life += 1
        self._is_up, self._crash_due = True, None
        self._suggester = make_suggester(self._spec)
        self._waiting, self._places = {}, {}
        self.decisions.crash()
        if self._spec.is_judged:
            curves = self.decisions.store.curves(self._metric_of)
            self._early_stopping = EarlyStopping(self._spec, curves)
        for name, trial in self.decisions.state.trials.items():
            if trial.lease is not None:
                self._places.setdefault(trial.lease.instance_id, set()).add(name)
        self._decide(ev.Recovered())
        if self.decisions.state.deadline is not None:
            due = partial(self._decide, ev.DeadlinePassed())
            self.agenda.at(self.decisions.state.deadline, self._while_alive(due))
        for runner in tuple(self._runners.values()):
            self._connect(runner)

    def _decide(self, event: ev.Event) -> bool:
        """Decide an event; False when the service is away, or crashes before it is durable."""
        if not self._is_up:
            return False
        if self._crash_due == "before the commit":
            self._crash()
            return False
        commands = self.decisions.decide(event, self.agenda.now)
        durable = self.decisions.durable
        self._most_open = max(self._most_open, len(self.decisions.state.trials))
        if self._crash_due == "after the commit":
            self._crash()
            return False
        for command in commands:
            self._act(command)
        if self._early_stopping is not None:
            for behind in self._early_stopping.observe(self.decisions.state, durable):
                self.agenda.after(0.0, self._while_alive(partial(self._decide, behind)))
        return True

    def _act(self, command: fx.Command) -> None:
        match command:
            case fx.Suggest():
                answer = self._suggester.answer(command, self.decisions.store.outcomes())
                arrive = partial(self._decide, answer)
                self.agenda.after(self._world.suggestion_s, self._while_alive(arrive))
            case fx.Promote():
                raise AssertionError("no trial is paused")
            case fx.Lend():
                raise AssertionError("runners run these trials")
            case fx.Enqueue():
                self._waiting[command.trial.name] = command.trial
                self._place()
            case fx.Withdraw():
                self._waiting.pop(command.trial_name, None)
            case fx.Release():
                self._places[command.instance_id].remove(command.trial_name)
                self._place()
            case fx.StopOnRunner():
                runner = self._runners.get(command.instance_id)
                if runner is not None:
                    stop = partial(runner.stop, command.trial_name, command.lease_token)
                    self.agenda.after(0.0, stop)
            case _:
                assert_never(command)

    def _place(self) -> None:
        """Give waiting trials, oldest first, to runners with room."""
        for name in tuple(self._waiting):
            runner = self._with_room()
            if runner is None:
                return
            del self._waiting[name]
            self._places.setdefault(runner.instance_id, set()).add(name)
            self.agenda.after(0.0, self._while_alive(partial(self._hand_out, name, runner)))

    def _with_room(self) -> SimulatedRunner | None:
        for runner in self._runners.values():
            taken = len(self._places.get(runner.instance_id, ()))
            if not runner.is_draining and not runner.is_lost and taken < runner.slots:
                return runner
        return None

    def _hand_out(self, name: str, runner: SimulatedRunner) -> None:
        instance_id = runner.instance_id
        assigned = ev.TrialAssigned(
            trial_name=name, runner_name=runner.name, instance_id=instance_id
        )
        if not self._decide(assigned):
            return
        trial = self.decisions.state.trials.get(name)
        if trial is None:  # stopped before it was leased
            self._places[instance_id].remove(name)
            self._place()
        elif not runner.is_lost:
            runner.run(trial)

    # --- runners --------------------------------------------------------------------------

    def _new_runner(self, host: str, slots: int) -> None:
        world = self._world
        self._instances += 1
        runner = SimulatedRunner(
            instance_id=f"{host}/{self._instances}",
            name=host,
            slots=slots,
            metric_of=self._metric_of,
            program=world.program,
            seed=world.seed,
            max_stop_s=world.max_stop_s,
            agenda=self.agenda,
            send=self._decide,
        )
        self._runners[runner.instance_id] = runner
        self._now_and_then(world.loss_every_s, partial(self._lose, runner), once=True)
        self._now_and_then(world.drain_every_s, partial(self._drain, runner), once=True)
        if self._is_up:
            self._connect(runner)

    def _connect(self, runner: SimulatedRunner) -> None:
        """Settle what a runner holds, and send it what it lacks."""
        if runner.is_lost:
            return
        held = [
            trial
            for trial in self.decisions.state.trials.values()
            if trial.lease is not None and trial.lease.instance_id == runner.instance_id
        ]
        stored = {(trial.name, trial.lease_token): trial.reported_sequence for trial in held}
        runner.resume(stored, repeats=int(self._rng.integers(0, 3)))
        for before in held:
            trial = self.decisions.state.trials.get(before.name)
            if trial is not None and trial.lease_token == before.lease_token:
                runner.run(trial)
                if trial.stop_requested:
                    runner.stop(trial.name, trial.lease_token)
        self._place()

    def _lose(self, runner: SimulatedRunner) -> None:
        """Kill a runner; the next one on its host says so."""
        if not runner.is_lost and not runner.is_draining:
            runner.lose()
            self.agenda.after(self._world.away_s, partial(self._replace, runner))

    def _drain(self, runner: SimulatedRunner) -> None:
        if not runner.is_lost and not runner.is_draining:
            runner.drain()
            self.agenda.after(self._world.away_s, partial(self._replace, runner))

    def _replace(self, runner: SimulatedRunner) -> None:
        if not self._is_up:
            self.agenda.after(self._world.down_s, partial(self._replace, runner))
            return
        runner.lose()
        for name, trial in tuple(self.decisions.state.trials.items()):
            if trial.lease is not None and trial.lease.instance_id == runner.instance_id:
                reason = f"the runner {runner.name} was restarted"
                lost = ev.RunnerLost(trial_name=name, lease_token=trial.lease_token, reason=reason)
                if not self._decide(lost):
                    self.agenda.after(self._world.down_s, partial(self._replace, runner))
                    return
        del self._runners[runner.instance_id]
        self._new_runner(runner.name, runner.slots)

    # --- crashes and callers --------------------------------------------------------------

    def _arm_crash(self) -> None:
        self._crash_due = str(self._rng.choice(["before the commit", "after the commit"]))

    def _crash(self) -> None:
        self._crashes += 1
        self._life += 1
        self._is_up = False
        self.agenda.after(self._world.down_s, self._boot)

    def _call(self, event: ev.Event) -> None:
        """Ask for something, again and again while the service is away."""
        try:
            durable = self._decide(event)
        except (InvalidState, TrainingJobNotFound):
            return  # it has happened meanwhile
        if not durable:
            self.agenda.after(self._world.down_s, partial(self._call, event))

    def _stop_trial(self, index: int) -> None:
        for trial in self.decisions.state.trials.values():
            if trial.index == index:
                self._call(ev.TrialStopRequested(trial_name=trial.name))
                return

    def _while_alive(self, act: Act) -> Act:
        """Do something only in this life of the service."""
        life = self._life

        def unless_dead() -> None:
            if self._life == life:
                act()

        return unless_dead

    def _now_and_then(self, every_s: float | None, act: Act, *, once: bool = False) -> None:
        if every_s is None:
            return

        def again() -> None:
            act()
            if not once:
                self._now_and_then(every_s, act)

        self.agenda.after(float(self._rng.exponential(every_s)), again)
