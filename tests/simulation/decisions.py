"""Decide a tuning job's events as the engine does: a step, its commit, then its commands.

After each step the invariants are checked, and what may never change between two steps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from tests.simulation.memory_store import MemoryStore
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.completion import Criterion
from tunesmith_server.domain.invariants import check_invariants
from tunesmith_server.domain.lifecycle import step
from tunesmith_server.domain.states import ObjectiveStatus, TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.trial import FailureKind, Trial
from tunesmith_server.domain.tuning_job import (
    Counters,
    JobSpec,
    JobState,
    Promotions,
    TuningJob,
)


class Decisions:
    """Own one tuning job's state, in memory and in a store.

    Attributes:
        state: What the service holds in memory.
        store: What outlives a crash.
        steps: How many events were decided.
        durable: What the last of them wrote.
    """

    def __init__(self, spec: JobSpec, created_at: datetime) -> None:
        job = TuningJob(
            job_id=1,
            status=TuningJobStatus.IN_PROGRESS,
            created_at=created_at,
            modified_at=created_at,
        )
        self.store = MemoryStore(job)
        self.state = JobState(spec=spec, job=job)
        self.steps = 0
        self.durable: list[fx.Durable] = []

    def decide(self, event: ev.Event, now: datetime) -> list[fx.Command]:
        """Decide an event, make it durable, and give the commands to carry out."""
        before = self.state
        state, effects = step(before, event, now)
        self.steps += 1
        check_invariants(state)
        check_change(before, state)
        check_news(before, state, effects)
        durable = [effect for effect in effects if isinstance(effect, fx.Durable)]
        commands = [effect for effect in effects if isinstance(effect, fx.Command)]
        if durable or state.job != before.job:
            state = replace(state, job=replace(state.job, version=before.job.version + 1))
            self.store.commit(state.job, durable)
        self.state, self.durable = state, durable
        if before.job.status.is_terminal:
            assert not effects, f"{effects} after the tuning job was {before.job.status}"
        return commands

    def crash(self) -> None:
        """Forget what is not durable, and read the rest back."""
        self.state = self.store.recovered(self.state.spec)

    def check_durable(self) -> None:
        """Check that the store holds all that there is, and that it adds up."""
        state, store = self.state, self.store
        recovered = store.recovered(state.spec)
        assert recovered == replace(state, suggestions_wanted=0, promotions=Promotions())
        trials = tuple(store.trials.values())
        assert [trial.index for trial in trials] == list(range(1, state.job.launched + 1))
        assert state.job.counters == recount(trials)
        assert state.job.best == best_of(store.ended, state.spec)
        self._check_criteria()
        for trial in trials:
            _check_measurements(store, trial, state.spec)

    def _check_criteria(self) -> None:
        """Check that a tuning job goes on exactly until an ended trial meets a criterion."""
        job, spec = self.state.job, self.state.spec
        not_improving = [0, *counted_not_improving(self.store.ended, spec)]
        assert job.not_improving == not_improving[-1]
        values = [trial.objective_value for trial in self.store.ended]
        target, most = spec.criteria.target, spec.criteria.most_not_improving
        sign = -1.0 if spec.goal.maximise else 1.0
        is_reached = target is not None and any(
            value is not None and sign * value <= sign * target for value in values
        )
        is_late = most is not None and max(not_improving) >= most
        assert not self.state.goes_on or not (is_reached or is_late)
        criterion = job.closing and job.closing.criterion
        assert criterion is not Criterion.TARGET or is_reached
        assert criterion is not Criterion.NOT_IMPROVING or is_late
        is_found = job.converged_at is not None
        assert not self.state.goes_on or not (is_found and spec.criteria.on_convergence)


def counted_not_improving(ended: Iterable[Trial], spec: JobSpec) -> Iterator[int]:
    """Give, after each ended trial, how many in a row brought no more than a hundredth."""
    best, count = math.inf, 0
    for trial in ended:
        if trial.objective_value is not None:
            loss = -trial.objective_value if spec.goal.maximise else trial.objective_value
            is_able = has_done_all(trial, spec)
            needed = 0.0 if math.isinf(best) else 0.01 * abs(best)
            count = 0 if is_able and best - loss > needed else count + 1
            best = min(best, loss) if is_able else best
        yield count


def check_change(before: JobState, after: JobState) -> None:
    """Check what no step may do."""
    if before.job.status.is_terminal:
        assert after.job == before.job, "nothing happens after a terminal status"
    assert after.job.launched >= before.job.launched
    assert after.job.counters.ended >= before.job.counters.ended
    assert after.job.modified_at >= before.job.modified_at
    assert after.job.exhausted or not before.job.exhausted
    assert after.job.closing is not None or before.job.closing is None
    for name, trial in after.trials.items():
        known = before.trials.get(name)
        if known is None:
            assert trial.index > before.job.launched, f"{name} was open before"
        else:
            assert trial.lease_token >= known.lease_token
            assert trial.modified_at >= known.modified_at
            assert trial.stop_requested or not known.stop_requested
            assert trial.parameters == known.parameters
            assert trial.definition_name == known.definition_name


def check_news(before: JobState, after: JobState, effects: Iterable[fx.Effect]) -> None:
    """Check that watchers are told of a change of the tuning job, and of each trial's status."""
    told = [effect for effect in effects if isinstance(effect, fx.Announce)]
    of_job = [effect for effect in effects if isinstance(effect, fx.AnnounceState)]
    saved = [effect.trial for effect in effects if isinstance(effect, fx.SaveTrial)]
    assert len(of_job) == (after.job != before.job)
    of_trials = [effect for effect in told if effect.message.HasField("training_job")]
    changed = [
        trial.name
        for trial in saved
        if trial.name not in before.trials
        or trial.secondary_status is not before.trials[trial.name].secondary_status
    ]
    assert [effect.trial_name for effect in of_trials] == changed


