"""Warm start: what a tuning job is told of the ones before it.

The results of its parents are told in the parents' values of every hyperparameter that is tuned in
the new tuning job, or was in one of them: what is static has one value for all of a tuning job's
training jobs. What does not fit is left out by the optimiser.

Source: SageMaker's developer guide, "Run a Warm Start Hyperparameter Tuning Job".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith.v1 import warm_start_pb2
from tunesmith_core.space.encoding import parse_real, parse_whole
from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Parameter
from tunesmith_server.domain.completion import Goal
from tunesmith_server.domain.history import End, Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import Definition, JobSpec

_IDENTICAL: Final = (
    warm_start_pb2.HYPER_PARAMETER_TUNING_JOB_WARM_START_TYPE_IDENTICAL_DATA_AND_ALGORITHM
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Hold what a tuning job is told of its parents.

    Attributes:
        searches: The results of each parent that told something, with values of the tuned
            hyperparameters and of the ``extra`` ones.
        extra: Hyperparameters that a parent tuned and that are static now, with ranges that hold
            all their values.
        fixed: The values that these have now.
        same_objective: The objective is the same function: its values can be compared.
    """

    searches: tuple[tuple[Told, ...], ...]
    extra: tuple[Parameter, ...] = ()
    fixed: Mapping[str, str]
    same_objective: bool


def is_identical(request: pb.CreateHyperParameterTuningJobRequest) -> bool:
    """Tell whether a tuning job goes on with its parents' data and algorithm."""
    return request.warm_start_config.warm_start_type == _IDENTICAL


def static_of(definition: Definition) -> Mapping[str, str]:
    """Give the hyperparameters that are the same for all training jobs of a definition."""
    return {} if definition.message is None else definition.message.static_hyper_parameters


def lessons_of(spec: JobSpec, parents: Iterable[tuple[JobSpec, Sequence[End]]]) -> Lessons:
    """Put together what a tuning job is told of its parents.

    Args:
        spec: The tuning job, of one definition.
        parents: Each parent, of one definition, with what its training jobs told, in order.
    """
    own = spec.definition
    known = [(parent.definition, ends) for parent, ends in parents]
    tuned = {each.name for each in own.space.parameters}
    fixed = {name: text for name, text in static_of(own).items() if name not in tuned}
    extra = tuple(_extra(fixed, [definition for definition, _ in known]))
    names = (*own.space.names, *(each.name for each in extra))
    searches = []
    for definition, ends in known:
        search = []
        for end in ends:
            values = {**static_of(definition), **end.suggestion.parameters}
            if isinstance(end, Told) and all(name in values for name in names):
                suggestion = Suggestion(parameters={name: values[name] for name in names})
                search.append(replace(end, suggestion=suggestion))
        if search:
            searches.append(tuple(search))
    return Lessons(
        searches=tuple(searches),
        extra=extra,
        fixed={each.name: fixed[each.name] for each in extra},
        same_objective=is_identical(spec.request),
    )


def best_of_family(bests: Iterable[Trial | None], goal: Goal) -> int | None:
    """Find the best of several tuning jobs' best training jobs; the first one of equals.

    Returns:
        Its place; None: there is none.
    """
    sign = -1.0 if goal.maximise else 1.0
    found = [
        (sign * best.objective_value, place)
        for place, best in enumerate(bests)
        if best is not None and best.objective_value is not None
    ]
    return min(found)[1] if found else None


def with_family_limit(
    request: pb.CreateHyperParameterTuningJobRequest, *, launched: int, most: int
) -> pb.CreateHyperParameterTuningJobRequest:
    """Give a request for a warm start that says how many training jobs there may be.

    Args:
        request: The request; returned as it is if it says so itself, or is for a grid.
        launched: How many training jobs its parents have launched, which count too.
        most: How many a tuning job may launch in all.
    """
    config = request.hyper_parameter_tuning_job_config
    is_grid = config.strategy == job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_GRID
    if config.resource_limits.max_number_of_training_jobs or is_grid or not launched:
        return request
    limited = pb.CreateHyperParameterTuningJobRequest()
    limited.CopyFrom(request)
    limits = limited.hyper_parameter_tuning_job_config.resource_limits
    limits.max_number_of_training_jobs = max(1, most - launched)
    return limited


def _extra(fixed: Mapping[str, str], parents: Sequence[Definition]) -> Iterable[Parameter]:
    """Give the hyperparameters that are static now and that a parent tuned."""
    for name, text in sorted(fixed.items()):  # the order of a message's map is any
        ranges = [
            each for parent in parents for each in parent.space.parameters if each.name == name
        ]
        texts = [text, *(static_of(each)[name] for each in parents if name in static_of(each))]
        if ranges:
            try:
                yield _hull(ranges, texts)
            except ValueError:
                continue  # values that are no numbers say nothing about numbers


def _hull(ranges: Sequence[Parameter], texts: Sequence[str]) -> Parameter:
    """Give a range that holds others, and values given as text.

    Raises:
        ValueError: A value is not of the kind of the ranges, or a bound not of their scaling.
    """
    first = ranges[0]
    match first:
        case Categorical():
            values = [
                value for each in ranges if isinstance(each, Categorical) for value in each.values
            ]
            return Categorical(name=first.name, values=tuple(dict.fromkeys([*values, *texts])))
        case Integer():
            wholes = [parse_whole(text) for text in texts]
            bounds = [
                bound
                for each in ranges
                if isinstance(each, Integer)
                for bound in (each.lo, each.hi)
            ]
            return replace(first, lo=min(*wholes, *bounds), hi=max(*wholes, *bounds))
        case Continuous():
            reals = [parse_real(text) for text in texts]
            ends = [
                end for each in ranges if isinstance(each, Continuous) for end in (each.lo, each.hi)
            ]
            return replace(first, lo=min(*reals, *ends), hi=max(*reals, *ends))
