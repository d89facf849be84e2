"""Trials of a tuning job that the caller runs: asked for, kept, reported on, completed.

The server leases a trial to whoever asks for it. While this process lives, its leases are renewed in
the background; when it dies, a process with the same client id gets the same trials again, and
after a while any other does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType, TracebackType
from typing import Final, Self, TypeAlias

from tunesmith.calls import Caller
from tunesmith.errors import AlreadyCompleted, Conflict, DeadlineExceeded, TunesmithError
from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1.tuning_job_pb2 import HYPER_PARAMETER_TUNING_JOB_STATUS_IN_PROGRESS

logger = logging.getLogger(__name__)

Value: TypeAlias = float | int | str

_IN_PROGRESS: Final = HYPER_PARAMETER_TUNING_JOB_STATUS_IN_PROGRESS

#: Of a reason so many characters are told.
_REASON_LENGTH: Final = 1024
#: An ask waits so long at the server for a trial, and no longer than this share of a call's
#: deadline; it is then repeated, after a pause in case that the server did not wait.
_WAIT_S: Final = 20.0
_WAIT_SHARE: Final = 2 / 3
_PAUSE_S: Final = 0.2
#: A suggestion may take longer than a call may, as when kernels are being compiled: so many times.
_SLOW_ASKS: Final = 9
#: A lease is renewed so many times in its duration, and at least this often.
_RENEWALS: Final = 3
_RENEWAL_S: Final = 60.0


class AsyncJobTrial:
    """Hold one trial that this process runs.

    Attributes:
        name: Of the trial, which is a training job of the tuning job.
        parameters: Value by hyperparameter, in the order of the request's ranges: a float, an int
            or a string, as its range is.
    """

    def __init__(
        self, caller: Caller, suggested: pb.SuggestedTrial, *, on_end: Callable[[], None]
    ) -> None:
        self.name = suggested.training_job_name
        self.parameters: Mapping[str, Value] = MappingProxyType(
            {each.name: _value(each) for each in suggested.parameters}
        )
        self._caller = caller
        self._token = suggested.lease_token
        self._lease_s = suggested.lease_duration.ToTimedelta().total_seconds()
        self._last_step = 0
        self._should_stop = False
        self._ended = asyncio.Event()
        self._on_end = on_end

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {dict(self.parameters)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complete the trial as failed if the block ends by an error and has not completed it."""
        if error is not None and not self.has_ended:
            await self.complete(failed=f"{type(error).__name__}: {error}")

    @property
    def should_stop(self) -> bool:
        """Tell whether the trial is to be completed now, with what it has.

        That is as last heard: by a report, or else by a renewal of the lease, once a minute.
        """
        return self._should_stop

    @property
    def has_ended(self) -> bool:
        """Tell whether it was completed here, or lost to the server."""
        return self._ended.is_set()

    async def report(self, values: Mapping[str, float], *, step: int | None = None) -> bool:
        """Report values of metrics; durable on return.

        Args:
            values: By metric name; the objective is one of them, at most 40.
            step: Resource spent so far, such as epochs, from 1; values of a step that the server
                knows already are passed over. Absent: one more than the last.

        Returns:
            Whether the trial is to be completed now, with what it has.

        Raises:
            AlreadyCompleted: The trial has ended.
            Conflict: The lease was lost; ask for another trial.
            ValueError: The step is below 1.
        """
        if step is not None and step < 1:
            raise ValueError(f"step is {step}; count what was spent from 1")
        step = self._last_step + 1 if step is None else step
        await self._report(values, step=step)
        self._last_step = max(self._last_step, step)
        return self._should_stop

    async def complete(
        self,
        value: float | None = None,
        *,
        failed: str | None = None,
        infeasible: str | None = None,
    ) -> None:
        """End the trial; durable on return. Give exactly one of the three.

        Args:
            value: The objective. One that is not finite is none: the trial counts as worse than
                any.
            failed: Why the trial failed, in words.
            infeasible: Why these hyperparameters can't be evaluated, in words; that is no failure
                of the tuning job's.

        Raises:
            AlreadyCompleted: The trial has ended before, in another way than by this call.
            Conflict: The lease was lost, and with it this result.
            TypeError: Not exactly one of the three was given.
        """
        if sum(each is not None for each in (value, failed, infeasible)) != 1:
            raise TypeError("complete takes exactly one of value, failed and infeasible")
        request = pb.CompleteTrialRequest(training_job_name=self.name, lease_token=self._token)
        if value is not None:
            request.value = value
        elif failed is not None:
            request.failed = failed[:_REASON_LENGTH]
        elif infeasible is not None:
            request.infeasible = infeasible[:_REASON_LENGTH]
        try:
            await self._caller.change(self._caller.suggestions.CompleteTrial, request, patient=True)
        except (AlreadyCompleted, Conflict):
            self._end()
            raise
        self._end()

    async def keep(self) -> None:
        """Renew the lease until the trial has ended."""
        pause_s = min(_RENEWAL_S, self._lease_s / _RENEWALS)
        while not self.has_ended:
            try:
                async with asyncio.timeout(pause_s):
                    await self._ended.wait()
            except TimeoutError:
                await self._renew()

    async def _renew(self) -> None:
        try:
            await self._report({}, step=0)
        except (AlreadyCompleted, Conflict) as error:
            logger.warning("%s", error)
        except TunesmithError as error:
            logger.warning("%s: its lease could not be renewed: %s", self.name, error)

    async def _report(self, values: Mapping[str, float], *, step: int) -> None:
        request = pb.ReportMetricsRequest(
            training_job_name=self.name,
            lease_token=self._token,
            step=step,
            values={name: float(value) for name, value in values.items()},
        )
        try:
            # A repeat has the same step, and so is not taken in twice.
            answer = await self._caller.read(
                self._caller.suggestions.ReportMetrics, request, patient=True
            )
        except (AlreadyCompleted, Conflict):
            self._should_stop = True
            self._end()
            raise
        self._should_stop = answer.should_stop

    def _end(self) -> None:
        self._ended.set()
        self._on_end()


