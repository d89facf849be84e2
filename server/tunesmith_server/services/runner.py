"""RunnerService: one stream per runner, from its hello to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC

from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import runner_service_pb2_grpc
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.validation import check_constraints
from tunesmith_server.engine.fleet import Fleet, Session
from tunesmith_server.engine.jobs import Jobs
from tunesmith_server.services.interceptors import Context

_STAGES = {
    pb.TRIAL_STAGE_STARTING: ev.Stage.STARTING,
    pb.TRIAL_STAGE_DOWNLOADING: ev.Stage.DOWNLOADING,
    pb.TRIAL_STAGE_TRAINING: ev.Stage.TRAINING,
    pb.TRIAL_STAGE_UPLOADING: ev.Stage.UPLOADING,
    pb.TRIAL_STAGE_STOPPING: ev.Stage.STOPPING,
}
_OUTCOMES = {
    pb.TRIAL_OUTCOME_COMPLETED: ev.Outcome.COMPLETED,
    pb.TRIAL_OUTCOME_FAILED: ev.Outcome.FAILED,
    pb.TRIAL_OUTCOME_STOPPED: ev.Outcome.STOPPED,
    pb.TRIAL_OUTCOME_MAX_RUNTIME_EXCEEDED: ev.Outcome.MAX_RUNTIME_EXCEEDED,
    pb.TRIAL_OUTCOME_RETURNED: ev.Outcome.RETURNED,
}


class RunnerService(runner_service_pb2_grpc.RunnerServiceServicer):
    """Serve runners; the contract's comments say how the stream goes."""

    def __init__(self, *, fleet: Fleet, jobs: Jobs, silence_s: float) -> None:
        self._fleet = fleet
        self._jobs = jobs
        self._silence_s = silence_s

    async def Connect(
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: Context
    ) -> AsyncIterator[pb.ConnectResponse]:
        """Serve one runner until it leaves, falls silent or connects anew."""
        requests = aiter(request_iterator)
        hello = await self._hello(requests)
        session = await self._fleet.connect(hello)
        listener = asyncio.create_task(self._listen(hello.instance_id, requests, session))
        try:
            while True:
                try:
                    yield await session.next_message()
                except _RunnerLeftError:
                    return
        finally:
            listener.cancel()
            self._fleet.disconnect(hello.instance_id, session)

    async def _hello(self, requests: AsyncIterator[pb.ConnectRequest]) -> pb.RunnerHello:
        try:
            async with asyncio.timeout(self._silence_s):
                first = await anext(requests, pb.ConnectRequest())
        except TimeoutError:
            raise _out_of_order(f"No hello came for {self._silence_s:g} s.") from None
        if not first.HasField("hello"):
            raise _out_of_order("The first message of a runner must be its hello.")
        _check(first)
        return first.hello

    async def _listen(
        self, instance_id: str, requests: AsyncIterator[pb.ConnectRequest], session: Session
    ) -> None:
        """Take in what a runner says; however that ends, the session ends with it."""
        try:
            while True:
                async with asyncio.timeout(self._silence_s):
                    request = await anext(requests)
                await self._take(instance_id, request, session)
        except StopAsyncIteration:
            session.end(_RunnerLeftError())
        except TimeoutError:
            session.end(_out_of_order(f"No message came for {self._silence_s:g} s."))
        except Exception as error:  # noqa: BLE001 - the stream's owner turns it into a status
            session.end(error)

    async def _take(self, instance_id: str, request: pb.ConnectRequest, session: Session) -> None:
        _check(request)
        match request.WhichOneof("message"):
            case "reports":
                await self._jobs.report(instance_id, map(_event, request.reports.reports))
                acknowledged = pb.ReportsAcknowledged(positions=_positions(request.reports))
                session.send(pb.ConnectResponse(acknowledged=acknowledged))
            case "heartbeat":
                session.send(pb.ConnectResponse(heartbeat=pb.RunnerHeartbeat()))
            case "draining":
                self._fleet.drain(instance_id)
            case _:
                raise _out_of_order("A runner says hello once, as the first message.")


class _RunnerLeftError(Exception):
    """The runner closed its side of the stream."""


def _check(request: pb.ConnectRequest) -> None:
    """Refuse a message that breaks constraints; members of a later version are let pass."""
    violations = check_constraints(request)
    if violations:
        raise InvalidRequest(violations)


def _positions(reports: pb.TrialReports) -> list[pb.TrialPosition]:
    """Give the highest sequence of each trial and lease: all of it is durable or dropped now."""
    highest: dict[tuple[str, int], int] = {}
    for report in reports.reports:
        key = (report.training_job_name, report.lease_token)
        highest[key] = max(highest.get(key, 0), report.sequence)
    return [
        pb.TrialPosition(training_job_name=name, lease_token=token, sequence=sequence)
        for (name, token), sequence in highest.items()
    ]


def _event(report: pb.TrialReport) -> ev.TrialReported:
    return ev.TrialReported(
        trial_name=report.training_job_name,
        lease_token=report.lease_token,
        sequence=report.sequence,
        reported_at=report.at.ToDatetime(tzinfo=UTC),
        report=_news(report),
    )


def _news(report: pb.TrialReport) -> ev.Report:
    match report.WhichOneof("report"):
        case "stage":
            return ev.StageReached(stage=_STAGES[report.stage])
        case "metric":
            metric = report.metric
            return ev.MetricEmitted(metric_name=metric.metric_name, value=metric.value)
        case "output":
            return ev.OutputWritten(lines=tuple(report.output.lines))
        case _:
            ended = report.ended
            started = ended.training_started_at
            return ev.TrialEnded(
                outcome=_OUTCOMES[ended.outcome],
                failure_reason=ended.failure_reason,
                retryable=ended.retryable,
                model_artifacts_uri=ended.model_artifacts_uri,
                training_started_at=(
                    started.ToDatetime(tzinfo=UTC)
                    if ended.HasField("training_started_at")
                    else None
                ),
                objective_missing=(
                    _missing(ended.objective_missing)
                    if ended.HasField("objective_missing")
                    else None
                ),
            )


def _missing(said: pb.ObjectiveMissing) -> ev.ObjectiveMissing:
    return ev.ObjectiveMissing(
        nearest_lines=tuple(
            ev.NearestLine(
                line=near.line,
                matched_text=near.matched_text,
                unmatched_pattern=near.unmatched_pattern,
                captured=near.captured if near.HasField("captured") else None,
            )
            for near in said.nearest_lines
        ),
        last_lines=tuple(said.last_lines),
    )


def _out_of_order(message: str) -> InvalidRequest:
    return InvalidRequest((Violation(path="", message=message, rule="runner_stream"),))
