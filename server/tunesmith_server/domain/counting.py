"""What an ended trial adds to its tuning job: the counters, the best one, the criteria that it meets."""

from __future__ import annotations

from tunesmith_server.domain.completion import Criterion
from tunesmith_server.domain.frozen import replace
from tunesmith_server.domain.states import TrainingJobStatus
from tunesmith_server.domain.trial import FailureKind, Trial
from tunesmith_server.domain.tuning_job import Counters, JobSpec, JobState, TuningJob


def counted(spec: JobSpec, job: TuningJob, trial: Trial) -> tuple[TuningJob, Criterion | None]:
    """Count an ended trial, and tell which completion criterion its objective meets, if any."""
    best, not_improving, met = job.best, job.not_improving, None
    if trial.objective_value is not None:
        not_improving = 0 if _improves(spec, best, trial) else not_improving + 1
        met = spec.criteria.met(
            value=trial.objective_value, not_improving=not_improving, goal=spec.goal
        )
    if _is_best(spec, best, trial):
        best = trial
    counters = _added(job.counters, trial)
    return replace(job, counters=counters, best=best, not_improving=not_improving), met


def any_succeeded(state: JobState) -> bool:
    """Tell whether a trial has told something of its configuration: one that ended, or is paused."""
    return state.job.counters.any_succeeded or any(
        trial.final_objective(state.spec.definition_of(trial).metric_name) is not None
        for trial in state.paused
    )


def _improves(spec: JobSpec, best: Trial | None, trial: Trial) -> bool:
    """Tell whether a trial with an objective sets the best one anew, by enough."""
    if not _is_best(spec, best, trial) or trial.objective_value is None:
        return False
    if best is None or best.objective_value is None:
        return True
    return spec.goal.improves(trial.objective_value, best.objective_value)


def _is_best(spec: JobSpec, best: Trial | None, trial: Trial) -> bool:
    if trial.objective_value is None or not _has_done_all(spec, trial):
        return False
    if best is None or best.objective_value is None:
        return True
    return spec.goal.is_better(trial.objective_value, best.objective_value)


def _has_done_all(spec: JobSpec, trial: Trial) -> bool:
    """Tell whether an ended trial did what it was to do."""
    if trial.status is TrainingJobStatus.COMPLETED:
        return True
    definition = spec.definition_of(trial)
    terms, last = definition.halving_terms, trial.metrics.get(definition.metric_name)
    if terms is None or last is None or trial.status is not TrainingJobStatus.STOPPED:
        return False
    return last.step >= terms.full_resource(trial.parameters)


def _added(counters: Counters, trial: Trial) -> Counters:
    """Add an ended trial to the counters."""
    completed = trial.status is TrainingJobStatus.COMPLETED
    stopped = trial.status is TrainingJobStatus.STOPPED
    retryable = trial.failure_kind is FailureKind.RETRYABLE
    non_retryable = trial.failure_kind is FailureKind.NON_RETRYABLE
    has_objective = trial.objective_value is not None
    return Counters(
        completed=counters.completed + completed,
        stopped=counters.stopped + stopped,
        retryable_error=counters.retryable_error + retryable,
        non_retryable_error=counters.non_retryable_error + non_retryable,
        objective_succeeded=counters.objective_succeeded + has_objective,
        objective_failed=counters.objective_failed + (not has_objective),
    )
