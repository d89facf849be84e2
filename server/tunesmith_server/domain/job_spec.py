"""Read what a tuning job is to do off its create request, and show it with its defaults.

Whether the request may be served at all is for `validation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from tunesmith.v1 import options_pb2
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_core.space.ranges import SearchSpace
from tunesmith_server.domain.completion import CompletionCriteria, Goal
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.instance_types import LOCAL
from tunesmith_server.domain.names import OBJECTIVE_HYPER_PARAMETER, Account
from tunesmith_server.domain.schedules import full_schedule, is_schedule
from tunesmith_server.domain.site import Site, resolve_algorithm, runs_script
from tunesmith_server.domain.tuning_job import (
    Definition,
    HalvingTerms,
    JobSpec,
    LeaseTerms,
    RetryTerms,
    Strategy,
)
from tunesmith_server.domain.validation.acceptance import validate_create
from tunesmith_server.domain.validation.draft import RANGES
from tunesmith_server.domain.validation.rules.resources import DEFAULT_MAX_RUNTIME_S
from tunesmith_server.domain.validation.search_space import read_space

DEFAULT_MAX_TRAINING_JOBS = 750
"""How many training jobs a tuning job launches when nothing says how many."""

DEFAULT_LEASE_S = 3600
"""How long a trial is kept for a caller that is silent when nothing says how long."""

DEFAULT_TUNING_RUNTIME_S = 30 * 86_400
"""How long a tuning job goes on when its request does not say."""

DEFAULT_CHECKPOINTS = "/opt/ml/checkpoints/"
"""Where a program leaves its checkpoints when nothing says where; SageMaker's own place."""

_EARLY = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO
_ENABLED = job_pb.COMPLETE_ON_CONVERGENCE_ENABLED
_HYPERBAND = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND
_MAXIMIZE = job_pb.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MAXIMIZE


def read_job_spec(
    request: pb.CreateHyperParameterTuningJobRequest,
    *,
    account: Account,
    site: Site,
    seed: int,
    trusted: bool = False,
) -> JobSpec:
    """Check a create request and read it.

    Args:
        request: The request; the result keeps it, so it must not change afterwards.
        account: Whose tuning job it is.
        site: Where it runs.
        seed: Drawn for it, to be used if the request has none; at least 0.
        trusted: The request was accepted before: it is not refused now that the site, or what
            the rules ask, may have changed.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    if not trusted:
        validate_create(request, site=site)
    config = request.hyper_parameter_tuning_job_config
    limits, strategy = config.resource_limits, _strategy(config.strategy)
    definitions = _definitions(request)
    return JobSpec(
        request=request,
        account=account,
        strategy=strategy,
        goal=Goal(maximise=_objectives(request)[0].type == _MAXIMIZE),
        definitions=definitions,
        seed=config.random_seed if config.HasField("random_seed") else seed,
        max_training_jobs=limits.max_number_of_training_jobs
        or _default_jobs(strategy, definitions, site),
        max_parallel=limits.max_parallel_training_jobs,
        max_runtime=timedelta(seconds=limits.max_runtime_in_seconds or DEFAULT_TUNING_RUNTIME_S),
        lease_terms=_lease_terms(request),
        criteria=_criteria(config.tuning_job_completion_criteria),
        stops_early=config.training_job_early_stopping_type == _EARLY,
    )


def is_caller_run(request: pb.CreateHyperParameterTuningJobRequest) -> bool:
    """Tell whether a tuning job's trials are run by its callers: it has no definition of them."""
    return not request.HasField("training_job_definition") and not request.training_job_definitions


def instance_of(definition: definition_pb.HyperParameterTrainingJobDefinition) -> tuple[str, int]:
    """Give the instance type that a trial runs on, and the disk it may use in GiB, 0 for any."""
    plain, tuning = definition.resource_config, definition.hyper_parameter_tuning_resource_config
    return (
        plain.instance_type or tuning.instance_type or LOCAL,
        plain.volume_size_in_gb or tuning.volume_size_in_gb,
    )


def runtime_limit(definition: definition_pb.HyperParameterTrainingJobDefinition) -> timedelta:
    """Give the time that a trial may run."""
    max_runtime_s = definition.stopping_condition.max_runtime_in_seconds
    return timedelta(seconds=max_runtime_s or DEFAULT_MAX_RUNTIME_S)


