"""A simulated runner: runs trials in simulated time, reports on them, and can be lost.

Like the real one it numbers its reports, keeps them until they are known to be durable, and goes
on while the service is away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import numpy as np

from tests.simulation.agenda import Act, Agenda
from tests.simulation.program import Program, Run
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.trial import Trial

#: Takes one report; False when the service is away, and it must be sent again.
Send = Callable[[ev.TrialReported], bool]


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One trial under one lease."""

    trial_name: str
    lease_token: int
    metric_name: str
    run: Run
    rng: np.random.Generator
    reports: list[ev.TrialReported] = field(default_factory=list)
    started_at: datetime | None = None
    is_stopping: bool = False
    has_ended: bool = False


class SimulatedRunner:
    """Run trials.

    Attributes:
        instance_id: This process of it.
        name: The host, for people.
        slots: How many trials it takes.
        is_draining: It takes no more.
        is_lost: It is gone, with all that it held.
    """

    def __init__(
        self,
        *,
        instance_id: str,
        name: str,
        slots: int,
        metric_of: Callable[[Trial], str],
        program: Program,
        seed: int,
        max_stop_s: float,
        agenda: Agenda,
        send: Send,
    ) -> None:
        self.instance_id, self.name, self.slots = instance_id, name, slots
        self.is_draining = False
        self.is_lost = False
        self._metric_of = metric_of
        self._program = program
        self._seed = seed
        self._max_stop_s = max_stop_s
        self._agenda = agenda
        self._send = send
        self._attempts: dict[str, _Attempt] = {}

    # --- what the service says ------------------------------------------------------------

    def run(self, trial: Trial) -> None:
        """Begin a trial; a repeat changes nothing."""
        known = self._attempts.get(trial.name)
        if known is not None and known.lease_token == trial.lease_token:
            return
        # The same for one attempt in whatever order trials are run.
        key = np.random.SeedSequence([self._seed, trial.index, trial.lease_token])
        rng = np.random.Generator(np.random.Philox(key))
        run = self._program(trial.parameters, rng)
        attempt = _Attempt(
            trial_name=trial.name,
            lease_token=trial.lease_token,
            metric_name=self._metric_of(trial),
            run=run,
            rng=rng,
        )
        self._attempts[trial.name] = attempt
        if self.is_draining:
            self._end(attempt, ev.Outcome.RETURNED)
            return
        self._later(attempt, run.start_s, partial(self._stage, attempt, ev.Stage.DOWNLOADING))
        self._later(attempt, 2 * run.start_s, partial(self._train, attempt))

    def stop(self, trial_name: str, lease_token: int) -> None:
        """Stop a trial, which takes its time; one that has ended is left as it is."""
        attempt = self._attempts.get(trial_name)
        if attempt is None or attempt.lease_token != lease_token or attempt.is_stopping:
            return
        self._wind_up(attempt, ev.Outcome.STOPPED)

    def resume(self, stored: dict[tuple[str, int], int], repeats: int) -> None:
        """Send again what the service, back again, does not have; and a few that it has.

        Args:
            stored: The highest durable report of each lease that is still good.
            repeats: How many reports below that are sent once more.
        """
        for attempt in tuple(self._attempts.values()):
            position = stored.get((attempt.trial_name, attempt.lease_token))
            if position is None:
                self._attempts.pop(attempt.trial_name)  # revoked
                attempt.has_ended = True
                continue
            for report in tuple(attempt.reports[max(0, position - repeats) :]):
                self._deliver(attempt, report)

    # --- faults ---------------------------------------------------------------------------

    def lose(self) -> None:
        """Vanish with all trials."""
        self.is_lost = True
        self._attempts.clear()

    def drain(self) -> None:
        """Give all trials back, and take no more."""
        self.is_draining = True
        for attempt in tuple(self._attempts.values()):
            if not attempt.has_ended:
                self._end(attempt, ev.Outcome.RETURNED)

    # --- a trial's life -------------------------------------------------------------------

    def _train(self, attempt: _Attempt) -> None:
        attempt.started_at = self._agenda.now
        self._stage(attempt, ev.Stage.TRAINING)
        run = attempt.run
        for epoch, value in enumerate(run.values, start=1):
            emitted = ev.MetricEmitted(metric_name=attempt.metric_name, value=value)
            self._later(attempt, epoch * run.epoch_s, partial(self._report, attempt, emitted))
        self._later(attempt, len(run.values) * run.epoch_s, partial(self._finish, attempt))

    def _finish(self, attempt: _Attempt) -> None:
        """End by itself, unless it is being stopped."""
        run = attempt.run
        if attempt.is_stopping:
            return
        if run.exceeds_runtime:
            self._wind_up(attempt, ev.Outcome.MAX_RUNTIME_EXCEEDED)
        elif run.failure_reason is not None:
            self._end(attempt, ev.Outcome.FAILED)
        else:
            self._stage(attempt, ev.Stage.UPLOADING)
            self._later(attempt, run.upload_s, partial(self._finish_upload, attempt))

    def _finish_upload(self, attempt: _Attempt) -> None:
        if not attempt.is_stopping:
            self._end(attempt, ev.Outcome.COMPLETED)

    def _wind_up(self, attempt: _Attempt, outcome: ev.Outcome) -> None:
        """Tell the program to stop; it does, after a while, and may emit metrics until then."""
        attempt.is_stopping = True
        self._stage(attempt, ev.Stage.STOPPING)
        delay_s = self._max_stop_s * float(attempt.rng.random())
        self._later(attempt, delay_s, partial(self._end, attempt, outcome))

    def _end(self, attempt: _Attempt, outcome: ev.Outcome) -> None:
        failed = outcome is ev.Outcome.FAILED
        stored = outcome not in (ev.Outcome.FAILED, ev.Outcome.RETURNED)
        ended = ev.TrialEnded(
            outcome=outcome,
            failure_reason=(attempt.run.failure_reason or "") if failed else "",
            retryable=failed and attempt.run.retryable,
            model_artifacts_uri=f"file:///models/{attempt.trial_name}" if stored else "",
            training_started_at=attempt.started_at,
        )
        self._report(attempt, ended)
        attempt.has_ended = True

    def _stage(self, attempt: _Attempt, stage: ev.Stage) -> None:
        self._report(attempt, ev.StageReached(stage=stage))

    def _report(self, attempt: _Attempt, report: ev.Report) -> None:
        reported = ev.TrialReported(
            trial_name=attempt.trial_name,
            lease_token=attempt.lease_token,
            sequence=len(attempt.reports) + 1,
            reported_at=self._agenda.now,
            report=report,
        )
        attempt.reports.append(reported)
        self._deliver(attempt, reported)

    def _deliver(self, attempt: _Attempt, report: ev.TrialReported) -> None:
        is_last = isinstance(report.report, ev.TrialEnded)
        if self._send(report) and is_last and self._attempts.get(attempt.trial_name) is attempt:
            self._attempts.pop(attempt.trial_name)

    def _later(self, attempt: _Attempt, delay_s: float, act: Act) -> None:
        """Do something unless the attempt is over by then."""

        def unless_over() -> None:
            if not self.is_lost and not attempt.has_ended:
                act()

        self._agenda.after(delay_s, unless_over)
