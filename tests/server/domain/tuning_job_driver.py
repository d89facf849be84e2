"""Drive one tuning job by hand: trials are told apart by launch index, time by the minute."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.server.domain.job_specs import CREATED_AT, METRIC
from tests.simulation.decisions import Decisions
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.names import training_job_name
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobSpec, JobState, TuningJob

TICK = timedelta(minutes=1)
MODEL = "file:///models/digits/output/model.tar.gz"


def ended(
    outcome: ev.Outcome = ev.Outcome.COMPLETED,
    *,
    reason: str = "AlgorithmError: Exit Code: 1",
    retryable: bool = False,
    started_at: datetime | None = None,
) -> ev.TrialEnded:
    """Make a runner's last report; it has a reason if it is of a failure, else a model."""
    failed = outcome is ev.Outcome.FAILED
    return ev.TrialEnded(
        outcome=outcome,
        failure_reason=reason if failed else "",
        retryable=retryable,
        model_artifacts_uri="" if failed else MODEL,
        training_started_at=started_at,
    )


class Driver:
    """Hand events to a tuning job. All commands go into a list, and none is carried out.

    Attributes:
        decisions: The tuning job in memory and in its store.
        commands: All commands so far.
        now: The time; each event takes a minute.
    """

    def __init__(self, spec: JobSpec, *, recovered: bool = True) -> None:
        self.decisions = Decisions(spec, CREATED_AT)
        self.commands: list[fx.Command] = []
        self.now = CREATED_AT
        if recovered:
            self.decide(ev.Recovered())

    @property
    def state(self) -> JobState:
        return self.decisions.state

    @property
    def job(self) -> TuningJob:
        return self.decisions.state.job

    def name(self, index: int) -> str:
        return training_job_name(self.state.spec.name, index, self.job.created_at)

    def trial(self, index: int) -> Trial:
        """Give a trial, open or ended."""
        return self.decisions.store.trials[self.name(index)]

    def decide(self, event: ev.Event) -> list[fx.Command]:
        """Hand in an event; gives the commands that follow."""
        self.now += TICK
        commands = self.decisions.decide(event, self.now)
        self.decisions.check_durable()
        self.commands.extend(commands)
        return commands

    def crash(self) -> list[fx.Command]:
        self.decisions.crash()
        return self.decide(ev.Recovered())

    def suggest(self, count: int | None = None, *, exhausted: bool = False) -> list[fx.Command]:
        """Answer the ask, with all or fewer suggestions."""
        wanted = self.state.suggestions_wanted
        first, name = self.job.launched + 1, self.state.spec.definition.name
        indices = range(first, first + (wanted if count is None else count))
        suggestions = tuple(
            Suggestion(parameters={"learning_rate": f"{index}e-3"}, definition_name=name)
            for index in indices
        )
        return self.decide(ev.SuggestionsArrived(suggestions=suggestions, exhausted=exhausted))

    def assign(self, index: int, *, host: str = "a") -> list[fx.Command]:
        name = self.name(index)
        return self.decide(
            ev.TrialAssigned(trial_name=name, runner_name=host, instance_id=f"{host}-1")
        )

    def report(
        self,
        index: int,
        report: ev.Report,
        *,
        sequence: int | None = None,
        lease_token: int | None = None,
        late: timedelta = timedelta(),
    ) -> list[fx.Command]:
        """Report on a trial: by default the next report under its latest lease."""
        trial = self.trial(index)
        return self.decide(
            ev.TrialReported(
                trial_name=trial.name,
                lease_token=trial.lease_token if lease_token is None else lease_token,
                sequence=trial.reported_sequence + 1 if sequence is None else sequence,
                reported_at=self.now + TICK - late,
                report=report,
            )
        )

    def reach(self, index: int, *stages: ev.Stage) -> None:
        for stage in stages:
            self.report(index, ev.StageReached(stage=stage))

    def emit(self, index: int, *values: float, metric: str = METRIC) -> None:
        for value in values:
            self.report(index, ev.MetricEmitted(metric_name=metric, value=value))

    def end(
        self, index: int, outcome: ev.Outcome = ev.Outcome.COMPLETED, *, retryable: bool = False
    ) -> list[fx.Command]:
        return self.report(index, ended(outcome, retryable=retryable))

    def run(self, index: int, *values: float) -> None:
        """See a waiting trial through to its completion."""
        self.assign(index)
        self.reach(index, ev.Stage.TRAINING)
        self.emit(index, *values)
        self.end(index)

    def fail(self, index: int, *, retryable: bool = False) -> None:
        """See a waiting trial through to its failure."""
        self.assign(index)
        self.end(index, ev.Outcome.FAILED, retryable=retryable)

    def lose(self, index: int, *, lease_token: int | None = None) -> list[fx.Command]:
        trial = self.trial(index)
        token = trial.lease_token if lease_token is None else lease_token
        reason = "the runner a was restarted"
        return self.decide(ev.RunnerLost(trial_name=trial.name, lease_token=token, reason=reason))

    def stop(self, index: int) -> list[fx.Command]:
        return self.decide(ev.TrialStopRequested(trial_name=self.name(index)))

    def stop_job(self) -> list[fx.Command]:
        return self.decide(ev.JobStopRequested())

    def reach_deadline(self) -> list[fx.Command]:
        if self.state.deadline is not None:
            self.now = max(self.now, self.state.deadline)
        return self.decide(ev.DeadlinePassed())
