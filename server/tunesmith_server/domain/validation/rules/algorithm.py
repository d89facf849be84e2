"""What a trial runs: exactly one program, that the site can run."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.site import Algorithm, resolve_algorithm, runs_script
from tunesmith_server.domain.validation.draft import Definition, Draft
from tunesmith_server.domain.validation.members import Key, MemberPath
from tunesmith_server.domain.validation.search_space import Finding
from tunesmith_server.domain.validation.wording import excerpt


def names_one_program(specification: definition_pb.HyperParameterAlgorithmSpecification) -> bool:
    """Tell whether a specification names exactly one of algorithm, image and command line."""
    return len(_programs(specification)) == 1


def program_is_named_once(draft: Draft) -> Iterator[Finding]:
    """An algorithm, an image or a command line: one of them says what runs."""
    for definition in draft.definitions:
        path = f"{definition.path}.AlgorithmSpecification"
        if not definition.message.HasField("algorithm_specification") or not draft.is_sound(
            f"{path}.AlgorithmName", f"{path}.TrainingImage", f"{path}.ContainerEntrypoint"
        ):
            continue
        named = _programs(definition.message.algorithm_specification)
        if len(named) > 1:
            yield Finding(
                path=f"{path}.{named[-1]}",
                message=f"{' and '.join(named)} are given; exactly one of them says what runs",
            )
        if not named:
            yield Finding(
                path=path,
                message="Nothing says what runs: give AlgorithmName, TrainingImage or "
                "ContainerEntrypoint",
            )


def entrypoint_names_a_program(draft: Draft) -> Iterator[Finding]:
    """A command line starts with a program; arguments alone are none."""
    for definition in draft.definitions:
        specification = definition.message.algorithm_specification
        path = f"{definition.path}.AlgorithmSpecification"
        entrypoint = specification.container_entrypoint
        if entrypoint and not entrypoint[0]:
            yield Finding(
                path=f"{path}.ContainerEntrypoint[0]",
                message="The program's name is empty; begin ContainerEntrypoint with a program",
            )
        if specification.container_arguments and not entrypoint:
            yield Finding(
                path=f"{path}.ContainerArguments",
                message="ContainerArguments go with ContainerEntrypoint; put the program there",
            )


def algorithm_is_registered(draft: Draft) -> Iterator[Violation]:
    """The site knows the algorithm or image, or allows the command line."""
    for definition in draft.definitions:
        specification = definition.message.algorithm_specification
        path = f"{definition.path}.AlgorithmSpecification"
        is_sound = draft.is_sound(f"{path}.AlgorithmName", f"{path}.TrainingImage")
        if not is_sound or not names_one_program(specification):
            continue
        try:
            resolve_algorithm(
                specification,
                draft.site,
                is_script=runs_script(definition.message),
                path=path,
            )
        except InvalidRequest as refusal:
            yield from refusal.violations


def environment_is_the_sites(draft: Draft) -> Iterator[Finding]:
    """Where requests say nothing of what runs, they set those variables alone that the site lists.

    A variable can say what runs as well as a command line does: where libraries, modules and
    programs are looked for, what an interpreter reads first, where a cache of code is. There is no
    end to their names, and so those that are taken are listed, not those that are refused.
    """
    for definition in draft.definitions:
        algorithm = _registered(definition, draft)
        if algorithm is None:
            continue
        taken = ", ".join(algorithm.environment_names) or "none"
        section = f"[algorithms.{algorithm.name}]"
        for name in draft.site.untaken_variables(algorithm.name, definition.message.environment):
            shown = json.dumps(excerpt(name))
            yield Finding(
                path=str(MemberPath((f"{definition.path}.Environment", Key(name)))),
                message=f"This site takes no variable {shown} from requests for the algorithm "
                f"{algorithm.name!r}; it takes {taken}. Leave it out, or have it listed in "
                f"tunesmith.toml: {section} environment_names = [{shown}]",
            )


def _registered(definition: Definition, draft: Draft) -> Algorithm | None:
    """Find the algorithm of the site that a definition runs; None: it runs something else."""
    specification = definition.message.algorithm_specification
    if not names_one_program(specification):
        return None
    try:
        resolved = resolve_algorithm(
            specification, draft.site, is_script=runs_script(definition.message)
        )
    except InvalidRequest:
        return None  # which another rule says
    name = resolved.registered_name
    return None if name is None else draft.site.algorithms[name]


def _programs(specification: definition_pb.HyperParameterAlgorithmSpecification) -> list[str]:
    given = {
        "AlgorithmName": bool(specification.algorithm_name),
        "TrainingImage": bool(specification.training_image),
        "ContainerEntrypoint": bool(specification.container_entrypoint),
    }
    return [member for member, is_given in given.items() if is_given]
