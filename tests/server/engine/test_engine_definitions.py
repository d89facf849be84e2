"""What the engine does for each of several definitions: suggestions by turns, assignments."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.server.domain.create_requests import SITE, CreateRequest, plural_request
from tests.server.domain.job_specs import FIRST, SECOND, SMALL_SPACE, job_spec, two_definitions
from tests.server.engine.engine_parts import NOW
from tunesmith_core.space.ranges import Categorical, SearchSpace
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.instance_types import InstanceProfile
from tunesmith_server.domain.job_spec import read_job_spec
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.trial import Lease, Trial, launch
from tunesmith_server.domain.tuning_job import JobSpec, Strategy
from tunesmith_server.engine.assignments import Assigner, hyper_parameters
from tunesmith_server.engine.suggestions import DesignSuggester

GPUS = replace(
    SITE,
    instance_types={"big": InstanceProfile(vcpus=8, memory_bytes=2**34, gpus=4)},
)
#: Three configurations.
THREE = SearchSpace((Categorical(name="booster", values=("tree", "dart", "linear")),))

# --- assignments --------------------------------------------------------------------------


def unlike() -> CreateRequest:
    """Ask for two definitions that have nothing in common."""
    request = plural_request()
    second = request.training_job_definitions[1]
    second.tuning_objective.metric_name = "oob"
    specification = second.algorithm_specification
    specification.ClearField("container_entrypoint")
    specification.ClearField("metric_definitions")
    specification.algorithm_name = "forest"
    specification.metric_definitions.add(name="oob", regex=r"oob=(\S+)")
    second.environment.clear()
    second.environment["THREADS"] = "4"
    second.static_hyper_parameters.clear()
    second.resource_config.instance_type = "big"
    second.resource_config.volume_size_in_gb = 2
    second.stopping_condition.max_runtime_in_seconds = 90
    second.output_data_config.s3_output_path = "file:///var/forests"
    return request


def assigner(site: Site = GPUS) -> Assigner:
    return Assigner(site=site, stop_grace=timedelta(seconds=7), clock=lambda: NOW)


def spec_of(request: CreateRequest, site: Site = GPUS) -> JobSpec:
    return read_job_spec(request, account=Account(), site=site, seed=1)


def trial(definition_name: str, **parameters: str) -> Trial:
    waiting = launch(
        name="Digits-1-001-0123abcd",
        index=1,
        definition_name=definition_name,
        parameters=parameters,
        now=NOW,
    )
    lease = Lease(token=3, runner_name="r", instance_id="i")
    return replace(waiting, lease=lease, lease_token=3)


def test_a_trial_is_assigned_what_its_own_definition_says() -> None:
    spec = spec_of(unlike())
    first = assigner().assignment(spec, trial("first", depth="4"))
    second = assigner().assignment(spec, trial("second", depth="5"))
    assert not isinstance(first, ev.TrialReported)
    assert not isinstance(second, ev.TrialReported)
    assert list(first.command) == ["python", "train.py"]
    assert list(second.command) == ["python", "forest.py"]
    assert first.environment == {"MODE": "fast"}
    assert second.environment == {"THREADS": "4"}
    assert first.hyper_parameters == {
        "depth": "4",
        "batch-size": "32",
        "_tuning_objective_metric": "loss",
    }
    assert second.hyper_parameters == {"depth": "5", "_tuning_objective_metric": "oob"}
    assert [each.name for each in first.metric_definitions] == ["loss"]
    assert {each.name for each in second.metric_definitions} == {"loss", "oob"}
    assert (first.instance_type, first.gpu_count) == ("local", 0)
    assert (second.instance_type, second.gpu_count) == ("big", 4)
    assert (first.volume_size_bytes, second.volume_size_bytes) == (0, 2 * 2**30)
    assert first.max_runtime.ToTimedelta() == timedelta(seconds=600)
    assert second.max_runtime.ToTimedelta() == timedelta(seconds=90)
    assert first.output_data_config.s3_output_path == "file:///var/models"
    assert second.output_data_config.s3_output_path == "file:///var/forests"


def test_what_a_trial_has_spent_is_taken_off_its_own_definitions_time() -> None:
    spent = replace(trial("second"), spent=timedelta(seconds=30))
    assignment = assigner().assignment(spec_of(unlike()), spent)
    assert not isinstance(assignment, ev.TrialReported)
    assert assignment.max_runtime.ToTimedelta() == timedelta(seconds=60)


def test_gpus_are_counted_by_definition() -> None:
    spec = spec_of(unlike())
    counts = [assigner().gpu_count(spec, trial(name)) for name in ("first", "second")]
    assert counts == [0, 4]


def test_only_trials_of_the_definition_fail_whose_algorithm_the_site_has_lost() -> None:
    spec = spec_of(unlike())
    assert not isinstance(assigner(Site()).assignment(spec, trial("first")), ev.TrialReported)
    failed = assigner(Site()).assignment(spec, trial("second"))
    assert isinstance(failed, ev.TrialReported)
    assert isinstance(failed.report, ev.TrialEnded)
    assert failed.report.failure_reason.startswith("ClientError: This site has no algorithm")


def test_a_name_may_be_static_in_one_definition_and_tuned_in_another() -> None:
    spec = spec_of(unlike())
    tuned = hyper_parameters(spec, trial("second", **{"batch-size": "64"}))
    assert tuned["batch-size"] == "64"
    assert hyper_parameters(spec, trial("first"))["batch-size"] == "32"


# --- suggestions by turns -----------------------------------------------------------------


def designed(strategy: Strategy, *, seed: int = 7) -> JobSpec:
    one = job_spec(space=SMALL_SPACE, strategy=strategy, jobs=9, seed=seed)
    return two_definitions(one, second_space=THREE)


@pytest.mark.parametrize("strategy", [Strategy.RANDOM, Strategy.GRID])
async def test_turns_do_not_depend_on_how_they_are_asked_for(strategy: Strategy) -> None:
    spec = designed(strategy)
    whole = await DesignSuggester(spec).suggest(first_index=1, count=9)
    again = DesignSuggester(spec)
    parts = [await again.suggest(first_index=index, count=1) for index in range(1, 10)]
    late = await DesignSuggester(spec).suggest(first_index=4, count=6)
    assert [part.suggestions[0] for part in parts] == list(whole.suggestions)
    assert late.suggestions == whole.suggestions[3:]


@pytest.mark.parametrize("strategy", [Strategy.RANDOM, Strategy.GRID])
async def test_definitions_take_turns_until_one_is_used_up(strategy: Strategy) -> None:
    arrived = await DesignSuggester(designed(strategy)).suggest(first_index=1, count=20)
    names = [each.definition_name for each in arrived.suggestions]
    assert arrived.exhausted
    assert [set(names[k : k + 2]) for k in (0, 2, 4)] == [{FIRST, SECOND}] * 3
    assert names[6:] == [FIRST] * 3
    tried = {(each.definition_name, *each.parameters.items()) for each in arrived.suggestions}
    assert len(tried) == 9


async def test_each_suggestion_is_of_its_definitions_space() -> None:
    spec = two_definitions(job_spec(jobs=20))
    arrived = await DesignSuggester(spec).suggest(first_index=1, count=20)
    assert Counter(each.definition_name for each in arrived.suggestions) == {FIRST: 10, SECOND: 10}
    for each in arrived.suggestions:
        (definition,) = [d for d in spec.definitions if d.name == each.definition_name]
        assert set(each.parameters) == set(definition.space.names)


async def test_who_begins_a_round_is_drawn_anew() -> None:
    spec = two_definitions(job_spec(jobs=40))
    arrived = await DesignSuggester(spec).suggest(first_index=1, count=40)
    first = Counter(each.definition_name for each in arrived.suggestions[::2])
    assert min(first[FIRST], first[SECOND]) >= 4
