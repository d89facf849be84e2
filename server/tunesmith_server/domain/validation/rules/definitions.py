"""How training job definitions come, singly or in number, and what each form goes with."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_server.domain.validation.draft import CONFIG, OBJECTIVE, RANGES, Draft
from tunesmith_server.domain.validation.search_space import Finding
from tunesmith_server.domain.validation.wording import excerpt

MAX_ENVIRONMENT = 48


def definitions_have_one_form(draft: Draft) -> Iterator[Finding]:
    """A tuning job has one definition or a list of them."""
    if draft.is_plural and draft.request.HasField("training_job_definition"):
        yield Finding(
            path="TrainingJobDefinitions",
            message="TrainingJobDefinition and TrainingJobDefinitions are both given; choose one",
        )


def leases_are_for_callers(draft: Draft) -> Iterator[Finding]:
    """A lease is a caller's; runners have their own."""
    if draft.definitions and draft.request.HasField("trial_lease_config"):
        yield Finding(
            path="TrialLeaseConfig",
            message="TrialLeaseConfig is for trials that the caller runs, and this request has a "
            "training job definition, whose trials runners run; leave one of them out",
        )


def singular_definition_has_no_search_of_its_own(draft: Draft) -> Iterator[Finding]:
    """The objective and ranges of the singular form stand in the tuning job's own part."""
    homes = {"TuningObjective": OBJECTIVE, "HyperParameterRanges": RANGES}
    for definition in draft.definitions:
        message = definition.message
        sizes = {
            "TuningObjective": message.tuning_objective.ByteSize(),
            "HyperParameterRanges": message.hyper_parameter_ranges.ByteSize(),
        }
        for member, size in sizes.items():
            if size and not definition.is_plural:
                yield Finding(
                    path=f"{definition.path}.{member}",
                    message=f"{member} belongs to TrainingJobDefinitions, the plural form; with "
                    f"TrainingJobDefinition, give it as {homes[member]}",
                )


def plural_definitions_have_their_own_search(draft: Draft) -> Iterator[Finding]:
    """In the plural form each definition has its own objective and ranges, and the job none."""
    if not draft.is_plural or draft.request.HasField("training_job_definition"):
        return
    shared = {
        OBJECTIVE: draft.config.hyper_parameter_tuning_job_objective.ByteSize(),
        RANGES: draft.config.parameter_ranges.ByteSize(),
    }
    for path, size in shared.items():
        if size:
            yield Finding(
                path=path,
                message=f"{path.rpartition('.')[2]} goes with TrainingJobDefinition, the singular "
                "form; with TrainingJobDefinitions, give each definition its own",
            )
    for definition in draft.definitions:
        if definition.objective is None:
            yield Finding(
                path=definition.objective_path,
                message="TuningObjective is missing: with TrainingJobDefinitions, each definition "
                "names its own metric, {Type, MetricName}",
            )
        if not definition.message.hyper_parameter_ranges.ByteSize() and not draft.has_autotune:
            yield Finding(
                path=f"{definition.path}.HyperParameterRanges",
                message="HyperParameterRanges is missing: with TrainingJobDefinitions, each "
                "definition has its own ranges",
            )


def plural_definitions_have_different_names(draft: Draft) -> Iterator[Finding]:
    """Training jobs say by that name which definition they come from."""
    seen: set[str] = set()
    for definition in draft.definitions:
        name, path = definition.message.definition_name, f"{definition.path}.DefinitionName"
        if not definition.is_plural or not draft.is_sound(path):
            continue
        if not name:
            yield Finding(
                path=path,
                message="DefinitionName is missing: with TrainingJobDefinitions, each definition "
                "needs a name of its own",
            )
        elif name in seen:
            yield Finding(
                path=path,
                message=f"DefinitionName {excerpt(name)!r} is taken by an earlier definition; give each "
                "its own",
            )
        seen.add(name)


def plural_objectives_have_one_type(draft: Draft) -> Iterator[Finding]:
    """One best training job is chosen over all definitions, so they agree on what is better."""
    typed = [
        (definition.objective.type, f"{definition.objective_path}.Type")
        for definition in draft.definitions
        if definition.is_plural and definition.objective is not None
    ]
    sound = [(kind, path) for kind, path in typed if kind and draft.is_sound(path)]
    for kind, path in sound[1:]:
        if kind != sound[0][0]:
            yield Finding(
                path=path,
                message="The definitions' objectives differ in Type; give all of them Maximize, or "
                "all of them Minimize",
            )


def objective_is_given(draft: Draft) -> Iterator[Finding]:
    """There is nothing to tune without a metric."""
    if draft.is_plural:
        return
    if not draft.config.HasField("hyper_parameter_tuning_job_objective"):
        yield Finding(
            path=OBJECTIVE,
            message="HyperParameterTuningJobObjective is missing: name the metric to tune, and "
            "which way, {Type, MetricName}",
        )


def environments_are_small_enough(draft: Draft) -> Iterator[Finding]:
    """The limit on environment variables holds for all definitions together too."""
    paths = [f"{definition.path}.Environment" for definition in draft.definitions]
    count = sum(len(definition.message.environment) for definition in draft.definitions)
    if len(paths) > 1 and count > MAX_ENVIRONMENT and draft.is_sound(*paths):
        yield Finding(
            path="TrainingJobDefinitions",
            message=f"The definitions have {count} Environment entries together; at most "
            f"{MAX_ENVIRONMENT} can be",
        )


def plural_excludes_early_stopping(draft: Draft) -> Iterator[Finding]:
    """Trials of different programs are no yardstick for one another."""
    early_stopping = draft.config.training_job_early_stopping_type
    if draft.is_plural and early_stopping == job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO:
        yield Finding(
            path=f"{CONFIG}.TrainingJobEarlyStoppingType",
            message="TrainingJobEarlyStoppingType Auto does not go with TrainingJobDefinitions; "
            "give Off, or leave it out",
        )


def plural_excludes_warm_start(draft: Draft) -> Iterator[Finding]:
    """Parents' results belong to one search space."""
    if draft.is_plural and draft.request.HasField("warm_start_config"):
        yield Finding(
            path="WarmStartConfig",
            message="WarmStartConfig does not go with TrainingJobDefinitions; leave it out, or "
            "give one TrainingJobDefinition",
        )
