"""What a warm start asks of its parents, once they have been looked up.

Source: SageMaker's developer guide, "Run a Warm Start Hyperparameter Tuning Job"; the texts are the
service's own where they are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith_core.space.encoding import parse_real, parse_whole
from tunesmith_core.space.ranges import Categorical, Integer, Parameter
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.domain.tuning_job import Definition, JobSpec
from tunesmith_server.domain.validation.draft import LIMITS, OBJECTIVE
from tunesmith_server.domain.validation.wording import excerpt
from tunesmith_server.domain.warm_start import is_identical, static_of

MAX_CHANGES: Final = 10
"""So many hyperparameters may have become static, or have another static value, at most."""

_CONFIG: Final = "WarmStartConfig"
_DEFINITION: Final = "TrainingJobDefinition"

#: Members of the definition that may differ from a parent's, in the order in which they are told.
_FREE: Final = (
    "algorithm_specification",
    "input_data_config",
    "output_data_config",
    "static_hyper_parameters",
    "role_arn",
    "resource_config",
    "stopping_condition",
    "vpc_config",
    "enable_managed_spot_training",
    "checkpoint_config",
)
#: Another form of ResourceConfig; and what Describe shows of the singular form, which is empty.
_FREE_TOO: Final = ("hyper_parameter_tuning_resource_config", "hyper_parameter_ranges")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Hold a tuning job that is named as a parent.

    Attributes:
        spec: What it was asked for.
        status: Where it is.
        launched: How many training jobs it has launched.
    """

    spec: JobSpec
    status: TuningJobStatus
    launched: int


