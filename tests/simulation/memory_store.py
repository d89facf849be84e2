"""Keep one tuning job's durable state in memory, refusing what the real store's constraints refuse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import assert_never

from tests.server.domain.outcomes import outcome_of
from tunesmith.v1 import event_pb2
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import views
from tunesmith_server.domain.history import Outcome
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobSpec, JobState, TuningJob
from tunesmith_server.store.store import Curve


class MemoryStore:
    """Apply durable effects, and nothing else.

    Attributes:
        job: The tuning job as it was last committed.
        trials: All its training jobs by name, also those that have ended, in launch order.
        ended: Those that have ended, in the order in which they did.
        measurements: What each training job measured, in the order of its reports.
        events: What watchers are told.
    """

    def __init__(self, job: TuningJob) -> None:
        self.job = job
        self.trials: dict[str, Trial] = {}
        self.ended: list[Trial] = []
        self.measurements: defaultdict[str, list[fx.SaveMeasurement]] = defaultdict(list)
        self.events: list[event_pb2.WatchHyperParameterTuningJobResponse] = []

    def commit(self, job: TuningJob, effects: Iterable[fx.Durable]) -> None:
        """Apply one change."""
        assert job.version == self.job.version + 1, (
            f"version {job.version} after {self.job.version}"
        )
        assert job.job_id == self.job.job_id
        for effect in effects:
            match effect:
                case fx.SaveTrial():
                    self._save_trial(effect.trial, is_new=effect.is_new)
                case fx.SaveMeasurement():
                    self._save_measurement(effect)
                case fx.DropMeasurements():
                    self.measurements.pop(effect.trial_name, None)
                case fx.Announce():
                    about = effect.trial_name
                    assert about is None or about in self.trials, f"news of {about}, unknown"
                    self.events.append(effect.message)
                case fx.AnnounceState():
                    self.events.append(views.tuning_job_event(effect.state))
                case _:
                    assert_never(effect)
        assert job.best is None or self.trials[job.best.name] == job.best
        self.job = job

    def recovered(self, spec: JobSpec) -> JobState:
        """Give the tuning job as a restarted server reads it."""
        return JobState(spec=spec, job=self.job, trials=self.open_trials())

    def open_trials(self) -> Mapping[str, Trial]:
        """Give the training jobs that have not ended, in launch order."""
        return {name: trial for name, trial in self.trials.items() if trial.ended_at is None}

    def outcomes(self) -> tuple[Outcome, ...]:
        """Say what has become of all training jobs so far."""
        return tuple(outcome_of(trial) for trial in self.trials.values())

    def curves(self, metric_of: Callable[[Trial], str]) -> Iterator[Curve]:
        """Give what each training job measured of its objective, in the order of its reports."""
        for name, kept in self.measurements.items():
            trial = self.trials[name]
            own = [each for each in kept if each.metric_name == metric_of(trial)]
            yield Curve(
                trial_name=name,
                index=trial.index,
                suggestion=Suggestion(
                    parameters=trial.parameters, definition_name=trial.definition_name
                ),
                status=trial.status,
                lease_tokens=tuple(each.lease_token for each in own),
                times=tuple(each.measured_at for each in own),
                steps=tuple(each.step for each in own),
                values=tuple(each.value for each in own),
            )

    def _save_trial(self, trial: Trial, *, is_new: bool) -> None:
        before = self.trials.get(trial.name)
        assert is_new == (before is None), f"{trial.name} is new: {is_new}, stored: {before}"
        assert before is None or before.ended_at is None, f"{trial.name} had ended"
        self.trials[trial.name] = trial
        if trial.ended_at is not None:
            self.ended.append(trial)

    def _save_measurement(self, saved: fx.SaveMeasurement) -> None:
        assert saved.trial_name in self.trials
        kept = self.measurements[saved.trial_name]
        key = (saved.lease_token, saved.sequence)
        assert not kept or (kept[-1].lease_token, kept[-1].sequence) < key, f"{saved} once more"
        kept.append(saved)