class AsyncTrials:
    """Ask for a tuning job's trials until it has ended: an asynchronous iterator.

    Several tasks may iterate over the same object; each trial goes to one of them. A trial is asked
    for when there is room for it: when fewer than ``workers`` are open here.
    """

    def __init__(
        self, caller: Caller, job_name: str, *, workers: int = 1, client_id: str | None = None
    ) -> None:
        """Make the iterator; nothing is asked for before the first iteration.

        Args:
            caller: Of the server.
            job_name: The tuning job.
            workers: At most so many trials are open here at a time.
            client_id: Of this process; absent: one that no other has. A process that comes back
                under the same one goes on with the trials that it had.

        Raises:
            ValueError: There is to be less than one worker.
        """
        if workers < 1:
            raise ValueError(f"workers is {workers}; it must be at least 1")
        self._caller = caller
        self._job_name = job_name
        self._workers = workers
        self._client_id = client_id or _new_client_id()
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._open: dict[str, AsyncJobTrial] = {}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncJobTrial:
        async with self._turn:
            while True:
                await self._wait_for_room()
                answer = await self._ask()
                for suggested in answer.trials:
                    if suggested.training_job_name not in self._open:
                        return self._take(suggested)
                if answer.hyper_parameter_tuning_job_status != _IN_PROGRESS:
                    raise StopAsyncIteration
                await asyncio.sleep(_PAUSE_S)

    async def _wait_for_room(self) -> None:
        while True:
            self._room.clear()
            self._open = {name: each for name, each in self._open.items() if not each.has_ended}
            if len(self._open) < self._workers:
                return
            await self._room.wait()

    async def _ask(self) -> pb.SuggestResponse:
        # A trial that is to stop does not count at the server.
        count = sum(not each.should_stop for each in self._open.values()) + 1
        request = pb.SuggestRequest(
            hyper_parameter_tuning_job_name=self._job_name, client_id=self._client_id, count=count
        )
        wait_s = min(_WAIT_S, _WAIT_SHARE * self._caller.deadline_s)
        request.max_wait.FromTimedelta(timedelta(seconds=wait_s))
        # A repeat is answered with the same trials.
        suggest = self._caller.suggestions.Suggest
        for _ in range(_SLOW_ASKS):
            try:
                return await self._caller.read(suggest, request, patient=True)
            except DeadlineExceeded as error:
                logger.warning("%s: no suggestion yet: %s", self._job_name, error)
        return await self._caller.read(suggest, request, patient=True)

    def _take(self, suggested: pb.SuggestedTrial) -> AsyncJobTrial:
        trial = AsyncJobTrial(self._caller, suggested, on_end=self._room.set)
        self._open[trial.name] = trial
        self._caller.start(trial.keep())
        return trial


def _new_client_id() -> str:
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def _value(parameter: pb.TypedParameter) -> Value:
    match parameter.WhichOneof("value"):
        case "double_value":
            return parameter.double_value
        case "int64_value":
            return parameter.int64_value
        case _:
            return parameter.string_value