def check_parents(spec: JobSpec, parents: Sequence[Candidate | None], *, most_jobs: int) -> None:
    """Refuse a warm start that its parents do not allow.

    Args:
        spec: The tuning job to be.
        parents: Its parents, as the request names them; None: there is no such tuning job.
        most_jobs: How many training jobs this site lets a tuning job launch; those of its parents
            count too.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    found = list(_violations(spec, parents, most_jobs))
    if found:
        raise InvalidRequest(tuple(found))


def _violations(
    spec: JobSpec, parents: Sequence[Candidate | None], most_jobs: int
) -> Iterator[Violation]:
    names = spec.request.warm_start_config.parent_hyper_parameter_tuning_jobs
    for index, (named, parent) in enumerate(zip(names, parents, strict=True)):
        path = f"{_CONFIG}.ParentHyperParameterTuningJobs[{index}].HyperParameterTuningJobName"
        name = named.hyper_parameter_tuning_job_name
        wrong = _unusable(name, parent)
        if parent is None or wrong is not None:
            yield _violation(path, wrong or "", "parents_have_ended")
        else:
            yield from _differences(spec, parent.spec, path)
    used = sum(parent.launched for parent in parents if parent is not None)
    if used + spec.max_training_jobs > most_jobs:
        left = max(0, most_jobs - used)
        yield _violation(
            f"{LIMITS}.MaxNumberOfTrainingJobs",
            f"MaxNumberOfTrainingJobs is {spec.max_training_jobs}, and the parents have launched "
            f"{used} training jobs, which count too; this site takes at most {most_jobs} in all: "
            f"give at most {left}, or fewer parents",
            "parents_count_against_the_limit",
        )


def _unusable(name: str, parent: Candidate | None) -> str | None:
    """Say why a tuning job cannot be a parent, if it cannot."""
    if parent is None:
        return f"There is no tuning job called {excerpt(name)}; name one that has ended"
    if not parent.status.is_terminal:
        return (
            f"The tuning job {excerpt(name)} is {parent.status}; a parent must have ended, as "
            "Completed, Stopped or Failed"
        )
    if parent.spec.request.training_job_definitions:
        return (
            f"The tuning job {excerpt(name)} has TrainingJobDefinitions; a parent must have one "
            "definition"
        )
    return None


def _differences(spec: JobSpec, parent: JobSpec, path: str) -> Iterator[Violation]:
    yield from _objectives(spec, parent)
    ours, theirs = spec.definition, parent.definition
    if {*_tuned(ours), *static_of(ours)} != {*_tuned(theirs), *static_of(theirs)}:
        yield _violation(
            path,
            "The set of tunable plus static HyperParameter names is not the same across current "
            "and parent tuning jobs. Please ensure this set is constant when warm starting. Note "
            "that previously static HyperParameters can be tuned in warm start jobs and vice "
            f"versa. {_unmatched(ours, theirs, parent.name)}",
            "hyperparameters_are_the_parents",
        )
        return
    yield from _kinds(ours, theirs, parent.name)
    changes = _changes(ours, theirs)
    if len(changes) > MAX_CHANGES:
        yield _violation(
            f"{_DEFINITION}.StaticHyperParameters",
            f"{len(changes)} hyperparameters have become static, or have another static value than "
            f"in {parent.name}: {excerpt(', '.join(changes))}; at most {MAX_CHANGES} can",
            "static_changes_are_few",
        )
    if ours.message is not None and theirs.message is not None:
        yield from _definitions(spec, ours.message, theirs.message, parent)


def _objectives(spec: JobSpec, parent: JobSpec) -> Iterator[Violation]:
    ours, theirs = spec.definition.metric_name, parent.definition.metric_name
    if ours != theirs:
        yield _violation(
            f"{OBJECTIVE}.MetricName",
            f"MetricName is {excerpt(ours)}, and that of the parent {parent.name} is "
            f"{excerpt(theirs)}; the objective must be the same",
            "objective_is_the_parents",
        )
    if spec.goal != parent.goal:
        kind = "Maximize" if parent.goal.maximise else "Minimize"
        yield _violation(
            f"{OBJECTIVE}.Type",
            f"Type must be that of the parent {parent.name}, {kind}",
            "objective_is_the_parents",
        )


def _tuned(definition: Definition) -> dict[str, Parameter]:
    return {each.name: each for each in definition.space.parameters}


def _unmatched(ours: Definition, theirs: Definition, parent: str) -> str:
    here, there = {*_tuned(ours), *static_of(ours)}, {*_tuned(theirs), *static_of(theirs)}
    told = []
    if here - there:
        told.append(f"Not in {parent}: {excerpt(', '.join(sorted(here - there)))}.")
    if there - here:
        told.append(f"Only in {parent}: {excerpt(', '.join(sorted(there - here)))}.")
    return " ".join(told)


def _kinds(ours: Definition, theirs: Definition, parent: str) -> Iterator[Violation]:
    """Find the hyperparameters that are of another type than they were."""
    here, there = _tuned(ours), _tuned(theirs)
    ranges = "HyperParameterTuningJobConfig.ParameterRanges"
    for name, tuned in here.items():
        before = there.get(name)
        if before is not None and type(before) is not type(tuned):
            yield _violation(
                ranges,
                f"Hyperparameter {excerpt(name)!r} is {_kind(tuned)}, and {_kind(before)} in "
                f"{parent}; its type must not change",
                "types_are_the_parents",
            )
        elif before is None and not _is_of_kind(tuned, static_of(theirs)[name]):
            yield _violation(
                ranges,
                f"Hyperparameter {excerpt(name)!r} is {_kind(tuned)}, and was "
                f"{excerpt(static_of(theirs)[name])!r} in {parent}; its type must not change",
                "types_are_the_parents",
            )
    for name, tuned in there.items():
        text = static_of(ours).get(name)
        if text is not None and not _is_of_kind(tuned, text):
            yield _violation(
                f"{_DEFINITION}.StaticHyperParameters.{name}",
                f"Hyperparameter {excerpt(name)!r} is {excerpt(text)!r}, and was {_kind(tuned)} in "
                f"{parent}; its type must not change",
                "types_are_the_parents",
            )


def _kind(tuned: Parameter) -> str:
    return type(tuned).__name__.lower()


def _is_of_kind(tuned: Parameter, text: str) -> bool:
    if isinstance(tuned, Categorical):
        return True
    try:
        (parse_whole if isinstance(tuned, Integer) else parse_real)(text)
    except ValueError:
        return False
    return True


def _changes(ours: Definition, theirs: Definition) -> list[str]:
    """List what has become static, or has another static value."""
    tuned, before = _tuned(theirs), static_of(theirs)
    return [
        name
        for name, text in sorted(static_of(ours).items())
        if name in tuned or (name in before and before[name] != text)
    ]


def _definitions(
    spec: JobSpec,
    ours: definition_pb.HyperParameterTrainingJobDefinition,
    theirs: definition_pb.HyperParameterTrainingJobDefinition,
    parent: JobSpec,
) -> Iterator[Violation]:
    # What Autotune chose, nobody wrote.
    asked = (spec.request, parent.request)
    if any(each.HasField("autotune") for each in asked):
        ours, theirs = _without_retries(ours), _without_retries(theirs)
    if _kept(ours) != _kept(theirs):
        names = [ours.DESCRIPTOR.fields_by_name[name].json_name for name in _FREE]
        free = ", ".join(f"{name[0].lower()}{name[1:]}" for name in names)
        changed = ", ".join(_changed(ours, theirs))
        yield _violation(
            _DEFINITION,
            "Only the following fields in TrainingJobDefinition are allowed to change: "
            f"[{free}]. Changed against {parent.name}: {changed}.",
            "definition_is_the_parents",
        )
    if not is_identical(spec.request):
        return
    if list(ours.input_data_config) != list(theirs.input_data_config):
        yield _violation(
            f"{_DEFINITION}.InputDataConfig",
            f"InputDataConfig differs from that of the parent {parent.name}; "
            "with IdenticalDataAndAlgorithm the data must be the same: give the same, or TransferLearning",
            "data_are_the_parents",
        )
    if _program(ours) != _program(theirs):
        yield _violation(
            f"{_DEFINITION}.AlgorithmSpecification",
            f"The algorithm differs from that of the parent {parent.name}; "
            "with IdenticalDataAndAlgorithm it must be the same, but for the version of its image: give "
            "the same, or TransferLearning",
            "algorithm_is_the_parents",
        )


def _kept(
    definition: definition_pb.HyperParameterTrainingJobDefinition,
) -> definition_pb.HyperParameterTrainingJobDefinition:
    """Give a definition without what may change."""
    kept = definition_pb.HyperParameterTrainingJobDefinition()
    kept.CopyFrom(definition)
    for name in (*_FREE, *_FREE_TOO):
        kept.ClearField(name)
    return kept


def _without_retries(
    definition: definition_pb.HyperParameterTrainingJobDefinition,
) -> definition_pb.HyperParameterTrainingJobDefinition:
    left = definition_pb.HyperParameterTrainingJobDefinition()
    left.CopyFrom(definition)
    left.ClearField("retry_strategy")
    return left


def _changed(ours: Message, theirs: Message) -> list[str]:
    return [
        field.json_name
        for field in ours.DESCRIPTOR.fields
        if field.name not in (*_FREE, *_FREE_TOO)
        and getattr(ours, field.name) != getattr(theirs, field.name)
    ]


def _program(
    definition: definition_pb.HyperParameterTrainingJobDefinition,
) -> tuple[str, str, tuple[str, ...]]:
    """Give what says which algorithm runs: of an image not its version."""
    specification = definition.algorithm_specification
    image = specification.training_image.partition("@")[0]
    repository, colon, tag = image.rpartition(":")
    if colon and "/" not in tag:
        image = repository
    command = (*specification.container_entrypoint, *specification.container_arguments)
    return image, specification.algorithm_name.rpartition("/")[2], command


def _violation(path: str, message: str, rule: str) -> Violation:
    return Violation(path=path, message=message, rule=rule)
