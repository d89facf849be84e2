"""A create request on its way to being accepted: what the rules look at.

It is read once: the definitions in either form, and their search spaces as far as they make sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.validation.search_space import SpaceReading, read_space

CONFIG = "HyperParameterTuningJobConfig"
LIMITS = f"{CONFIG}.ResourceLimits"
RANGES = f"{CONFIG}.ParameterRanges"
OBJECTIVE = f"{CONFIG}.HyperParameterTuningJobObjective"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Hold a training job definition and what is tuned with it.

    Attributes:
        path: Where the request has it.
        message: The definition.
        is_plural: It is one of ``TrainingJobDefinitions``.
        objective: Its objective, from the place that belongs to its form; None for none there.
        objective_path: That place.
    """

    path: str
    message: definition_pb.HyperParameterTrainingJobDefinition
    is_plural: bool
    objective: job_pb.HyperParameterTuningJobObjective | None
    objective_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Hold one search space as the request has it.

    Attributes:
        path: Where the request has it.
        ranges: The ranges.
        static: The static hyperparameters beside it.
        static_path: Where the request has those.
        reading: What could be made of the ranges.
    """

    path: str
    ranges: space_pb.ParameterRanges
    static: Mapping[str, str]
    static_path: str
    reading: SpaceReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Hold a create request as far as it could be read.

    Attributes:
        request: The request, its lists cut to their limits.
        site: Where it is to run.
        broken: Paths of the members that break constraints.
        definitions: Its definitions, whichever form they came in.
        spaces: Its search spaces: one for each definition, or the only one if there is none.
    """

    request: pb.CreateHyperParameterTuningJobRequest
    site: Site
    broken: frozenset[str]
    definitions: tuple[Definition, ...]
    spaces: tuple[Space, ...]

    @property
    def config(self) -> job_pb.HyperParameterTuningJobConfig:
        """Give the tuning job's own part of the request."""
        return self.request.hyper_parameter_tuning_job_config

    @property
    def has_autotune(self) -> bool:
        """Tell whether the server is asked to fill in what is left out."""
        return self.request.autotune.mode != job_pb.AUTOTUNE_MODE_UNSPECIFIED

    @property
    def is_plural(self) -> bool:
        """Tell whether the request has definitions in the plural form."""
        return bool(self.request.training_job_definitions)

    @property
    def combinations(self) -> int | None:
        """Count the configurations of all search spaces; None for no end, or if one is unsound."""
        total = 0
        for space in self.spaces:
            search_space = space.reading.search_space
            if search_space is None or search_space.cardinality is None:
                return None
            total += search_space.cardinality
        return total

    def is_sound(self, *paths: str) -> bool:
        """Tell whether no constraint is broken by these members, nor by any inside them."""
        return not any(
            broken == path or broken.startswith((f"{path}.", f"{path}["))
            for path in paths
            for broken in self.broken
        )


def read_draft(
    request: pb.CreateHyperParameterTuningJobRequest, *, site: Site, broken: frozenset[str]
) -> Draft:
    """Read a create request, right or wrong, of which `broken` break constraints."""
    definitions = _definitions(request)
    return Draft(
        request=request,
        site=site,
        broken=broken,
        definitions=definitions,
        spaces=_spaces(request, definitions, broken),
    )


def _definitions(request: pb.CreateHyperParameterTuningJobRequest) -> tuple[Definition, ...]:
    config = request.hyper_parameter_tuning_job_config
    found = []
    if request.HasField("training_job_definition"):
        has_objective = config.HasField("hyper_parameter_tuning_job_objective")
        found.append(
            Definition(
                path="TrainingJobDefinition",
                message=request.training_job_definition,
                is_plural=False,
                objective=config.hyper_parameter_tuning_job_objective if has_objective else None,
                objective_path=OBJECTIVE,
            )
        )
    for index, message in enumerate(request.training_job_definitions):
        path = f"TrainingJobDefinitions[{index}]"
        has_objective = message.HasField("tuning_objective")
        found.append(
            Definition(
                path=path,
                message=message,
                is_plural=True,
                objective=message.tuning_objective if has_objective else None,
                objective_path=f"{path}.TuningObjective",
            )
        )
    return tuple(found)


def _spaces(
    request: pb.CreateHyperParameterTuningJobRequest,
    definitions: tuple[Definition, ...],
    broken: frozenset[str],
) -> tuple[Space, ...]:
    shared = request.hyper_parameter_tuning_job_config.parameter_ranges
    if not definitions:
        return (_space(RANGES, shared, {}, "", broken),)
    spaces = []
    for definition in definitions:
        message = definition.message
        if definition.is_plural:
            path, ranges = f"{definition.path}.HyperParameterRanges", message.hyper_parameter_ranges
        else:
            path, ranges = RANGES, shared
        static_path = f"{definition.path}.StaticHyperParameters"
        spaces.append(_space(path, ranges, message.static_hyper_parameters, static_path, broken))
    return tuple(spaces)


def _space(
    path: str,
    ranges: space_pb.ParameterRanges,
    static: Mapping[str, str],
    static_path: str,
    broken: frozenset[str],
) -> Space:
    return Space(
        path=path,
        ranges=ranges,
        static=static,
        static_path=static_path,
        reading=read_space(ranges, path, broken=broken),
    )
