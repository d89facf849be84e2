"""Choose what a create request leaves out, where its Autotune asks for that.

What is chosen stands in the request as if it had been given: it is checked, stored and shown like
the rest, and a later release, which may choose otherwise, changes no tuning job that exists.
SageMaker documents which members are chosen, and hardly how; docs/autotune.md has our rules with
their reasons. Nothing that was given is changed, and nothing that is wrong is mended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_core.space.ranges import Categorical, Parameter
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.hints import choose_range
from tunesmith_server.domain.job_spec import DEFAULT_TUNING_RUNTIME_S
from tunesmith_server.domain.site import Site, resolve_algorithm, runs_script
from tunesmith_server.domain.validation.constraints import check_and_cut
from tunesmith_server.domain.validation.draft import RANGES, read_draft
from tunesmith_server.domain.validation.members import is_bounded
from tunesmith_server.domain.validation.rules.catalogue import check_rules
from tunesmith_server.domain.validation.rules.hyperparameters import (
    MAX_HYPER_PARAMETERS,
    MAX_TUNED,
)
from tunesmith_server.domain.validation.rules.strategy import GRID, HYPERBAND
from tunesmith_server.domain.validation.search_space import add_range, read_space, tuned_names
from tunesmith_server.domain.validation.unserved import check_served

BASE_TRAINING_JOBS: Final = 20
TRAINING_JOBS_PER_RANGE: Final = 10
"""The size of a first experiment on d inputs that mostly suffices is 10 d: Loeppky, Sacks & Welch
(2009), "Choosing the sample size of a computer experiment: a practical guide"."""

MOST_TRAINING_JOBS: Final = 250
"""The most training jobs that are chosen; a request may ask for more."""

MOST_PARALLEL: Final = 10
"""The most training jobs at a time that are chosen: SageMaker's quota of old."""

RETRY_ATTEMPTS: Final = 3

_BAYESIAN = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_BAYESIAN
_OFF = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_OFF
_AUTO = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO
_MOST_DEFINITIONS = 10  # a request with more is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class _Space:
    """Hold the messages that the choice of one search space reads and writes.

    Attributes:
        path: Where the request has the ranges.
        ranges: The ranges.
        definition: What is trained; None: the caller knows.
        specification: The ranges that its algorithm is registered with.
    """

    path: str
    ranges: space_pb.ParameterRanges
    definition: definition_pb.HyperParameterTrainingJobDefinition | None
    specification: Mapping[str, Parameter | None]


def with_choices(
    request: pb.CreateHyperParameterTuningJobRequest, *, site: Site
) -> pb.CreateHyperParameterTuningJobRequest:
    """Return a copy of a request with what it leaves out; without Autotune, the request itself.

    A list of AutoParameters with something wrong in it stays whole, so that the request is refused
    in the terms of its author.

    Args:
        request: Right or wrong, of any size; not changed.
        site: Where it is to run.
    """
    if request.autotune.mode != job_pb.AUTOTUNE_MODE_ENABLED:
        return request
    chosen = pb.CreateHyperParameterTuningJobRequest()
    chosen.CopyFrom(request)
    config = chosen.hyper_parameter_tuning_job_config
    # Settings of Hyperband are a choice of Hyperband.
    has_hyperband = config.strategy_config.ByteSize() > 0
    config.strategy = config.strategy or (HYPERBAND if has_hyperband else _BAYESIAN)
    spaces = tuple(_spaces(chosen, site))
    _choose_ranges(chosen, spaces, site)
    _choose_limits(config, spaces, site)
    _choose_early_stopping(chosen)
    convergence = config.tuning_job_completion_criteria.convergence_detected
    convergence.complete_on_convergence = (
        convergence.complete_on_convergence or job_pb.COMPLETE_ON_CONVERGENCE_ENABLED
    )
    for space in spaces:
        if space.definition is not None and not space.definition.HasField("retry_strategy"):
            space.definition.retry_strategy.maximum_retry_attempts = RETRY_ATTEMPTS
    return chosen


def _spaces(request: pb.CreateHyperParameterTuningJobRequest, site: Site) -> Iterator[_Space]:
    has_one = request.HasField("training_job_definition")
    if has_one or not request.training_job_definitions:
        definition = request.training_job_definition if has_one else None
        yield _Space(
            path=RANGES,
            ranges=request.hyper_parameter_tuning_job_config.parameter_ranges,
            definition=definition,
            specification=_specification(definition, site),
        )
    for index, each in enumerate(islice(request.training_job_definitions, _MOST_DEFINITIONS)):
        yield _Space(
            path=f"TrainingJobDefinitions[{index}].HyperParameterRanges",
            ranges=each.hyper_parameter_ranges,
            definition=each,
            specification=_specification(each, site),
        )


def _specification(
    definition: definition_pb.HyperParameterTrainingJobDefinition | None, site: Site
) -> Mapping[str, Parameter | None]:
    if definition is None:
        return {}
    try:
        name = resolve_algorithm(
            definition.algorithm_specification, site, is_script=runs_script(definition)
        ).registered_name
    except InvalidRequest:  # of which a rule speaks
        return {}
    return {} if name is None else site.algorithms[name].hyperparameters


