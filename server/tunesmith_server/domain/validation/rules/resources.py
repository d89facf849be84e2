"""What a trial runs on, for how long, and how many trials a site takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from tunesmith.v1 import resource_config_pb2 as resource_pb
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.validation.draft import LIMITS, Definition, Draft
from tunesmith_server.domain.validation.rules.strategy import GRID
from tunesmith_server.domain.validation.search_space import Finding
from tunesmith_server.domain.validation.wording import excerpt

DEFAULT_MAX_RUNTIME_S = 86_400
"""How long a training job may run when its stopping condition does not say."""

MAX_RUNTIME_S = 28 * 86_400
"""How long a training job may run at most, as the API's reference says; its model has no such bound."""

_Config: TypeAlias = resource_pb.ResourceConfig | resource_pb.HyperParameterTuningResourceConfig


def resources_are_given_once(draft: Draft) -> Iterator[Finding]:
    """There are two members for the same thing."""
    for definition in draft.definitions:
        message = definition.message
        tuning = message.hyper_parameter_tuning_resource_config
        if message.resource_config.ByteSize() and tuning.ByteSize():
            yield Finding(
                path=f"{definition.path}.HyperParameterTuningResourceConfig",
                message="ResourceConfig and HyperParameterTuningResourceConfig are both given; "
                "use one of them",
            )


def training_jobs_run_28_days_at_most(draft: Draft) -> Iterator[Finding]:
    """A training job has an end, also where its request names a far one."""
    for definition in draft.definitions:
        path = f"{definition.path}.StoppingCondition.MaxRuntimeInSeconds"
        given = definition.message.stopping_condition.max_runtime_in_seconds
        if given > MAX_RUNTIME_S:
            yield Finding(
                path=path,
                message=f"A training job runs {MAX_RUNTIME_S} seconds, 28 days, at most, and not "
                f"{given}; give fewer",
            )


def instance_types_are_known(draft: Draft) -> Iterator[Finding]:
    """An instance type stands for numbers, so a table must have it."""
    for definition in draft.definitions:
        for config_path, config in _configs(definition):
            path, name = f"{config_path}.InstanceType", config.instance_type
            if name and draft.is_sound(path) and draft.site.instance_profile(name) is None:
                yield Finding(path=path, message=_unknown_type(name, draft.site))


def instances_are_counted_from_one(draft: Draft) -> Iterator[Finding]:
    """No instance at all runs nothing."""
    for definition in draft.definitions:
        for path, config in _configs(definition):
            if config.HasField("instance_count") and config.instance_count == 0:
                yield Finding(
                    path=f"{path}.InstanceCount",
                    message="InstanceCount is 0, and nothing can run on no instance; give 1, or "
                    "leave it out",
                )


def instance_alternatives_stand_alone(draft: Draft) -> Iterator[Finding]:
    """Groups, preferences and alternatives replace the plain instance type."""
    for definition in draft.definitions:
        config, path = definition.message.resource_config, f"{definition.path}.ResourceConfig"
        plain = _given(
            InstanceType=bool(config.instance_type), InstanceCount=config.HasField("instance_count")
        )
        others = _given(
            InstanceGroups=bool(config.instance_groups),
            InstancePlacementConfig=config.HasField("instance_placement_config"),
        )
        spot = _given(EnableManagedSpotTraining=definition.message.enable_managed_spot_training)
        if config.instance_groups and plain:
            yield _excluded(path, "InstanceGroups", plain)
        if config.instance_preferences and (plain[:1] == ["InstanceType"] or others or spot):
            excluded = [*(name for name in plain if name == "InstanceType"), *others, *spot]
            yield _excluded(path, "InstancePreferences", excluded)
        tuning = definition.message.hyper_parameter_tuning_resource_config
        beside = _given(
            InstanceType=bool(tuning.instance_type),
            InstanceCount=tuning.HasField("instance_count"),
            VolumeSizeInGB=tuning.HasField("volume_size_in_gb"),
        )
        if tuning.instance_configs and beside:
            tuning_path = f"{definition.path}.HyperParameterTuningResourceConfig"
            yield _excluded(tuning_path, "InstanceConfigs", beside)


