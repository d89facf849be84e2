"""SuggestionService: part of the contract whose calls are not served yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Never, Self

from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1 import suggestion_service_pb2_grpc
from tunesmith_server.domain.errors import NotServed
from tunesmith_server.services.interceptors import Context


class SuggestionService(suggestion_service_pb2_grpc.SuggestionServiceServicer):
    """Refuse every call with UNIMPLEMENTED and say what to use meanwhile."""

    async def Suggest(self, request: pb.SuggestRequest, context: Context) -> Never:
        """Refuse."""
        raise _not_served("Suggest")

    async def ReportMetrics(self, request: pb.ReportMetricsRequest, context: Context) -> Never:
        """Refuse."""
        raise _not_served("ReportMetrics")

    async def CompleteTrial(self, request: pb.CompleteTrialRequest, context: Context) -> Never:
        """Refuse."""
        raise _not_served("CompleteTrial")

    def Trials(
        self, request_iterator: AsyncIterator[pb.TrialsRequest], context: Context
    ) -> AsyncIterator[pb.TrialsResponse]:
        """Refuse."""
        return _Refusal("Trials")

    async def SuggestFrom(self, request: pb.SuggestFromRequest, context: Context) -> Never:
        """Refuse."""
        raise _not_served("SuggestFrom")


class _Refusal:
    """Be a stream of responses that begins with an error."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pb.TrialsResponse:
        raise _not_served(self._method)


def _not_served(method: str) -> NotServed:
    return NotServed(
        f"SuggestionService.{method} is not implemented in this release. Create a tuning job with "
        f"a TrainingJobDefinition, whose trials the server's runners run."
    )
