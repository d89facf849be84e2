"""Suggestions from a history that the caller keeps, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import grpc
import pytest

from tests.e2e.calls import CALL_S, Calls, Refused, refusing
from tests.e2e.conftest import ServerMaker
from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1 import suggestion_service_pb2_grpc
from tunesmith.v1.tuning_job_pb2 import HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MINIMIZE

pytestmark = pytest.mark.timeout(120)

SEED: Final = 7


def question(
    *told: tuple[pb.Configuration, float | None], seed: int | None = SEED, count: int = 1
) -> pb.SuggestFromRequest:
    """Ask about a rate, a depth and a kind."""
    request = pb.SuggestFromRequest(
        goal=HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MINIMIZE, count=count, seed=seed
    )
    ranges = request.parameter_ranges
    ranges.integer_parameter_ranges.add(name="depth", min_value="1", max_value="9")
    ranges.continuous_parameter_ranges.add(name="rate", min_value="0", max_value="1")
    ranges.categorical_parameter_ranges.add(name="kind", values=["tree", "linear"])
    for configuration, value in told:
        request.observations.add(configuration=configuration, value=value)
    return request


def loss(configuration: pb.Configuration) -> float:
    values = {each.name: each for each in configuration.parameters}
    return (values["rate"].double_value - 0.3) ** 2 + abs(values["depth"].int64_value - 4)


@pytest.fixture
def stub(make_server: ServerMaker) -> Iterator[suggestion_service_pb2_grpc.SuggestionServiceStub]:
    server = make_server(runner=False).start()
    with Calls(server.address) as calls:
        yield suggestion_service_pb2_grpc.SuggestionServiceStub(calls.channel)


def test_a_history_that_grows_and_one_told_at_once_give_the_same(
    stub: suggestion_service_pb2_grpc.SuggestionServiceStub,
) -> None:
    told: list[tuple[pb.Configuration, float | None]] = []
    for number in range(14):
        (found,) = stub.SuggestFrom(question(*told), timeout=CALL_S).suggestions
        told.append((found, None if number == 3 else loss(found)))
    again = stub.SuggestFrom(question(*told, count=10), timeout=CALL_S).suggestions
    assert len(again) == 10
    # A question in between, with another history, makes the optimiser begin anew.
    stub.SuggestFrom(question(*told[:5]), timeout=CALL_S)
    anew = stub.SuggestFrom(question(*told, count=10), timeout=CALL_S).suggestions
    assert list(anew) == list(again)
    pending = question(*told, count=2)
    pending.pending.extend(again[:3])
    assert list(stub.SuggestFrom(pending, timeout=CALL_S).suggestions) == list(again[3:5])


def test_a_finite_space_gives_what_is_left(
    stub: suggestion_service_pb2_grpc.SuggestionServiceStub,
) -> None:
    request = pb.SuggestFromRequest(
        goal=HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MINIMIZE, count=5
    )
    request.parameter_ranges.categorical_parameter_ranges.add(name="kind", values=["a", "b", "c"])
    found = stub.SuggestFrom(request, timeout=CALL_S).suggestions
    assert sorted(each.parameters[0].string_value for each in found) == ["a", "b", "c"]
    request.observations.add(configuration=found[0], value=0.5)
    left = stub.SuggestFrom(request, timeout=CALL_S).suggestions
    assert len(left) == 2


def test_what_makes_no_sense_is_refused_by_its_place(
    stub: suggestion_service_pb2_grpc.SuggestionServiceStub,
) -> None:
    request = question()
    request.observations.add(
        configuration=pb.Configuration(parameters=[pb.TypedParameter(name="rate", double_value=2)])
    )
    whole = request.pending.add()
    whole.parameters.add(name="rate", double_value=2.0)
    whole.parameters.add(name="depth", int64_value=3)
    whole.parameters.add(name="kind", string_value="forest")
    with pytest.raises(Refused) as refused:
        refusing(lambda: stub.SuggestFrom(request, timeout=CALL_S))
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.fields == [
        "Observations[0].Configuration",
        "Pending[0].rate",
        "Pending[0].kind",
    ]
    empty = question()
    empty.ClearField("parameter_ranges")
    empty.parameter_ranges.SetInParent()
    with pytest.raises(Refused, match="Give at least one range"):
        refusing(lambda: stub.SuggestFrom(empty, timeout=CALL_S))
