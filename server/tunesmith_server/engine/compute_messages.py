"""What the server and its compute workers say to each other: lines of JSON.

The server says what happened and asks; a worker answers, and says once that it is warm. Values of
configurations travel as the text that training scripts get, floats as Python writes them, which is
exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias, assert_never

from tunesmith_core.space.ranges import (
    Categorical,
    Continuous,
    Integer,
    Parameter,
    Scaling,
    SearchSpace,
)
from tunesmith_server.domain.history import Abandoned, End, Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.warm_start import Lessons

# Decoded JSON; what is made of it is typed.
_Json: TypeAlias = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Make a tuning job's optimiser, in place of the one that there may be.

    Attributes:
        job_id: The tuning job.
        spaces: What is searched: a search space for each definition, by its name.
        seed: Of its suggestions.
        maximise: Which way the objective is better.
        is_seeded: The seed was asked for: a suggestion never depends on whether the worker is warm.
        lessons: What the tuning jobs before it found, if it starts with any.
    """

    job_id: int
    spaces: Mapping[str | None, SearchSpace]
    seed: int
    maximise: bool
    is_seeded: bool
    lessons: Lessons | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learn:
    """Tell a tuning job's optimiser of ends, in order."""

    job_id: int
    ends: Sequence[End]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask a tuning job's optimiser for configurations.

    Attributes:
        number: Told again in the answer.
        job_id: The tuning job.
        pending: What is pending, in launch order.
        count: How many are wanted.
        hurried: Others wait: what can be put off should be, where no seed forbids it.
    """

    number: int
    job_id: int
    pending: Sequence[Suggestion]
    count: int
    hurried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assess:
    """Ask whether a search has converged; nothing of it is kept.

    Attributes:
        number: Told again in the answer.
        spaces: What is searched: a search space for each definition, by its name.
        maximise: Which way the objective is better.
        ends: What came of it, in order.
        remaining: How many training jobs are to come.
    """

    number: int
    spaces: Mapping[str | None, SearchSpace]
    maximise: bool
    ends: Sequence[End]
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Let go of a tuning job's optimiser, if there is one."""

    job_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer an ask.

    Attributes:
        number: The ask's.
        suggestions: New ones, at most as many as were wanted.
        exhausted: There will never be more.
        fault: What went wrong, in place of the rest; empty: nothing.
        device: What computed them.
    """

    number: int
    suggestions: Sequence[Suggestion] = ()
    exhausted: bool = False
    fault: str = ""
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Answer whether a search has converged.

    Attributes:
        number: The question's.
        has_converged: What was asked.
        fault: What went wrong, in place of that; empty: nothing.
    """

    number: int
    has_converged: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """Say that no suggestion waits for a compiler any more.

    Attributes:
        fault: Why there will never be kernels to use; empty: there are.
    """

    fault: str = ""


Message = Begin | Learn | Ask | Assess | Forget
Report = Answer | Assessment | Warm

_KINDS: Final = {
    each.__name__: each for each in (Begin, Learn, Ask, Assess, Forget, Answer, Assessment, Warm)
}
_PARAMETERS: Final = {each.__name__: each for each in (Continuous, Integer, Categorical)}