def selected_instances_are_not_asked_for(draft: Draft) -> Iterator[Finding]:
    """What was selected is an answer, not a question."""
    for definition in draft.definitions:
        config = definition.message.resource_config
        for member in _given(
            SelectedInstanceType=bool(config.selected_instance_type),
            SelectedInstanceCount=config.HasField("selected_instance_count"),
        ):
            yield Finding(
                path=f"{definition.path}.ResourceConfig.{member}",
                message=f"{member} is only told by Describe; leave it out of a request",
            )


def spot_training_has_a_wait_limit(draft: Draft) -> Iterator[Finding]:
    """An interruptible trial may wait, for a time that covers its running; no other may."""
    for definition in draft.definitions:
        condition = definition.message.stopping_condition
        path = f"{definition.path}.StoppingCondition.MaxWaitTimeInSeconds"
        if not draft.is_sound(f"{definition.path}.StoppingCondition"):
            continue
        max_wait_s = condition.max_wait_time_in_seconds
        max_runtime_s = condition.max_runtime_in_seconds or DEFAULT_MAX_RUNTIME_S
        if not definition.message.enable_managed_spot_training:
            if max_wait_s:
                yield Finding(
                    path=path,
                    message="MaxWaitTimeInSeconds goes with EnableManagedSpotTraining only; leave "
                    "it out",
                )
        elif not max_wait_s:
            yield Finding(
                path=path,
                message="MaxWaitTimeInSeconds is missing, which EnableManagedSpotTraining needs; "
                f"give at least MaxRuntimeInSeconds, which is {max_runtime_s}",
            )
        elif max_wait_s < max_runtime_s:
            yield Finding(
                path=path,
                message=f"MaxWaitTimeInSeconds is {max_wait_s}, less than MaxRuntimeInSeconds, "
                f"which is {max_runtime_s}; give at least that",
            )


def limits_are_within_the_sites(draft: Draft) -> Iterator[Finding]:
    """A site says how large a tuning job may be."""
    limits, site = draft.config.resource_limits, draft.site
    asked = {
        "MaxNumberOfTrainingJobs": (
            limits.max_number_of_training_jobs or _implied(draft),
            site.max_training_jobs,
        ),
        "MaxParallelTrainingJobs": (
            limits.max_parallel_training_jobs,
            site.max_parallel_training_jobs,
        ),
    }
    for member, (wanted, most) in asked.items():
        is_implied = member == "MaxNumberOfTrainingJobs" and not limits.max_number_of_training_jobs
        if wanted > most and draft.is_sound(f"{LIMITS}.{member}"):
            told = (
                f"The grid has {_many(wanted)} combinations"
                if is_implied
                else f"{member} is {wanted}"
            )
            yield Finding(
                path=f"{LIMITS}.{member}",
                message=f"{told}; this site takes at most {most}",
            )


def _many(count: int) -> str:
    """Write a count that may have any number of digits."""
    return str(count) if count < 10**9 else f"{float(min(count, 10**300)):.1e}"


def _implied(draft: Draft) -> int:
    """Count the training jobs of a grid, which run without being asked for by number."""
    combinations = draft.combinations if draft.config.strategy == GRID else None
    return combinations or 0


def _configs(definition: Definition) -> Iterator[tuple[str, _Config]]:
    message = definition.message
    yield f"{definition.path}.ResourceConfig", message.resource_config
    yield (
        f"{definition.path}.HyperParameterTuningResourceConfig",
        message.hyper_parameter_tuning_resource_config,
    )


def _given(**members: bool) -> list[str]:
    return [member for member, is_given in members.items() if is_given]


def _excluded(path: str, member: str, others: list[str]) -> Finding:
    return Finding(
        path=f"{path}.{member}",
        message=f"{member} does not go with {' and '.join(others)}; give one or the other",
    )


def _unknown_type(name: str, site: Site) -> str:
    similar = site.similar_instance_types(name)
    nearby = f" Did you mean {', '.join(similar)}?" if similar else ""
    return (
        f"No instance type is called {excerpt(name)!r}.{nearby} 'local' takes a share of any host, "
        f'and tunesmith.toml can have types of the site\'s own: [instance_types."{excerpt(name)}"] '
        "vcpus = 4, memory_gib = 16, gpus = 0"
    )
