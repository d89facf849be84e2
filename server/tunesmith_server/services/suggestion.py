"""SuggestionService: trials for callers that run them, by single calls or over a stream."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Final

from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1 import suggestion_service_pb2_grpc
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import Overloaded
from tunesmith_server.domain.validation import check_request
from tunesmith_server.domain.views import TUNING_STATUS_VALUES
from tunesmith_server.engine.callers import Callers, Lent
from tunesmith_server.engine.consultations import Consultations
from tunesmith_server.operations.error_table import wire_error
from tunesmith_server.services.consultation import question_of, typed
from tunesmith_server.services.interceptors import Context, logged_status, request_id

#: So many calls of one stream are under way; then it is read no further.
_CALLS_PER_STREAM: Final = 1000
#: An ask waits no longer, whatever it says.
_LONGEST_WAIT_S: Final = 60.0
_TRIALS: Final = "/tunesmith.v1.SuggestionService/Trials"


class SuggestionService(suggestion_service_pb2_grpc.SuggestionServiceServicer):
    """Answer the calls of SuggestionService; the contract's comments say what each does."""

    def __init__(
        self, *, callers: Callers, consultations: Consultations, draw_seed: Callable[[], int]
    ) -> None:
        self._callers = callers
        self._consultations = consultations
        self._draw_seed = draw_seed

    async def Suggest(self, request: pb.SuggestRequest, context: Context) -> pb.SuggestResponse:
        """Hand out trials."""
        check_request(request)
        return await self._suggest(request)

    async def ReportMetrics(
        self, request: pb.ReportMetricsRequest, context: Context
    ) -> pb.ReportMetricsResponse:
        """Take in values of metrics."""
        check_request(request)
        return await self._report(request)

    async def CompleteTrial(
        self, request: pb.CompleteTrialRequest, context: Context
    ) -> pb.CompleteTrialResponse:
        """End a trial."""
        check_request(request)
        return await self._complete(request, request_id(context))

    async def Trials(
        self, request_iterator: AsyncIterator[pb.TrialsRequest], context: Context
    ) -> AsyncIterator[pb.TrialsResponse]:
        """Serve calls as they come, and answer each when it is done."""
        answers: asyncio.Queue[pb.TrialsResponse | None] = asyncio.Queue()
        # A call holds its place until its answer has been taken: who does not read is not read.
        room = asyncio.Semaphore(_CALLS_PER_STREAM)
        reading = asyncio.create_task(self._read(request_iterator, answers, room))
        try:
            while (answer := await answers.get()) is not None:
                yield answer
                room.release()
            await reading  # what was wrong with the stream itself is raised
        finally:
            reading.cancel()

    async def SuggestFrom(
        self, request: pb.SuggestFromRequest, context: Context
    ) -> pb.SuggestFromResponse:
        """Suggest from a history that the caller keeps."""
        check_request(request)
        # A history may be long, and is read off the event loop.
        question = await asyncio.to_thread(question_of, request, drawn_seed=self._draw_seed())
        found = await self._consultations.suggest(question)
        return pb.SuggestFromResponse(
            suggestions=[
                pb.Configuration(parameters=typed(question.space, each.parameters))
                for each in found
            ]
        )

    async def _read(
        self,
        requests: AsyncIterator[pb.TrialsRequest],
        answers: asyncio.Queue[pb.TrialsResponse | None],
        room: asyncio.Semaphore,
    ) -> None:
        """Serve a stream's calls, and end the answers with None once there are no more."""
        calls: set[asyncio.Task[None]] = set()

        async def serve(request: pb.TrialsRequest) -> None:
            answers.put_nowait(await self._call(request))

        try:
            async for request in requests:
                await room.acquire()
                call = asyncio.create_task(serve(request))
                calls.add(call)
                call.add_done_callback(calls.discard)
            await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()
            answers.put_nowait(None)

    async def _call(self, request: pb.TrialsRequest) -> pb.TrialsResponse:
        """Serve one call of a stream; its errors are its answer."""
        answer = pb.TrialsResponse(call_id=request.call_id)
        try:
            check_request(request)
            match request.WhichOneof("call"):
                case "suggest":
                    answer.suggest.CopyFrom(await self._suggest(request.suggest))
                case "report_metrics":
                    answer.report_metrics.CopyFrom(await self._report(request.report_metrics))
                case _:  # a request without a call was refused
                    completed = await self._complete(
                        request.complete_trial, request.request_id or None
                    )
                    answer.complete_trial.CopyFrom(completed)
        except Exception as error:  # noqa: BLE001 - every error becomes an answer, bugs too
            answer.error.CopyFrom(_call_error(error))
        return answer

    async def _suggest(self, request: pb.SuggestRequest) -> pb.SuggestResponse:
        trials, status = await self._callers.suggest(
            request.hyper_parameter_tuning_job_name,
            client_id=request.client_id,
            count=request.count or 1,
            max_wait_s=_wait_s(request),
        )
        return pb.SuggestResponse(
            trials=[_suggested(lent) for lent in trials],
            hyper_parameter_tuning_job_status=TUNING_STATUS_VALUES[status],
        )

    async def _report(self, request: pb.ReportMetricsRequest) -> pb.ReportMetricsResponse:
        should_stop = await self._callers.report(
            request.training_job_name,
            lease_token=request.lease_token,
            step=request.step,
            values=request.values,
        )
        return pb.ReportMetricsResponse(should_stop=should_stop)

    async def _complete(
        self, request: pb.CompleteTrialRequest, completion_id: str | None
    ) -> pb.CompleteTrialResponse:
        verdict, value, reason = _result(request)
        await self._callers.complete(
            ev.TrialCompleted(
                trial_name=request.training_job_name,
                lease_token=request.lease_token,
                verdict=verdict,
                value=value,
                reason=reason,
                completion_id=completion_id,
            )
        )
        return pb.CompleteTrialResponse()


def _wait_s(request: pb.SuggestRequest) -> float:
    """Give how long an ask waits, whatever it says: also what no timedelta can hold."""
    wait = request.max_wait
    return min(_LONGEST_WAIT_S, wait.seconds + wait.nanos * 1e-9)


def _suggested(lent: Lent) -> pb.SuggestedTrial:
    trial = lent.trial
    suggested = pb.SuggestedTrial(
        training_job_name=trial.name,
        lease_token=trial.lease_token,
        parameters=typed(lent.space, trial.parameters),
    )
    suggested.lease_duration.seconds = int(lent.duration.total_seconds())
    return suggested


def _result(request: pb.CompleteTrialRequest) -> tuple[ev.Verdict, float | None, str]:
    match request.WhichOneof("result"):
        case "value":
            return ev.Verdict.MEASURED, request.value, ""
        case "failed":
            return ev.Verdict.FAILED, None, request.failed
        case _:
            return ev.Verdict.INFEASIBLE, None, request.infeasible


def _call_error(error: Exception) -> pb.CallError:
    status = logged_status(error, method=_TRIALS, identity=uuid.uuid4().hex)
    answer = pb.CallError(code=status.code, reason=wire_error(error).reason, message=status.message)
    if isinstance(error, Overloaded):
        answer.retry_delay.FromTimedelta(error.retry_after)
    return answer
