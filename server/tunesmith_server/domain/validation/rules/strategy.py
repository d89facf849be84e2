"""What each strategy asks of the rest of a request."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_server.domain.schedules import full_schedule
from tunesmith_server.domain.validation.draft import CONFIG, LIMITS, Draft
from tunesmith_server.domain.validation.search_space import Finding
from tunesmith_server.domain.validation.wording import excerpt

GRID = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_GRID
HYPERBAND = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND

MAX_RESOURCE = 20_000

_STRATEGY = f"{CONFIG}.Strategy"
_HYPERBAND_CONFIG = f"{CONFIG}.StrategyConfig.HyperbandStrategyConfig"


def grid_needs_categorical_ranges(draft: Draft) -> Iterator[Finding]:
    """Grid search has no way of stepping through numbers."""
    if draft.config.strategy != GRID:
        return
    for space in draft.spaces:
        numeric = {
            "IntegerParameterRanges": [r.name for r in space.ranges.integer_parameter_ranges],
            "ContinuousParameterRanges": [r.name for r in space.ranges.continuous_parameter_ranges],
        }
        for member, names in numeric.items():
            if names:
                yield Finding(
                    path=f"{space.path}.{member}",
                    message=f"Grid search takes categorical ranges only; give the values of "
                    f"{excerpt(', '.join(names))} in CategoricalParameterRanges, or use Bayesian",
                )


def grid_runs_every_combination(draft: Draft) -> Iterator[Finding]:
    """Grid search ends when its combinations do, and not before."""
    path = f"{LIMITS}.MaxNumberOfTrainingJobs"
    given = draft.config.resource_limits.max_number_of_training_jobs
    combinations = draft.combinations
    if draft.config.strategy != GRID or not given or combinations is None:
        return
    if draft.is_sound(path) and given != combinations:
        yield Finding(
            path=path,
            message=f"MaxNumberOfTrainingJobs is {given}, and the grid has {combinations} "
            f"combinations, each of which is run once; give {combinations}, or leave it out",
        )


def strategy_config_needs_hyperband(draft: Draft) -> Iterator[Finding]:
    """No other strategy has settings."""
    path = f"{CONFIG}.StrategyConfig"
    if draft.config.strategy == HYPERBAND or not draft.is_sound(_STRATEGY):
        return
    if draft.config.strategy_config.ByteSize():
        yield Finding(
            path=path,
            message="StrategyConfig goes with the strategy Hyperband only; leave it out",
        )


def hyperband_excludes_early_stopping(draft: Draft) -> Iterator[Finding]:
    """Hyperband stops trials by a rule of its own."""
    early_stopping = draft.config.training_job_early_stopping_type
    if draft.config.strategy != HYPERBAND:
        return
    if early_stopping == job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO:
        yield Finding(
            path=f"{CONFIG}.TrainingJobEarlyStoppingType",
            message="TrainingJobEarlyStoppingType Auto does not go with the strategy Hyperband, "
            "which has its own early stopping; give Off, or leave it out",
        )


def hyperband_max_resource_is_known(draft: Draft) -> Iterator[Finding]:
    """Hyperband must know how long a trial can run, in epochs."""
    if draft.config.strategy != HYPERBAND:
        return
    if draft.config.strategy_config.hyperband_strategy_config.max_resource:
        return
    for space in draft.spaces:
        search_space = space.reading.search_space
        if search_space is None:
            continue  # what is wrong with it is said elsewhere
        longest = full_schedule(search_space, space.static)
        if longest > MAX_RESOURCE:
            yield Finding(
                path=f"{_HYPERBAND_CONFIG}.MaxResource",
                message=f"MaxResource, taken from the number of epochs, is {longest}; give at most "
                f"{MAX_RESOURCE}",
            )
        if not longest:
            yield Finding(
                path=f"{_HYPERBAND_CONFIG}.MaxResource",
                message="MaxResource parameter is not provided and could not be inferred from "
                "provided static hyperparameters of TrainingJobDefinition.",
            )


def hyperband_resources_are_in_order(draft: Draft) -> Iterator[Finding]:
    """The resource that no trial is stopped below lies below the one that every trial ends at."""
    hyperband = draft.config.strategy_config.hyperband_strategy_config
    if not draft.is_sound(_HYPERBAND_CONFIG):
        return
    if hyperband.max_resource > MAX_RESOURCE:
        yield Finding(
            path=f"{_HYPERBAND_CONFIG}.MaxResource",
            message=f"MaxResource is {hyperband.max_resource}; give at most {MAX_RESOURCE}",
        )
    if hyperband.max_resource:
        longest, whence = hyperband.max_resource, ""
    else:
        longest = min(
            filter(
                None,
                (
                    full_schedule(space.reading.search_space, space.static)
                    for space in draft.spaces
                    if space.reading.search_space is not None
                ),
            ),
            default=0,
        )
        whence = ", taken from the number of epochs,"
    if longest and hyperband.min_resource > longest:
        yield Finding(
            path=f"{_HYPERBAND_CONFIG}.MinResource",
            message=f"MinResource is {hyperband.min_resource}, above MaxResource, which{whence} is "
            f"{longest}; give at most that",
        )
