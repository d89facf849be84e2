"""What a site offers to tuning jobs: its algorithms, images, instance types and limits.

Plain values. Reading them from ``tunesmith.toml`` is the settings' work; running them the runner's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import re2

from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith_core.space.ranges import Parameter
from tunesmith_server.domain.errors import InvalidRequest, ResourceLimitExceeded, Violation
from tunesmith_server.domain.instance_types import InstanceProfile, shipped_profiles

PROGRAM = "sagemaker_program"
"""The hyperparameter that names the script to run, as SageMaker's SDK sends it."""

SUBMIT_DIRECTORY = "sagemaker_submit_directory"
"""The hyperparameter that says where the archive with the script is."""

_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SPECIFICATION = "TrainingJobDefinition.AlgorithmSpecification"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDefinition:
    """Say how a metric is read from a line of a trial's output.

    Attributes:
        name: The metric.
        regex: In RE2's syntax; group 1 is the value.
    """

    name: str
    regex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """Hold a program that the site has registered under a name.

    Attributes:
        name: What ``AlgorithmName``, or the last part of its ARN, says.
        command: The program and its arguments.
        environment: Variables that its trials get; the request's own come on top.
        metric_definitions: Metrics that it prints.
        hyperparameters: What Autotune may tune each of its hyperparameters over, in the order in
            which they are chosen; None for one that is not tuned.
        environment_names: Names of the variables that requests may set at a site that runs no
            command lines of theirs; in one ``*`` stands for any characters.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    metric_definitions: tuple[MetricDefinition, ...] = ()
    hyperparameters: Mapping[str, Parameter | None] = field(default_factory=dict)
    environment_names: tuple[str, ...] = ()

    def takes(self, variable: str) -> bool:
        """Tell whether a variable may come from a request though its command lines may not."""
        return any(variable == name or _fits(name, variable) for name in self.environment_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Hold the most that all tuning jobs together may have at a time; None for any number.

    Attributes:
        tuning_jobs: Tuning jobs that have not ended.
        parallel_training_jobs: Of these, the sum of ``MaxParallelTrainingJobs``.
    """

    tuning_jobs: int | None = None
    parallel_training_jobs: int | None = None

    def check(self, *, used: Sequence[int], wanted: int) -> None:
        """Refuse one more tuning job if there would be too much.

        Args:
            used: ``MaxParallelTrainingJobs`` of each tuning job that has not ended.
            wanted: That of the new one.

        Raises:
            ResourceLimitExceeded: In SageMaker's words, and where the quota is set.
        """
        for name, quota, current, delta in (
            ("tuning_jobs", self.tuning_jobs, len(used), 1),
            ("parallel_training_jobs", self.parallel_training_jobs, sum(used), wanted),
        ):
            if quota is not None and current + delta > quota:
                raise ResourceLimitExceeded(
                    f"The account-level service limit '{name}' is {quota} Instances, with current "
                    f"utilization of {current} Instances and a request delta of {delta} Instances. "
                    f"Wait for tuning jobs to end, ask for less, or raise {name} in [quotas] of the "
                    f"site configuration."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Hold what a site offers.

    Attributes:
        algorithms: By name.
        images: The algorithm's name for each container image that stands for one, by the image or
            a pattern of images; see ``of_image``.
        pythons: The Python with which scripts of a container image are run, by the same.
        instance_types: Profiles of the site's own; they come before the shipped ones.
        allow_inline_commands: Whether requests may carry command lines of their own, and whatever
            variables they like.
        file_roots: Absolute directories below which ``file://`` URIs of requests may lead; None:
            they may lead anywhere.
        max_training_jobs: The most that one tuning job may launch in all.
        max_parallel_training_jobs: The most that one tuning job may have open at a time.
        quotas: The most that all of them may have.
    """

    algorithms: Mapping[str, Algorithm] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    pythons: Mapping[str, str] = field(default_factory=dict)
    instance_types: Mapping[str, InstanceProfile] = field(default_factory=dict)
    allow_inline_commands: bool = True
    file_roots: tuple[str, ...] | None = None
    max_training_jobs: int = 10_000
    max_parallel_training_jobs: int = 1_000
    quotas: Quotas = Quotas()

    def instance_profile(self, instance_type: str) -> InstanceProfile | None:
        """Find the profile of an instance type, if there is one."""
        return self.instance_types.get(instance_type) or shipped_profiles().get(instance_type)

    def untaken_variables(self, algorithm_name: str | None, names: Iterable[str]) -> list[str]:
        """Name the variables of a request that are not taken, in order.

        Args:
            algorithm_name: The registered algorithm that is run; None: the request says what is run.
            names: The variables' names.
        """
        if self.allow_inline_commands or algorithm_name is None:
            return []
        algorithm = self.algorithms[algorithm_name]
        return sorted(name for name in names if not algorithm.takes(name))

    def similar_instance_types(self, instance_type: str) -> list[str]:
        """Name up to three instance types that are spelt much alike."""
        known = [*self.instance_types, *shipped_profiles()]
        return get_close_matches(instance_type, known, n=3, cutoff=0.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedAlgorithm:
    """Hold what a trial runs.

    Attributes:
        command: The program and its arguments; of a script the Python that it is run with, and
            empty for the runner's own.
        environment: The algorithm's own variables.
        metric_definitions: The algorithm's own, and the request's, which come before those of the
            same name.
        registered_name: Name in the site's table; None for a command line or a script from the
            request.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    metric_definitions: tuple[MetricDefinition, ...]
    registered_name: str | None


def runs_script(definition: definition_pb.HyperParameterTrainingJobDefinition) -> bool:
    """Tell whether a definition names a script of its own to run in its image: script mode."""
    return PROGRAM in definition.static_hyper_parameters


def of_image(table: Mapping[str, str], image: str) -> str | None:
    """Find what a site says of an image: under its own name, or else under a pattern.

    In a pattern ``*`` stands for any characters, none and slashes among them. Frameworks' images
    have another account in their address in each region, and a version at its end.

    Args:
        table: By image or pattern; of patterns that fit the first one counts.
        image: As a request has it.
    """
    if image in table:
        return table[image]
    return next((said for name, said in table.items() if _fits(name, image)), None)


def _fits(pattern: str, name: str) -> bool:
    if "*" not in pattern:
        return False  # a name; names are found before
    # RE2 takes linear time, however many stars a pattern has.
    return re2.fullmatch(".*".join(map(re2.escape, pattern.split("*"))), name) is not None


def algorithm_name_fault(name: str) -> str | None:
    """Say why no ``AlgorithmName`` can be a name; None if one can."""
    if _NAME.fullmatch(name):
        return None
    return "an algorithm's name has 1 to 63 letters, digits and inner hyphens"


def bucket_name_fault(name: str) -> str | None:
    """Say why no bucket can have a name; None if one can.

    S3's rule for general purpose buckets, without the prefixes that it keeps for itself.
    """
    if _BUCKET_NAME.fullmatch(name):
        return None
    return "a bucket's name has 3 to 63 small letters, digits and inner dots and hyphens"


def metric_regex_fault(regex: str) -> str | None:
    """Say why RE2, which takes linear time and knows no look-around, refuses a regex, or None."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(regex, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return None


def resolve_algorithm(
    specification: definition_pb.HyperParameterAlgorithmSpecification,
    site: Site,
    *,
    is_script: bool,
    path: str = _SPECIFICATION,
) -> ResolvedAlgorithm:
    """Find what a specification runs at this site.

    Args:
        specification: Names exactly one of an algorithm, an image and a command line.
        site: Where it runs.
        is_script: Whether its hyperparameters name a script to run in the image, ``runs_script``.
        path: Where the request has it, for the error.

    Raises:
        InvalidRequest: The site has no such algorithm, does not know the image, or allows no
            command lines or scripts.
    """
    own = tuple(
        MetricDefinition(name=each.name, regex=each.regex)
        for each in specification.metric_definitions
    )
    if is_script:
        return _script(specification, own, site, path)
    if specification.algorithm_name:
        name = specification.algorithm_name.rpartition("/")[2]
        return _registered(name, own, site, member=f"{path}.AlgorithmName")
    if specification.training_image:
        name = _algorithm_of_image(specification.training_image, site, path)
        return _registered(name, own, site, member=f"{path}.TrainingImage")
    return _inline(specification, own, site, path)


def _registered(
    name: str, own: tuple[MetricDefinition, ...], site: Site, *, member: str
) -> ResolvedAlgorithm:
    algorithm = site.algorithms.get(name)
    if algorithm is None:
        known = f" It has {', '.join(sorted(site.algorithms))}." if site.algorithms else ""
        raise _unresolved(
            member,
            f"This site has no algorithm called {name!r}.{known} Register it in tunesmith.toml: "
            f'[algorithms.{name}] command = ["python", "train.py"]',
        )
    redefined = {definition.name for definition in own}
    inherited = tuple(
        definition
        for definition in algorithm.metric_definitions
        if definition.name not in redefined
    )
    return ResolvedAlgorithm(
        command=algorithm.command,
        environment=algorithm.environment,
        metric_definitions=inherited + own,
        registered_name=name,
    )


def _algorithm_of_image(image: str, site: Site, path: str) -> str:
    name = of_image(site.images, image)
    if name is None:
        raise _unresolved(
            f"{path}.TrainingImage",
            "This site does not know the image, and running containers is not served yet. Name an "
            "algorithm of the site that stands for it in tunesmith.toml: "
            f'[images."{image}"] algorithm = "NAME"',
            unimplemented=True,
        )
    return name


def _script(
    specification: definition_pb.HyperParameterAlgorithmSpecification,
    own: tuple[MetricDefinition, ...],
    site: Site,
    path: str,
) -> ResolvedAlgorithm:
    image = specification.training_image
    if not image:
        member = "AlgorithmName" if specification.algorithm_name else "ContainerEntrypoint"
        raise _unresolved(
            f"{path}.{member}",
            f"{PROGRAM} among the hyperparameters says what runs, and so does {member}. Leave one of "
            "them out: a script goes with a TrainingImage",
        )
    python = of_image(site.pythons, image)
    if python is None and not site.allow_inline_commands:
        raise _unresolved(
            f"{path}.TrainingImage",
            "This site runs scripts from requests for images alone that it gives a Python to. Name "
            f'it in tunesmith.toml: [images."{image}"] python = "/path/to/python"',
        )
    return ResolvedAlgorithm(
        command=() if python is None else (python,),
        environment={},
        metric_definitions=own,
        registered_name=None,
    )


def _inline(
    specification: definition_pb.HyperParameterAlgorithmSpecification,
    own: tuple[MetricDefinition, ...],
    site: Site,
    path: str,
) -> ResolvedAlgorithm:
    if not site.allow_inline_commands:
        raise _unresolved(
            f"{path}.ContainerEntrypoint",
            "This site does not run command lines from requests. Register the command in "
            'tunesmith.toml, [algorithms.NAME] command = ["python", "train.py"], and give the name '
            "as AlgorithmName",
        )
    return ResolvedAlgorithm(
        command=(*specification.container_entrypoint, *specification.container_arguments),
        environment={},
        metric_definitions=own,
        registered_name=None,
    )


def _unresolved(path: str, message: str, *, unimplemented: bool = False) -> InvalidRequest:
    violation = Violation(
        path=path, message=message, rule="algorithm_is_registered", unimplemented=unimplemented
    )
    return InvalidRequest((violation,))