def filled_request(spec: JobSpec, site: Site) -> pb.CreateHyperParameterTuningJobRequest:
    """Return a tuning job's request as Describe shows it: what was left out is filled in.

    Lists that are empty stay so; a codec that shows them as ``[]`` can.
    """
    filled = pb.CreateHyperParameterTuningJobRequest()
    filled.CopyFrom(spec.request)
    _fill_config(filled.hyper_parameter_tuning_job_config, spec)
    if spec.lease_terms is not None:
        _fill_lease(filled.trial_lease_config, spec.lease_terms)
        return filled
    messages = filled.training_job_definitions or [filled.training_job_definition]
    for message, definition in zip(messages, spec.definitions, strict=True):
        filled_definition(message, definition, spec.account, site)
    return filled


def filled_definition(
    message: definition_pb.HyperParameterTrainingJobDefinition,
    definition: Definition,
    account: Account,
    site: Site,
) -> None:
    """Fill in what a training job definition left out, as Describe shows it."""
    message.static_hyper_parameters[OBJECTIVE_HYPER_PARAMETER] = definition.metric_name
    message.hyper_parameter_ranges.SetInParent()
    _fill_scaling(message.hyper_parameter_ranges)
    _fill_algorithm(message, account, site)
    _fill_resources(message)


def _objectives(
    request: pb.CreateHyperParameterTuningJobRequest,
) -> list[job_pb.HyperParameterTuningJobObjective]:
    """Give the objective of each definition, from the place that belongs to the request's form."""
    if request.training_job_definitions:
        return [each.tuning_objective for each in request.training_job_definitions]
    return [request.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective]


def metric_name_of(
    request: pb.CreateHyperParameterTuningJobRequest, definition_name: str | None
) -> str:
    """Give the objective metric of a definition, of the only one where there are not several."""
    for message in request.training_job_definitions:
        if message.definition_name == definition_name:
            return message.tuning_objective.metric_name
    return _objectives(request)[0].metric_name


def _definitions(request: pb.CreateHyperParameterTuningJobRequest) -> tuple[Definition, ...]:
    config = request.hyper_parameter_tuning_job_config
    if is_caller_run(request):
        metric_name = config.hyper_parameter_tuning_job_objective.metric_name
        space = read_space(config.parameter_ranges, RANGES).trusted_space
        halving_terms = _halving_terms(config, space, {})
        return (
            Definition(
                name=None, metric_name=metric_name, space=space, halving_terms=halving_terms
            ),
        )
    messages = request.training_job_definitions or [request.training_job_definition]
    return tuple(
        _definition(request, message, objective.metric_name)
        for message, objective in zip(messages, _objectives(request), strict=True)
    )


def _definition(
    request: pb.CreateHyperParameterTuningJobRequest,
    message: definition_pb.HyperParameterTrainingJobDefinition,
    metric_name: str,
) -> Definition:
    config = request.hyper_parameter_tuning_job_config
    is_plural = bool(request.training_job_definitions)
    ranges = message.hyper_parameter_ranges if is_plural else config.parameter_ranges
    space = read_space(ranges, RANGES).trusted_space
    return Definition(
        name=message.definition_name or None,
        metric_name=metric_name,
        space=space,
        message=message,
        retry_terms=RetryTerms(
            most=message.retry_strategy.maximum_retry_attempts,
            time_limit=runtime_limit(message),
            resumes=message.HasField("checkpoint_config"),
        ),
        halving_terms=_halving_terms(
            config,
            space,
            message.static_hyper_parameters,
            pauses=message.HasField("checkpoint_config"),
        ),
    )


def _halving_terms(
    config: job_pb.HyperParameterTuningJobConfig,
    space: SearchSpace,
    static: Mapping[str, str],
    *,
    pauses: bool = False,
) -> HalvingTerms | None:
    """Read how Hyperband judges the trials of a definition."""
    if config.strategy != _HYPERBAND:
        return None
    given = config.strategy_config.hyperband_strategy_config
    schedules = [each for each in space.parameters if is_schedule(each)]
    most = given.max_resource or full_schedule(space, static)
    return HalvingTerms(
        min_resource=given.min_resource or None,
        max_resource=most,
        schedule=schedules[0].name if schedules else None,
        pauses=pauses,
    )


def _lease_terms(request: pb.CreateHyperParameterTuningJobRequest) -> LeaseTerms | None:
    if not is_caller_run(request):
        return None
    config = request.trial_lease_config
    return LeaseTerms(
        duration=timedelta(seconds=config.lease_duration_in_seconds or DEFAULT_LEASE_S),
        offers_again=config.lease_expiry_action != job_pb.LEASE_EXPIRY_ACTION_FAIL,
    )


def _criteria(given: job_pb.TuningJobCompletionCriteria) -> CompletionCriteria:
    has_target = given.HasField("target_objective_metric_value")
    not_improving = given.best_objective_not_improving.max_number_of_training_jobs_not_improving
    return CompletionCriteria(
        target=given.target_objective_metric_value if has_target else None,
        most_not_improving=not_improving or None,
        on_convergence=given.convergence_detected.complete_on_convergence == _ENABLED,
    )


