"""What SuggestFrom is asked, read and checked; what it answers, written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, assert_never

from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1.tuning_job_pb2 import HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MAXIMIZE
from tunesmith_core.errors import SpaceError
from tunesmith_core.space.encoding import parse, render
from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Parameter, SearchSpace
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.history import Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.validation.search_space import named_ranges, read_space
from tunesmith_server.domain.validation.wording import excerpt
from tunesmith_server.engine.consultations import Question

_RANGES: Final = "ParameterRanges"
#: So many violations are told; a history that is all wrong is wrong in one way.
_MOST_VIOLATIONS: Final = 20


def question_of(request: pb.SuggestFromRequest, *, drawn_seed: int) -> Question:
    """Read a request that keeps its contract.

    Raises:
        InvalidRequest: The ranges make no sense, or a configuration is not one of the space.
    """
    space = _space(request)
    violations: list[Violation] = []
    history = [
        Told(
            suggestion=_suggestion(
                space, each.configuration, f"Observations[{n}].Configuration", violations
            ),
            value=each.value if each.HasField("value") and math.isfinite(each.value) else None,
        )
        for n, each in enumerate(request.observations)
    ]
    pending = [
        _suggestion(space, each, f"Pending[{n}]", violations)
        for n, each in enumerate(request.pending)
    ]
    if violations:
        raise InvalidRequest(tuple(violations[:_MOST_VIOLATIONS]))
    is_seeded = request.HasField("seed")
    return Question(
        space=space,
        maximise=request.goal == HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MAXIMIZE,
        seed=request.seed if is_seeded else drawn_seed,
        is_seeded=is_seeded,
        history=history,
        pending=pending,
        count=request.count or 1,
    )


def typed(space: SearchSpace, texts: Mapping[str, str]) -> Iterable[pb.TypedParameter]:
    """Write a configuration, each value in its type; the texts are our own."""
    return [_typed(parameter, texts[parameter.name]) for parameter in space.parameters]


def _space(request: pb.SuggestFromRequest) -> SearchSpace:
    reading = read_space(request.parameter_ranges, _RANGES)
    if reading.search_space is not None and reading.search_space.parameters:
        return reading.search_space
    told = tuple(
        Violation(path=finding.path, message=finding.message, rule="ranges_are_sound")
        for finding in reading.findings
    )
    if not told:
        names = Counter(each.name for _, each in named_ranges(request.parameter_ranges, _RANGES))
        doubled = ", ".join(name for name, count in names.items() if count > 1)
        message = (
            f"Each range has a name of its own; there are several called {excerpt(doubled)}"
            if doubled
            else "Give at least one range; AutoParameters are not served"
        )
        told = (Violation(path=_RANGES, message=message, rule="ranges_are_sound"),)
    raise InvalidRequest(told)


def _suggestion(
    space: SearchSpace,
    configuration: pb.Configuration,
    path: str,
    violations: list[Violation],
) -> Suggestion:
    """Read a configuration as training jobs get it, and note what is wrong with it."""
    given = {each.name: each for each in configuration.parameters}
    texts: dict[str, str] = {}
    if set(given) != set(space.names) or len(given) != len(configuration.parameters):
        message = f"Give each of {', '.join(space.names)} once, and nothing else"
        violations.append(Violation(path=path, message=message, rule="configuration"))
        return Suggestion(parameters=texts)
    for parameter in space.parameters:
        try:
            texts[parameter.name] = render(parse(parameter, _text(given[parameter.name])))
        except SpaceError as error:
            where = f"{path}.{parameter.name}"
            violations.append(Violation(path=where, message=str(error), rule="configuration"))
    return Suggestion(parameters=texts)


def _text(given: pb.TypedParameter) -> str:
    match given.WhichOneof("value"):
        case "double_value":
            return render(given.double_value)
        case "int64_value":
            return render(given.int64_value)
        case "string_value":
            return given.string_value
        case _:
            return given.text


def _typed(parameter: Parameter, text: str) -> pb.TypedParameter:
    match parameter:
        case Continuous():
            return pb.TypedParameter(name=parameter.name, double_value=float(text), text=text)
        case Integer():
            return pb.TypedParameter(name=parameter.name, int64_value=int(text), text=text)
        case Categorical():
            return pb.TypedParameter(name=parameter.name, string_value=text, text=text)
        case _:
            assert_never(parameter)
