"""A tuning job's own state, beside that of its open trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_core.space.ranges import SearchSpace
from tunesmith_core.stopping.rungs import Rungs
from tunesmith_server.domain.completion import CompletionCriteria, Criterion, Goal
from tunesmith_server.domain.frozen import replace
from tunesmith_server.domain.history import Trace
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.states import (
    TUNING_JOB_TRANSITIONS,
    Cause,
    IllegalTransition,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import Trial


class Strategy(StrEnum):
    """Name the search strategies, in SageMaker's spelling."""

    BAYESIAN = "Bayesian"
    RANDOM = "Random"
    HYPERBAND = "Hyperband"
    GRID = "Grid"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """Say how callers keep the trials that they run.

    Attributes:
        duration: A trial is kept so long for a caller that makes no call for it.
        offers_again: It is then handed to another one; else it fails.
    """

    duration: timedelta
    offers_again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryTerms:
    """Say when a trial that failed without its own fault is started again, and from where.

    Attributes:
        most: So often, at most.
        time_limit: All its attempts together may run so long; None for any time.
        resumes: An attempt goes on from the checkpoints of the one before, whatever ended that, so
            that what was measured stays.
    """

    most: int = 0
    time_limit: timedelta | None = None
    resumes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HalvingTerms:
    """Say how Hyperband judges the trials of a definition.

    Attributes:
        min_resource: No trial is stopped before it has emitted so many values; None: the rule's
            own number.
        max_resource: With so many it has done what it was to do.
        schedule: The tuned hyperparameter that says how many values a trial will emit, if one does.
        pauses: Trials are paused at rungs, and go on from their checkpoints; else those that fall
            behind are stopped.
    """

    min_resource: int | None
    max_resource: int
    schedule: str | None = None
    pauses: bool = False

    def full_resource(self, parameters: Mapping[str, str]) -> int:
        """Give how many values a trial is to emit."""
        if self.schedule is None:
            return self.max_resource
        return min(self.max_resource, max(1, int(parameters[self.schedule])))

    def trace(
        self, parameters: Mapping[str, str], steps: Sequence[int], values: Sequence[float]
    ) -> Trace:
        """Say how far a trial has come that has emitted values at steps, in order."""
        full = self.full_resource(parameters)
        reached = [
            next((value for step, value in zip(steps, values, strict=True) if step >= level), None)
            for level in Rungs(self.min_resource, self.max_resource).levels_of(full)
        ]
        return Trace(
            rungs=tuple(value for value in reached if value is not None),
            is_whole=bool(steps) and steps[-1] >= full,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Say what some of a tuning job's training jobs run, and what is tuned with it.

    Attributes:
        name: ``DefinitionName``, if it has one; always where there are several.
        metric_name: The objective metric.
        space: The search space.
        message: The training job definition; None where callers run the trials.
        retry_terms: When trials are started again.
        halving_terms: Set exactly when the strategy is Hyperband.
    """

    name: str | None
    metric_name: str
    space: SearchSpace
    message: definition_pb.HyperParameterTrainingJobDefinition | None = None
    retry_terms: RetryTerms = field(default_factory=RetryTerms)
    halving_terms: HalvingTerms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Name a tuning job whose results another one starts with.

    Attributes:
        job_id: The store's number for it.
        spec: What it was asked for.
    """

    job_id: int
    spec: JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Hold what a create request asks for: the message, kept whole, and what was read off it.

    Frozen once the tuning job exists. ``domain/job_spec.py`` reads it off the request.

    Attributes:
        request: The request as it was accepted; not to be changed.
        account: Whose ARNs its resources have.
        strategy: How configurations are chosen.
        goal: Which way objectives are better.
        definitions: What is run, at least one; one without a message where callers run the trials.
        seed: ``RandomSeed``, or one drawn when the request had none; at least 0.
        max_training_jobs: How many training jobs are launched in all, at least 1.
        max_parallel: How many are open at a time, at least 1.
        max_runtime: The tuning job's own time limit; None for none.
        lease_terms: Set exactly when callers run the trials, and not runners.
        criteria: When it completes, beside its limits.
        stops_early: Trials that fall behind are stopped.
        parents: The tuning jobs that it starts with; what the request says does not tell them, since
            names are used again.
    """

    request: pb.CreateHyperParameterTuningJobRequest
    account: Account
    strategy: Strategy
    goal: Goal
    definitions: tuple[Definition, ...]
    seed: int
    max_training_jobs: int
    max_parallel: int
    max_runtime: timedelta | None
    lease_terms: LeaseTerms | None = None
    criteria: CompletionCriteria = field(default_factory=CompletionCriteria)
    stops_early: bool = False
    parents: tuple[Parent, ...] = ()

    @property
    def name(self) -> str:
        """Give the tuning job's name as its creator wrote it."""
        return self.request.hyper_parameter_tuning_job_name

    @property
    def is_judged(self) -> bool:
        """Tell whether trials are stopped by what they emit."""
        return self.stops_early or self.strategy is Strategy.HYPERBAND

    @property
    def pauses(self) -> bool:
        """Tell whether trials of a definition are paused and go on."""
        terms = (each.halving_terms for each in self.definitions)
        return any(each is not None and each.pauses for each in terms)

    @property
    def definition(self) -> Definition:
        """Give the definition of a tuning job that has no more than one.

        Raises:
            ValueError: It has several.
        """
        (definition,) = self.definitions
        return definition

    def definition_of(self, trial: Trial) -> Definition:
        """Give the definition that a trial runs.

        Raises:
            LookupError: It runs none of them.
        """
        if len(self.definitions) == 1:
            return self.definitions[0]
        for definition in self.definitions:
            if definition.name == trial.definition_name:
                return definition
        raise LookupError(f"{trial.name} runs {trial.definition_name}, which is not defined")

    @property
    def is_seeded(self) -> bool:
        """Tell whether the request has a ``RandomSeed``, and so asks to be repeatable."""
        return self.request.hyper_parameter_tuning_job_config.HasField("random_seed")

    @property
    def arn(self) -> str:
        """Give the tuning job's ARN."""
        return self.account.tuning_job_arn(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Count a tuning job's ended training jobs; the open ones are counted where they are held."""

    completed: int = 0
    stopped: int = 0
    retryable_error: int = 0
    non_retryable_error: int = 0
    objective_succeeded: int = 0
    objective_failed: int = 0

    @property
    def ended(self) -> int:
        """Count the training jobs that have ended."""
        return self.completed + self.stopped + self.failed

    @property
    def failed(self) -> int:
        """Count the training jobs that have failed."""
        return self.retryable_error + self.non_retryable_error

    @property
    def any_succeeded(self) -> bool:
        """Tell whether a training job completed, or was stopped after it gave an objective."""
        return self.completed > 0 or self.objective_succeeded > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """Say how a tuning job ends once its open trials have ended.

    Attributes:
        status: The terminal status to come.
        reason: FailureReason when that is Failed.
        criterion: What has been met when that is Completed; None for one that an earlier release
            completed, which did not note it.
    """

    status: TuningJobStatus
    reason: str | None = None
    criterion: Criterion | None = None


@dataclass(frozen=True, kw_only=True)  # without slots, as frozen.replace needs it
class TuningJob:
    """Hold a tuning job's state.

    Attributes:
        job_id: The store's number for it; names can be used again after a delete.
        status: Where it is.
        created_at: When its create request was taken.
        modified_at: When anything about it or its trials last changed.
        launched: How many training jobs it has launched.
        exhausted: The search space has no configuration left.
        closing: Set once it has been decided how it ends.
        counters: Its ended training jobs.
        best: The completed training job with the best objective so far.
        not_improving: How many training jobs have ended with an objective since the last one that
            improved the best by more than a hundredth.
        converged_at: When it was detected that the search has converged.
        ended_at: When it reached a terminal status.
        failure_reason: Set exactly when it failed.
        version: Rises with each durable change: the store's compare-and-set.
    """

    job_id: int
    status: TuningJobStatus
    created_at: datetime
    modified_at: datetime
    launched: int = 0
    exhausted: bool = False
    closing: Closing | None = None
    counters: Counters = field(default_factory=Counters)
    best: Trial | None = None
    not_improving: int = 0
    converged_at: datetime | None = None
    ended_at: datetime | None = None
    failure_reason: str | None = None
    version: int = 0

    def moved(self, to: TuningJobStatus, *, cause: Cause, now: datetime, name: str) -> TuningJob:
        """Return the tuning job in another status.

        Raises:
            IllegalTransition: The table does not allow it.
        """
        if cause not in TUNING_JOB_TRANSITIONS.get((self.status, to), frozenset()):
            raise IllegalTransition(
                item=name, start=self.status, end=to, cause=cause, story=(self.status,)
            )
        ended_at = now if to.is_terminal else None
        return replace(self, status=to, modified_at=now, ended_at=ended_at)


@dataclass(frozen=True, kw_only=True)  # without slots, as frozen.replace needs it
class Promotions:
    """Say what is known of who may go on of the paused trials.

    Attributes:
        number: Of the latest ask.
        is_asked: It has not been answered yet.
        is_known: It was answered: nobody else may, and no place has become free since.
    """

    number: int = 0
    is_asked: bool = False
    is_known: bool = False


@dataclass(frozen=True, kw_only=True)  # without slots, as frozen.replace needs it
class JobState:
    """Hold all that a decision about a tuning job needs.

    Attributes:
        spec: What was asked for.
        job: The tuning job itself.
        trials: Its open trials by name. Ended ones live in the store and in the counters.
        suggestions_wanted: How many suggestions have been asked for and not arrived. Not
            stored: after a restart nothing is under way.
        promotions: Who may go on; not stored either.
    """

    spec: JobSpec
    job: TuningJob
    trials: Mapping[str, Trial] = field(default_factory=dict)
    suggestions_wanted: int = 0
    promotions: Promotions = field(default_factory=Promotions)

    @property
    def goes_on(self) -> bool:
        """Tell whether the tuning job is in progress, and it is not decided how it ends."""
        return self.job.status is TuningJobStatus.IN_PROGRESS and self.job.closing is None

    @property
    def launchable(self) -> int:
        """Count the training jobs that the limits allow to be launched now."""
        if self.job.exhausted or not self.goes_on:
            return 0
        free = self.spec.max_parallel - self.placed
        return max(0, min(free, self.spec.max_training_jobs - self.job.launched))

    @property
    def paused(self) -> list[Trial]:
        """Give the trials that rest at a rung."""
        if not self.spec.pauses:
            return []
        return [trial for trial in self.trials.values() if trial.is_paused]

    @property
    def placed(self) -> int:
        """Count the trials that have a place: all that are open, but for the paused ones."""
        return len(self.trials) - len(self.paused)

    @property
    def resumable(self) -> int:
        """Count the paused trials that would have a place now, beside the suggestions to come."""
        if not self.goes_on:
            return 0
        free = self.spec.max_parallel - self.placed - self.suggestions_wanted
        return max(0, min(free, len(self.paused)))

    @property
    def has_launched_all(self) -> bool:
        """Tell whether there is nothing left to launch."""
        return self.job.exhausted or self.job.launched >= self.spec.max_training_jobs

    def held_by(self, client_id: str) -> list[Trial]:
        """Give the trials that a caller holds and is to go on with, in launch order."""
        held = (
            trial
            for trial in self.trials.values()
            if trial.lease is not None
            and trial.lease.instance_id == client_id
            and not trial.stop_requested
        )
        return sorted(held, key=lambda trial: trial.index)

    @property
    def deadline(self) -> datetime | None:
        """Give the time at which the tuning job's own limit is reached, while that matters."""
        if self.spec.max_runtime is None or not self.goes_on:
            return None
        return self.job.created_at + self.spec.max_runtime
