"""The rules of a create request, all of which are run on every one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from tunesmith_server.domain.errors import Violation
from tunesmith_server.domain.validation.draft import Draft
from tunesmith_server.domain.validation.rules import (
    algorithm,
    autotune,
    definitions,
    hyperparameters,
    inputs,
    metrics,
    places,
    resources,
    strategy,
    tags,
    warm_start,
)
from tunesmith_server.domain.validation.search_space import Finding

Rule: TypeAlias = Callable[[Draft], Iterator[Finding]] | Callable[[Draft], Iterator[Violation]]

RULES: tuple[Rule, ...] = (
    strategy.grid_needs_categorical_ranges,
    strategy.grid_runs_every_combination,
    strategy.strategy_config_needs_hyperband,
    strategy.hyperband_excludes_early_stopping,
    strategy.hyperband_max_resource_is_known,
    strategy.hyperband_resources_are_in_order,
    definitions.definitions_have_one_form,
    definitions.leases_are_for_callers,
    definitions.objective_is_given,
    definitions.singular_definition_has_no_search_of_its_own,
    definitions.plural_definitions_have_their_own_search,
    definitions.plural_definitions_have_different_names,
    definitions.plural_objectives_have_one_type,
    definitions.plural_excludes_early_stopping,
    definitions.plural_excludes_warm_start,
    definitions.environments_are_small_enough,
    hyperparameters.ranges_are_sound,
    hyperparameters.hyperparameters_have_names,
    hyperparameters.ranges_have_different_names,
    hyperparameters.tuned_are_not_static,
    hyperparameters.reserved_names_are_free,
    hyperparameters.tuned_are_few_enough,
    hyperparameters.hyperparameters_are_few_enough,
    hyperparameters.combinations_suffice,
    autotune.auto_parameters_need_autotune,
    autotune.autotune_finds_something_to_tune,
    autotune.auto_parameters_of_callers_are_tuned,
    algorithm.program_is_named_once,
    algorithm.entrypoint_names_a_program,
    algorithm.algorithm_is_registered,
    algorithm.environment_is_the_sites,
    metrics.objective_metric_is_defined,
    metrics.metric_regexes_compile,
    metrics.target_has_32_bits,
    inputs.channels_have_usable_names,
    inputs.channels_have_one_source,
    inputs.text_has_no_null_character,
    places.file_uris_are_below_the_roots,
    resources.resources_are_given_once,
    resources.training_jobs_run_28_days_at_most,
    resources.instance_types_are_known,
    resources.instances_are_counted_from_one,
    resources.instance_alternatives_stand_alone,
    resources.selected_instances_are_not_asked_for,
    resources.spot_training_has_a_wait_limit,
    resources.limits_are_within_the_sites,
    warm_start.parents_are_named_once,
    tags.tag_keys_are_different,
    tags.tag_keys_are_free,
)


def check_rules(draft: Draft) -> tuple[Violation, ...]:
    """Run every rule, and list what they find, each under the name of its rule.

    A member that breaks a constraint is not complained about once more.
    """
    return tuple(
        _named(finding, rule.__name__)
        for rule in RULES
        for finding in rule(draft)
        if finding.path not in draft.broken
    )


def _named(finding: Finding | Violation, rule: str) -> Violation:
    if isinstance(finding, Violation):
        return finding
    return Violation(path=finding.path, message=finding.message, rule=rule)