def _strategy(value: int) -> Strategy:
    named = job_pb.HyperParameterTuningJobStrategyType.DESCRIPTOR.values_by_number[value]
    return Strategy(named.GetOptions().Extensions[options_pb2.sagemaker_name])


def _default_jobs(strategy: Strategy, definitions: tuple[Definition, ...], site: Site) -> int:
    most = min(DEFAULT_MAX_TRAINING_JOBS, site.max_training_jobs)
    combinations = 0
    for definition in definitions:
        if definition.space.cardinality is None:
            return most
        combinations += definition.space.cardinality
    return combinations if strategy is Strategy.GRID else min(combinations, most)


def _fill_config(config: job_pb.HyperParameterTuningJobConfig, spec: JobSpec) -> None:
    config.resource_limits.max_number_of_training_jobs = spec.max_training_jobs
    if spec.max_runtime is not None:
        config.resource_limits.max_runtime_in_seconds = int(spec.max_runtime.total_seconds())
    config.training_job_early_stopping_type = (
        _EARLY if spec.stops_early else job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_OFF
    )
    convergence = config.tuning_job_completion_criteria.convergence_detected
    convergence.complete_on_convergence = (
        convergence.complete_on_convergence or job_pb.COMPLETE_ON_CONVERGENCE_DISABLED
    )
    _fill_hyperband(config, spec)
    if spec.request.training_job_definitions:
        config.ClearField("parameter_ranges")  # empty, if given: each definition has its own
        return
    config.parameter_ranges.SetInParent()
    _fill_scaling(config.parameter_ranges)


def _fill_hyperband(config: job_pb.HyperParameterTuningJobConfig, spec: JobSpec) -> None:
    """Show the full resource where all definitions have the same."""
    terms = [each.halving_terms for each in spec.definitions]
    full = {each.max_resource for each in terms if each is not None}
    if len(full) == 1:
        (most,) = full
        config.strategy_config.hyperband_strategy_config.max_resource = most


def _fill_scaling(ranges: space_pb.ParameterRanges) -> None:
    auto = space_pb.HYPER_PARAMETER_SCALING_TYPE_AUTO
    for integer in ranges.integer_parameter_ranges:
        integer.scaling_type = integer.scaling_type or auto
    for continuous in ranges.continuous_parameter_ranges:
        continuous.scaling_type = continuous.scaling_type or auto


def _fill_lease(config: job_pb.TrialLeaseConfig, terms: LeaseTerms) -> None:
    config.lease_duration_in_seconds = int(terms.duration.total_seconds())
    config.lease_expiry_action = (
        job_pb.LEASE_EXPIRY_ACTION_OFFER_AGAIN
        if terms.offers_again
        else job_pb.LEASE_EXPIRY_ACTION_FAIL
    )


def _fill_algorithm(
    definition: definition_pb.HyperParameterTrainingJobDefinition, account: Account, site: Site
) -> None:
    """Show the metrics that are looked for, and the members that SageMaker's SDK reads unasked."""
    specification = definition.algorithm_specification
    try:
        resolved = resolve_algorithm(specification, site, is_script=runs_script(definition))
    except InvalidRequest:  # the site no longer has it; the request's own members stay true
        resolved = None
    if resolved is not None:
        del specification.metric_definitions[:]
        for metric in resolved.metric_definitions:
            specification.metric_definitions.add(name=metric.name, regex=metric.regex)
    if not specification.HasField("training_image"):
        specification.training_image = ""
    name = specification.algorithm_name
    if name and not name.startswith("arn:"):
        specification.algorithm_name = account.algorithm_arn(name)


def _fill_resources(definition: definition_pb.HyperParameterTrainingJobDefinition) -> None:
    """Show resources and limits in ``ResourceConfig``, whichever member they were given in."""
    config = definition.resource_config
    config.instance_type, config.volume_size_in_gb = instance_of(definition)
    config.instance_count = 1
    max_runtime_s = int(runtime_limit(definition).total_seconds())
    definition.stopping_condition.max_runtime_in_seconds = max_runtime_s
    definition.enable_network_isolation = definition.enable_network_isolation
    definition.enable_inter_container_traffic_encryption = (
        definition.enable_inter_container_traffic_encryption
    )
    definition.enable_managed_spot_training = definition.enable_managed_spot_training
    if definition.HasField("checkpoint_config"):
        checkpoints = definition.checkpoint_config
        checkpoints.local_path = checkpoints.local_path or DEFAULT_CHECKPOINTS