# --- ranges -------------------------------------------------------------------------------


def _choose_ranges(
    request: pb.CreateHyperParameterTuningJobRequest, spaces: tuple[_Space, ...], site: Site
) -> None:
    is_grid = request.hyper_parameter_tuning_job_config.strategy == GRID
    wrong = _complaints(request, site) if any(_has_hints(each) for each in spaces) else ()
    for space in spaces:
        if any(path.startswith(f"{space.path}.AutoParameters") for path in wrong):
            continue
        if _count(space) <= MAX_HYPER_PARAMETERS:
            _place_hints(space, is_grid=is_grid)
        if not _has_hints(space) and not tuned_names(space.ranges):
            _take_specification(space, is_grid=is_grid)


def _has_hints(space: _Space) -> bool:
    return bool(space.ranges.auto_parameters)


def _complaints(request: pb.CreateHyperParameterTuningJobRequest, site: Site) -> tuple[str, ...]:
    """Give the members that are wrong before anything is done with AutoParameters."""
    constraints, bounded = check_and_cut(request)
    broken = frozenset(violation.path for violation in constraints)
    rules = check_rules(read_draft(bounded, site=site, broken=broken))
    unserved = check_served(bounded)
    return tuple(violation.path for violation in (*constraints, *rules, *unserved))


def _count(space: _Space) -> int:
    """Count the hyperparameters of a search space, with the one that names the objective."""
    static = 0 if space.definition is None else len(space.definition.static_hyper_parameters)
    return static + len(tuned_names(space.ranges)) + len(space.ranges.auto_parameters) + 1


def _place_hints(space: _Space, *, is_grid: bool) -> None:
    """Turn AutoParameters into ranges while there is room, and the rest into static values."""
    ranges = space.ranges
    room = MAX_TUNED - len(tuned_names(ranges))
    for auto in ranges.auto_parameters:
        chosen = choose_range(
            auto.name, auto.value_hint, specification=space.specification, is_grid=is_grid
        )
        if chosen is not None and room > 0:
            add_range(ranges, chosen)
            room -= 1
        elif space.definition is not None:
            space.definition.static_hyper_parameters[auto.name] = auto.value_hint
    ranges.ClearField("auto_parameters")


def _take_specification(space: _Space, *, is_grid: bool) -> None:
    """Tune all that the algorithm's specification calls tunable, while there is room."""
    if space.definition is None:
        return
    static = space.definition.static_hyper_parameters
    tunable = [
        parameter
        for name, parameter in space.specification.items()
        if parameter is not None
        and name not in static
        and (isinstance(parameter, Categorical) or not is_grid)
    ]
    room = max(0, min(MAX_TUNED, MAX_HYPER_PARAMETERS - _count(space)))
    for parameter in tunable[:room]:
        add_range(space.ranges, parameter)


# --- everything else ----------------------------------------------------------------------


def _choose_limits(
    config: job_pb.HyperParameterTuningJobConfig, spaces: tuple[_Space, ...], site: Site
) -> None:
    limits, combinations = config.resource_limits, _combinations(spaces)
    jobs = limits.max_number_of_training_jobs
    if not jobs and config.strategy == GRID:
        jobs = combinations or 1  # which is what a grid runs without being told
    elif not jobs:
        tuned = sum(len(tuned_names(space.ranges)) for space in spaces)
        bounds = [MOST_TRAINING_JOBS, site.max_training_jobs, combinations]
        wanted = BASE_TRAINING_JOBS + TRAINING_JOBS_PER_RANGE * tuned
        jobs = min(wanted, *(bound for bound in bounds if bound is not None))
        limits.max_number_of_training_jobs = jobs
    if not limits.max_parallel_training_jobs:
        quota = site.quotas.parallel_training_jobs
        bounds = [MOST_PARALLEL, site.max_parallel_training_jobs, quota]
        most = min(bound for bound in bounds if bound is not None)
        limits.max_parallel_training_jobs = max(1, min(most, jobs // 10))
    limits.max_runtime_in_seconds = limits.max_runtime_in_seconds or DEFAULT_TUNING_RUNTIME_S


def _combinations(spaces: tuple[_Space, ...]) -> int | None:
    """Count the configurations of all search spaces; None for no end, or if one is unsound."""
    total = 0
    for space in spaces:
        if not is_bounded(space.ranges):
            return None
        search_space = read_space(space.ranges, space.path).search_space
        if search_space is None or search_space.cardinality is None:
            return None
        total += search_space.cardinality
    return total


def _choose_early_stopping(request: pb.CreateHyperParameterTuningJobRequest) -> None:
    """Stop trials that fall behind, but where a rule of requests does not allow it."""
    config = request.hyper_parameter_tuning_job_config
    is_excluded = config.strategy == HYPERBAND or bool(request.training_job_definitions)
    config.training_job_early_stopping_type = config.training_job_early_stopping_type or (
        _OFF if is_excluded else _AUTO
    )
