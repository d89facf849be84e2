"""Make what a tuning job asks for, for tests of what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Scaling, SearchSpace
from tunesmith_server.domain.completion import CompletionCriteria, Goal
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.tuning_job import (
    Definition,
    HalvingTerms,
    JobSpec,
    LeaseTerms,
    RetryTerms,
    Strategy,
)

CREATED_AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)

SPACE = SearchSpace(
    (
        Continuous(name="learning_rate", lo=1e-5, hi=1e-1, scaling=Scaling.LOGARITHMIC),
        Integer(name="depth", lo=2, hi=12),
        Categorical(name="booster", values=("tree", "linear")),
    )
)
#: Six configurations in all.
SMALL_SPACE = SearchSpace(
    (
        Categorical(name="booster", values=("tree", "linear")),
        Categorical(name="depth", values=("3", "6", "9")),
    )
)
METRIC = "validation:loss"
#: What the second of two definitions searches, and its metric.
SECOND_SPACE = SearchSpace(
    (
        Integer(name="trees", lo=1, hi=64, scaling=Scaling.LOGARITHMIC),
        Categorical(name="booster", values=("tree", "dart")),
    )
)
SECOND_METRIC = "oob:loss"
FIRST, SECOND = "net", "forest"


def job_spec(
    *,
    name: str = "digits",
    jobs: int = 4,
    parallel: int = 2,
    maximise: bool = False,
    max_runtime: timedelta | None = None,
    space: SearchSpace = SPACE,
    strategy: Strategy = Strategy.RANDOM,
    seed: int = 7,
    definition_name: str | None = None,
    lease_terms: LeaseTerms | None = None,
    target: float | None = None,
    most_not_improving: int | None = None,
    on_convergence: bool = False,
    retries: int = 0,
    time_limit: timedelta | None = None,
    resumes: bool = False,
    pauses: bool = False,
) -> JobSpec:
    """Ask for a tuning job; the request agrees with what is read off it."""
    request = pb.CreateHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name)
    config = request.hyper_parameter_tuning_job_config
    objective = config.hyper_parameter_tuning_job_objective
    kinds = job_pb.HyperParameterTuningJobObjectiveType
    objective.type = (
        kinds.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MAXIMIZE
        if maximise
        else kinds.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MINIMIZE
    )
    objective.metric_name = METRIC
    config.resource_limits.max_number_of_training_jobs = jobs
    config.resource_limits.max_parallel_training_jobs = parallel
    if max_runtime is not None:
        config.resource_limits.max_runtime_in_seconds = int(max_runtime.total_seconds())
    criteria = config.tuning_job_completion_criteria
    if target is not None:
        criteria.target_objective_metric_value = target
    if most_not_improving is not None:
        not_improving = criteria.best_objective_not_improving
        not_improving.max_number_of_training_jobs_not_improving = most_not_improving
    if on_convergence:
        criteria.convergence_detected.complete_on_convergence = (
            job_pb.COMPLETE_ON_CONVERGENCE_ENABLED
        )
    return JobSpec(
        request=request,
        account=Account(),
        strategy=strategy,
        goal=Goal(maximise=maximise),
        definitions=(
            Definition(
                name=definition_name,
                metric_name=METRIC,
                space=space,
                retry_terms=RetryTerms(most=retries, time_limit=time_limit, resumes=resumes),
                halving_terms=(
                    HalvingTerms(min_resource=1, max_resource=9, pauses=True) if pauses else None
                ),
            ),
        ),
        seed=seed,
        max_training_jobs=jobs,
        max_parallel=parallel,
        max_runtime=max_runtime,
        lease_terms=lease_terms,
        criteria=CompletionCriteria(
            target=target, most_not_improving=most_not_improving, on_convergence=on_convergence
        ),
    )


def two_definitions(
    spec: JobSpec,
    *,
    second_space: SearchSpace = SECOND_SPACE,
    second_retry_terms: RetryTerms | None = None,
) -> JobSpec:
    """Give a tuning job a second definition; the request agrees, but for ranges and programs.

    Args:
        spec: Asks for one definition.
        second_space: What the second one searches.
        second_retry_terms: When its trials are started again; never when left out.
    """
    request = pb.CreateHyperParameterTuningJobRequest()
    request.CopyFrom(spec.request)
    objective = request.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective
    for name, metric_name in ((FIRST, METRIC), (SECOND, SECOND_METRIC)):
        message = request.training_job_definitions.add(definition_name=name)
        message.tuning_objective.type = objective.type
        message.tuning_objective.metric_name = metric_name
    request.hyper_parameter_tuning_job_config.ClearField("hyper_parameter_tuning_job_objective")
    second = Definition(
        name=SECOND,
        metric_name=SECOND_METRIC,
        space=second_space,
        retry_terms=second_retry_terms or RetryTerms(),
    )
    return replace(
        spec, request=request, definitions=(replace(spec.definition, name=FIRST), second)
    )