def recount(trials: Iterable[Trial]) -> Counters:
    """Count ended training jobs from what each of them says, as a reader of the list would."""
    ended = [trial for trial in trials if trial.status.is_terminal]
    statuses = Counter(trial.status for trial in ended)
    objectives = Counter(trial.objective_status for trial in ended)
    kinds = Counter(trial.failure_kind for trial in ended)
    assert statuses[TrainingJobStatus.FAILED] == len(ended) - kinds[None]
    return Counters(
        completed=statuses[TrainingJobStatus.COMPLETED],
        stopped=statuses[TrainingJobStatus.STOPPED],
        retryable_error=kinds[FailureKind.RETRYABLE],
        non_retryable_error=kinds[FailureKind.NON_RETRYABLE],
        objective_succeeded=objectives[ObjectiveStatus.SUCCEEDED],
        objective_failed=objectives[ObjectiveStatus.FAILED],
    )


def has_done_all(trial: Trial, spec: JobSpec) -> bool:
    """Tell whether a trial completed, or was stopped by Hyperband with nothing left to do."""
    definition = spec.definition_of(trial)
    if definition.halving_terms is None or trial.status is not TrainingJobStatus.STOPPED:
        return trial.status is TrainingJobStatus.COMPLETED
    last = trial.metrics.get(definition.metric_name)
    return last is not None and last.step >= definition.halving_terms.max_resource


def best_of(ended: Iterable[Trial], spec: JobSpec) -> Trial | None:
    """Find the training job with the best objective that did it all; of equals, the first to end."""
    able = [
        (-value if spec.goal.maximise else value, trial)
        for trial in ended
        if has_done_all(trial, spec) and (value := trial.objective_value) is not None
    ]
    return min(able, key=lambda pair: pair[0])[1] if able else None


def _check_measurements(store: MemoryStore, trial: Trial, spec: JobSpec) -> None:
    metric_name = spec.definition_of(trial).metric_name
    kept: dict[str, list[float]] = {}
    steps: dict[str, int] = {}
    for saved in store.measurements.get(trial.name, ()):
        kept.setdefault(saved.metric_name, []).append(saved.value)
        before = steps.get(saved.metric_name, 0)
        is_next = saved.step == before + 1 if spec.lease_terms is None else saved.step > before
        assert is_next, f"{trial.name}: a value of {saved.metric_name} is missing"
        steps[saved.metric_name] = saved.step
        resumes = spec.definition_of(trial).retry_terms.resumes
        assert resumes or saved.lease_token == trial.lease_token, "a value of an earlier lease"
    assert set(kept) == set(trial.metrics)
    objective = kept.get(metric_name, [math.nan])[-1]
    known = trial.status.is_terminal and trial.failure_kind is None and math.isfinite(objective)
    assert trial.objective_value == (objective if known else None)
    assert known == (trial.objective_status is ObjectiveStatus.SUCCEEDED)
    for name, latest in trial.metrics.items():
        assert latest.step == steps[name]
        last = kept[name][-1]
        assert latest.value == last or (math.isnan(latest.value) and math.isnan(last))
