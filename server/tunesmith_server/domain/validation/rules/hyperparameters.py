"""What hyperparameters, tuned and static, may be: names, numbers and ranges."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith_server.domain.names import OBJECTIVE_HYPER_PARAMETER
from tunesmith_server.domain.validation.draft import LIMITS, Draft
from tunesmith_server.domain.validation.rules.strategy import GRID
from tunesmith_server.domain.validation.search_space import Finding, named_ranges
from tunesmith_server.domain.validation.wording import excerpt

MAX_TUNED = 30
MAX_HYPER_PARAMETERS = 100


def ranges_are_sound(draft: Draft) -> Iterator[Finding]:
    """Bounds are numbers, in order, and within what their scaling can take."""
    for space in draft.spaces:
        yield from space.reading.findings


def hyperparameters_have_names(draft: Draft) -> Iterator[Finding]:
    """A trial could not be told of a hyperparameter without a name."""
    message = "A hyperparameter without a name cannot be passed on; give it one"
    for space in draft.spaces:
        for path, each in named_ranges(space.ranges, space.path):
            if not each.name and draft.is_sound(f"{path}.Name"):
                yield Finding(path=f"{path}.Name", message=message)
        if "" in space.static:
            yield Finding(path=f"{space.static_path}['']", message=message)


def ranges_have_different_names(draft: Draft) -> Iterator[Finding]:
    """A hyperparameter has one range."""
    for space in draft.spaces:
        first: dict[str, str] = {}
        for path, each in named_ranges(space.ranges, space.path):
            if not draft.is_sound(f"{path}.Name") or not each.name:
                continue
            if each.name in first:
                yield Finding(
                    path=f"{path}.Name",
                    message=f"Hyperparameter {excerpt(each.name)!r} has another range already, at "
                    f"{first[each.name]}; give it one range",
                )
            first.setdefault(each.name, path)


def tuned_are_not_static(draft: Draft) -> Iterator[Finding]:
    """A hyperparameter is either tuned or has one value."""
    for space in draft.spaces:
        for path, each in named_ranges(space.ranges, space.path):
            if each.name and each.name in space.static:
                yield Finding(
                    path=f"{path}.Name",
                    message=f"Hyperparameter {excerpt(each.name)!r} is both tuned and in "
                    "StaticHyperParameters; take it out of one of them",
                )


def reserved_names_are_free(draft: Draft) -> Iterator[Finding]:
    """The name under which trials learn the objective belongs to the service."""
    message = (
        f"{OBJECTIVE_HYPER_PARAMETER} is set by the service for every training job; leave it out"
    )
    for space in draft.spaces:
        if OBJECTIVE_HYPER_PARAMETER in space.static:
            yield Finding(path=f"{space.static_path}.{OBJECTIVE_HYPER_PARAMETER}", message=message)
        for path, each in named_ranges(space.ranges, space.path):
            if each.name == OBJECTIVE_HYPER_PARAMETER:
                yield Finding(path=f"{path}.Name", message=message)


def tuned_are_few_enough(draft: Draft) -> Iterator[Finding]:
    """The quota of tuned hyperparameters counts all kinds together."""
    for space in draft.spaces:
        ranges = space.ranges
        count = (
            len(ranges.integer_parameter_ranges)
            + len(ranges.continuous_parameter_ranges)
            + len(ranges.categorical_parameter_ranges)
        )
        if count > MAX_TUNED and draft.is_sound(space.path):
            yield Finding(
                path=space.path,
                message=f"{count} hyperparameters are tuned; at most {MAX_TUNED} can be, "
                "integer, continuous and categorical ones together",
            )


def hyperparameters_are_few_enough(draft: Draft) -> Iterator[Finding]:
    """The quota of hyperparameters counts static and tuned ones and the objective's name."""
    for space in draft.spaces:
        if not draft.is_sound(space.path, space.static_path):
            continue
        tuned = sum(1 for _ in named_ranges(space.ranges, space.path))
        count = len(space.static) + tuned + 1
        if count > MAX_HYPER_PARAMETERS:
            yield Finding(
                path=space.static_path if space.static else f"{space.path}.AutoParameters",
                message=f"There are {count} hyperparameters: {len(space.static)} static, {tuned} "
                f"tuned, and {OBJECTIVE_HYPER_PARAMETER}; at most {MAX_HYPER_PARAMETERS} can be",
            )


def combinations_suffice(draft: Draft) -> Iterator[Finding]:
    """No configuration is tried twice, so there must be one for every training job."""
    wanted = draft.config.resource_limits.max_number_of_training_jobs
    combinations = draft.combinations
    if draft.config.strategy == GRID or combinations is None:
        return
    path = f"{LIMITS}.MaxNumberOfTrainingJobs"
    if draft.is_sound(path) and combinations < wanted:
        yield Finding(
            # Autotune may have chosen the ranges; too high a number it never chooses.
            path=path if draft.has_autotune else draft.spaces[0].path,
            message="You don't have enough combinations of hyperparameter ranges. The total number "
            f"of hyperparameter combinations for the provided ranges [{float(combinations)}] must "
            f"be equal or greater than the value of MaxNumberOfJobs, [{wanted}]. Provide "
            "additional ranges.",
        )
