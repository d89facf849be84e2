"""How metrics are found in a trial's output, the tuned one among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.site import metric_regex_fault, resolve_algorithm, runs_script
from tunesmith_server.domain.validation.draft import CONFIG, Draft
from tunesmith_server.domain.validation.rules.algorithm import names_one_program
from tunesmith_server.domain.validation.search_space import Finding
from tunesmith_server.domain.validation.wording import excerpt

_TARGET: Final = f"{CONFIG}.TuningJobCompletionCriteria.TargetObjectiveMetricValue"
#: What is nearer to zero than this rounds to a finite number of 32 bits (IEEE 754's binary32): half
#: way from the largest of them, 2**128 - 2**104, to 2**128.
_BEYOND_SINGLE: Final = float.fromhex("0x1.ffffffp127")


def objective_metric_is_defined(draft: Draft) -> Iterator[Finding]:
    """The objective is one of the metrics that are looked for."""
    for definition in draft.definitions:
        specification = definition.message.algorithm_specification
        path = f"{definition.path}.AlgorithmSpecification"
        objective = definition.objective
        if objective is None or not draft.is_sound(path, f"{definition.objective_path}.MetricName"):
            continue
        if not names_one_program(specification):
            continue
        try:
            resolved = resolve_algorithm(
                specification,
                draft.site,
                is_script=runs_script(definition.message),
                path=path,
            )
        except InvalidRequest:  # of which a rule speaks
            continue
        if objective.metric_name not in {metric.name for metric in resolved.metric_definitions}:
            yield Finding(
                path=f"{path}.MetricDefinitions",
                message="A metric is required for this hyperparameter tuning job objective. "
                "Provide a metric in the metric definitions.",
            )


def metric_regexes_compile(draft: Draft) -> Iterator[Finding]:
    """Runners search with RE2, which takes linear time and knows no look-around."""
    for definition in draft.definitions:
        metrics = definition.message.algorithm_specification.metric_definitions
        for index, metric in enumerate(metrics):
            path = f"{definition.path}.AlgorithmSpecification.MetricDefinitions[{index}].Regex"
            fault = metric_regex_fault(metric.regex) if draft.is_sound(path) else None
            if fault is not None:
                yield Finding(
                    path=path,
                    message=f"Regex {excerpt(metric.regex)!r} is not in the syntax of RE2, which "
                    f"metrics are searched with: {fault}",
                )


def target_has_32_bits(draft: Draft) -> Iterator[Finding]:
    """SageMaker's numbers have 32 bits, and its clients read them back so."""
    target = draft.config.tuning_job_completion_criteria.target_objective_metric_value
    if draft.is_sound(_TARGET) and abs(target) >= _BEYOND_SINGLE:
        yield Finding(
            path=_TARGET,
            message=f"TargetObjectiveMetricValue is {target:g}, which numbers of 32 bits, as "
            "SageMaker's are, do not reach; give one from -3.4028235e+38 to 3.4028235e+38",
        )