def encode(item: Message | Report) -> bytes:
    """Write a message or a report as one line."""
    match item:
        case Begin():
            content = {
                **_plain(item, "spaces", "lessons"),
                "spaces": _from_spaces(item.spaces),
                "lessons": item.lessons and _from_lessons(item.lessons),
            }
        case Learn():
            content = {"job_id": item.job_id, "ends": [_from_end(end) for end in item.ends]}
        case Ask():
            pending = [_from_suggestion(each) for each in item.pending]
            content = {**_plain(item, "pending"), "pending": pending}
        case Assess():
            content = {
                **_plain(item, "spaces", "ends"),
                "spaces": _from_spaces(item.spaces),
                "ends": [_from_end(end) for end in item.ends],
            }
        case Answer():
            suggestions = [_from_suggestion(each) for each in item.suggestions]
            content = {**_plain(item, "suggestions"), "suggestions": suggestions}
        case Forget() | Assessment() | Warm():
            content = asdict(item)
        case _:
            assert_never(item)
    text = json.dumps([type(item).__name__, content], separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def decode(line: bytes) -> Message | Report:
    """Read a line.

    Raises:
        ValueError: It is not one of these lines.
    """
    try:
        kind, content = json.loads(line)
        if kind in ("Begin", "Assess"):
            content["spaces"] = {name: _to_space(space) for name, space in content["spaces"]}
        if kind == "Begin" and content["lessons"] is not None:
            content["lessons"] = _to_lessons(content["lessons"])
        if kind in ("Learn", "Assess"):
            content["ends"] = [_to_end(end) for end in content["ends"]]
        elif kind == "Ask":
            content["pending"] = [_to_suggestion(each) for each in content["pending"]]
        elif kind == "Answer":
            content["suggestions"] = [_to_suggestion(each) for each in content["suggestions"]]
        decoded: Message | Report = _KINDS[kind](**content)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a message of compute workers: {line[:80]!r}") from error
    return decoded


def _plain(item: Begin | Ask | Assess | Answer, *without: str) -> dict[str, object]:
    """Give all members but some as they are."""
    return {name: getattr(item, name) for name in item.__slots__ if name not in without}


def _from_spaces(spaces: Mapping[str | None, SearchSpace]) -> list[_Json]:
    return [[name, _from_space(space)] for name, space in spaces.items()]


def _from_space(space: SearchSpace) -> list[_Json]:
    return [[type(each).__name__, asdict(each)] for each in space.parameters]


def _to_space(items: _Json) -> SearchSpace:
    return SearchSpace(tuple(_to_parameter(kind, content) for kind, content in items))


def _to_parameter(kind: str, content: _Json) -> Parameter:
    if "scaling" in content:
        content["scaling"] = Scaling(content["scaling"])
    if "values" in content:
        content["values"] = tuple(content["values"])
    parameter: Parameter = _PARAMETERS[kind](**content)
    return parameter


def _from_lessons(lessons: Lessons) -> _Json:
    searches = [[_from_end(end) for end in search] for search in lessons.searches]
    extra = _from_space(SearchSpace(lessons.extra))
    return [searches, extra, dict(lessons.fixed), lessons.same_objective]


def _to_lessons(item: _Json) -> Lessons:
    searches, extra, fixed, same_objective = item
    ends = [[_to_end(end) for end in search] for search in searches]
    return Lessons(
        searches=tuple(tuple(end for end in search if isinstance(end, Told)) for search in ends),
        extra=_to_space(extra).parameters,
        fixed=fixed,
        same_objective=same_objective,
    )


def _from_suggestion(suggestion: Suggestion) -> list[_Json]:
    return [dict(suggestion.parameters), suggestion.definition_name]


def _to_suggestion(item: _Json) -> Suggestion:
    parameters, definition_name = item
    return Suggestion(parameters=parameters, definition_name=definition_name)


def _from_end(end: End) -> list[_Json]:
    suggestion = _from_suggestion(end.suggestion)
    if isinstance(end, Abandoned):
        return suggestion
    # Not a number is no JSON.
    rungs = [value if math.isfinite(value) else None for value in end.rungs]
    return [*suggestion, end.value, rungs, end.is_stopped, end.is_again]


def _to_end(item: _Json) -> End:
    suggestion, told = _to_suggestion(item[:2]), item[2:]
    if not told:
        return Abandoned(suggestion=suggestion)
    value, rungs, is_stopped, is_again = told
    return Told(
        suggestion=suggestion,
        value=value,
        rungs=tuple(math.nan if each is None else each for each in rungs),
        is_stopped=is_stopped,
        is_again=is_again,
    )
