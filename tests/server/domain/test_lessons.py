"""What a tuning job is told of the ones before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.server.domain.create_requests import GRID, CreateRequest, create_request
from tests.server.domain.job_specs import CREATED_AT
from tests.server.domain.validation.test_parents import (
    IDENTICAL,
    TRANSFER,
    child,
    make_static,
    parent,
)
from tunesmith_core.space.ranges import Categorical, Continuous, Integer
from tunesmith_server.domain.completion import Goal
from tunesmith_server.domain.history import Abandoned, End, Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial, launch
from tunesmith_server.domain.warm_start import best_of_family, lessons_of, with_family_limit

TUNED = {"depth": "3", "lr": "0.01", "kind": "a"}


def told(value: float | None = 0.5, **changed: str) -> End:
    return Told(suggestion=Suggestion(parameters={**TUNED, **changed}), value=value)


def test_results_are_told_as_they_were() -> None:
    ends = [told(0.5), told(None, kind="b"), Abandoned(suggestion=Suggestion(parameters=TUNED))]
    lessons = lessons_of(child(kind=TRANSFER), [(parent().spec, ends)])
    assert lessons.searches == (tuple(ends[:2]),)
    assert (lessons.extra, dict(lessons.fixed)) == ((), {})
    assert not lessons.same_objective
    assert lessons_of(child(kind=IDENTICAL), [(parent().spec, ends)]).same_objective


def test_what_was_static_is_told_with_its_value() -> None:
    end = Told(suggestion=Suggestion(parameters={"lr": "0.01", "kind": "a"}), value=1.0)
    lessons = lessons_of(child(), [(parent(make_static).spec, [end])])
    ((got,),) = lessons.searches
    assert got.suggestion.parameters == {**TUNED, "depth": "4"}
    assert lessons.extra == ()


def test_what_has_become_static_is_told_beside_with_a_range_that_holds_all_its_values() -> None:
    def far(request: CreateRequest) -> None:
        make_static(request)
        request.training_job_definition.static_hyper_parameters["depth"] = "40"

    lessons = lessons_of(child(far), [(parent().spec, [told()])])
    assert lessons.extra == (Integer(name="depth", lo=2, hi=40),)
    assert lessons.fixed == {"depth": "40"}
    ((got,),) = lessons.searches
    assert got.suggestion.parameters == TUNED


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("kind", "c", Categorical(name="kind", values=("a", "b", "c"))),
        ("lr", "0.5", Continuous),
    ],
)
def test_ranges_of_every_kind_are_widened(
    name: str, text: str, expected: Categorical | type[Continuous]
) -> None:
    def static(request: CreateRequest) -> None:
        ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
        kinds = (ranges.continuous_parameter_ranges, ranges.categorical_parameter_ranges)
        del kinds[name == "kind"][:]
        request.training_job_definition.static_hyper_parameters[name] = text

    (extra,) = lessons_of(child(static), [(parent().spec, [told()])]).extra
    if isinstance(extra, Continuous):
        assert (extra.lo, extra.hi) == (1e-4, 0.5)
    else:
        assert extra == expected


def test_the_order_of_what_has_become_static_is_that_of_the_names() -> None:
    names = [f"p{number}" for number in range(8)]

    def tuned(request: CreateRequest) -> None:
        ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
        for name in names:
            ranges.integer_parameter_ranges.add(name=name, min_value="1", max_value="9")

    def static(request: CreateRequest) -> None:
        for name in reversed(names):
            request.training_job_definition.static_hyper_parameters[name] = "3"

    end = told(0.5, **dict.fromkeys(names, "2"))
    lessons = lessons_of(child(static), [(parent(tuned).spec, [end])])
    assert [each.name for each in lessons.extra] == names


def test_parents_that_told_nothing_are_left_out() -> None:
    lessons = lessons_of(child(), [(parent().spec, []), (parent().spec, [told()])])
    assert len(lessons.searches) == 1


def best(value: float | None) -> Trial | None:
    if value is None:
        return None
    made = launch(name="t", index=1, definition_name=None, parameters={}, now=CREATED_AT)
    return replace(made, objective_value=value)


def test_the_best_of_a_family_is_the_first_of_equals() -> None:
    bests = [best(None), best(2.0), best(1.0), best(1.0), best(3.0)]
    assert best_of_family(bests, Goal(maximise=False)) == 2
    assert best_of_family(bests, Goal(maximise=True)) == 4
    assert best_of_family([None, None], Goal(maximise=True)) is None


def test_a_limit_that_is_left_out_leaves_room_for_the_parents() -> None:
    request = create_request()
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    assert with_family_limit(request, launched=700, most=750) is request
    limits.ClearField("max_number_of_training_jobs")
    limited = with_family_limit(request, launched=700, most=750)
    assert not limits.max_number_of_training_jobs
    limits = limited.hyper_parameter_tuning_job_config.resource_limits
    assert limits.max_number_of_training_jobs == 50
    request.hyper_parameter_tuning_job_config.strategy = GRID
    assert with_family_limit(request, launched=700, most=750) is request
