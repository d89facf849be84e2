"""The worker's side of a tuning job with several definitions: one optimiser for each."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.server.domain.job_specs import FIRST, SECOND, SECOND_SPACE, SPACE
from tunesmith_core.space.ranges import Categorical, SearchSpace
from tunesmith_server.domain.history import Abandoned, End, Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.engine.compute_messages import Answer, Ask, Begin, Learn
from tunesmith_server.engine.compute_worker import Searches

# The kernels may have to be compiled.
pytestmark = pytest.mark.timeout(120)

#: Three configurations, and two.
THREE = SearchSpace((Categorical(name="booster", values=("tree", "dart", "linear")),))
TWO = SearchSpace((Categorical(name="shuffle", values=("true", "false")),))


def begun(
    *, first: SearchSpace = SPACE, second: SearchSpace = SECOND_SPACE, warm: bool = True
) -> Searches:
    searches = Searches(lambda: warm)
    spaces: dict[str | None, SearchSpace] = {FIRST: first, SECOND: second}
    searches.begin(Begin(job_id=1, spaces=spaces, seed=3, maximise=True, is_seeded=warm))
    return searches


def ask(searches: Searches, *pending: Suggestion, count: int = 1) -> Answer:
    return searches.ask(Ask(number=5, job_id=1, pending=pending, count=count))


def suggested(answer: Answer) -> list[Suggestion]:
    assert answer.fault == ""
    return list(answer.suggestions)


def value_of(suggestion: Suggestion) -> float:
    """Give a forest what it can have at best less than a net at its worst."""
    if suggestion.definition_name == SECOND:
        return -100.0 + float(suggestion.parameters["trees"])
    return float(suggestion.parameters["depth"])


def run(searches: Searches, count: int) -> list[Suggestion]:
    """Run trials one after the other."""
    done = []
    for _ in range(count):
        (suggestion,) = suggested(ask(searches))
        done.append(suggestion)
        searches.learn(Learn(job_id=1, ends=[told(suggestion)]))
    return done


def told(suggestion: Suggestion) -> End:
    return Told(suggestion=suggestion, value=value_of(suggestion))


def division(suggestions: list[Suggestion]) -> Counter[str | None]:
    return Counter(each.definition_name for each in suggestions)


def test_before_any_value_definitions_take_turns_each_in_its_own_space() -> None:
    first = suggested(ask(begun(), count=6))
    assert division(first) == {FIRST: 3, SECOND: 3}
    for each in first:
        space = SECOND_SPACE if each.definition_name == SECOND else SPACE
        assert set(each.parameters) == set(space.names)


def test_each_has_three_trials_and_then_the_better_one_has_most() -> None:
    done = run(begun(), 14)
    assert division(done[:6]) == {FIRST: 3, SECOND: 3}
    assert division(done)[FIRST] >= 10


def test_a_definition_that_only_fails_has_no_more_than_its_first_three() -> None:
    searches = begun()
    done = []
    for _ in range(12):
        (suggestion,) = suggested(ask(searches))
        done.append(suggestion)
        failed = suggestion.definition_name == SECOND
        value = None if failed else value_of(suggestion)
        searches.learn(Learn(job_id=1, ends=[Told(suggestion=suggestion, value=value)]))
    assert division(done) == {FIRST: 9, SECOND: 3}


def test_told_all_at_once_it_suggests_the_same() -> None:
    one, other = begun(), begun()
    done = run(one, 10)
    pending = suggested(ask(one))
    expected = suggested(ask(one, *pending, count=2))
    ends = [told(each) for each in done]
    other.learn(Learn(job_id=1, ends=ends))
    assert suggested(ask(other, *pending, count=2)) == expected


def test_what_is_pending_or_abandoned_is_not_suggested_again_by_its_definition() -> None:
    searches = begun(first=THREE, second=TWO)
    some = suggested(ask(searches, count=3))
    rest = ask(searches, *some[1:], count=5)
    assert rest.exhausted
    assert len(suggested(rest)) == 3  # the one that was not launched comes again
    assert some[0] in suggested(rest)
    everything = [*some[1:], *suggested(rest)]
    ends = [Abandoned(suggestion=each) for each in everything]
    searches.learn(Learn(job_id=1, ends=ends))
    nothing = ask(searches)
    assert (nothing.suggestions, nothing.exhausted, nothing.fault) == ([], True, "")


def test_until_the_worker_is_warm_definitions_take_turns() -> None:
    searches = begun(warm=False)
    assert division(run(searches, 10)) == {FIRST: 5, SECOND: 5}


@pytest.mark.parametrize(
    ("name", "parameters", "fault"),
    [
        ("third", {"booster": "tree"}, "KeyError: 'third'"),
        (None, {"booster": "tree"}, "KeyError: None"),
        (SECOND, {"trees": "99", "booster": "tree"}, "SpaceError: "),
        (SECOND, {"booster": "tree"}, "KeyError: 'trees'"),
    ],
)
def test_an_end_that_is_of_no_definition_is_a_fault_until_it_is_begun_anew(
    name: str | None, parameters: dict[str, str], fault: str
) -> None:
    searches = begun()
    wrong = Suggestion(parameters=parameters, definition_name=name)
    searches.learn(Learn(job_id=1, ends=[Told(suggestion=wrong, value=1.0)]))
    answer = ask(searches)
    assert answer.suggestions == ()
    assert answer.fault.startswith(fault)
    spaces: dict[str | None, SearchSpace] = {FIRST: SPACE, SECOND: SECOND_SPACE}
    searches.begin(Begin(job_id=1, spaces=spaces, seed=3, maximise=True, is_seeded=True))
    assert len(suggested(ask(searches))) == 1


def test_a_pending_suggestion_of_no_definition_is_a_fault() -> None:
    wrong = Suggestion(parameters={"booster": "tree"}, definition_name="third")
    assert ask(begun(), wrong).fault == "KeyError: 'third'"
