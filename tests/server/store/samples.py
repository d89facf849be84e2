"""Tuning jobs and training jobs to store, and how to write the commits that store them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from tunesmith.v1 import event_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.effects import Durable, SaveMeasurement, SaveTrial
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.states import (
    STATUS_OF,
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import (
    FailureKind,
    Lease,
    Measurement,
    StatusTransition,
    Trial,
    launch,
)
from tunesmith_server.domain.tuning_job import Closing, Counters, TuningJob
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict
from tunesmith_server.store.store import Commit, NewJob, Store, StoredJob

NOW = datetime(2026, 11, 24, 9, 30, 0, 123456, tzinfo=UTC)
ACCOUNT = Account()


def new_job(
    name: str,
    *,
    created_at: datetime = NOW,
    tags: Mapping[str, str] | None = None,
    request_id: str | None = None,
    seed: int = 7,
    events: Sequence[event_pb2.WatchHyperParameterTuningJobResponse] = (),
    asked: pb.CreateHyperParameterTuningJobRequest | None = None,
) -> NewJob:
    request = pb.CreateHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name)
    request.hyper_parameter_tuning_job_config.resource_limits.max_parallel_training_jobs = 3
    return NewJob(
        request=request,
        arn=ACCOUNT.tuning_job_arn(name),
        seed=seed,
        created_at=created_at,
        tags=tags or {},
        request_id=request_id,
        events=events,
        asked=asked,
    )


def new_trial(name: str, index: int = 1, *, created_at: datetime = NOW) -> Trial:
    return launch(
        name=name,
        index=index,
        definition_name=None,
        parameters={"learning_rate": str(index), "batch": "32"},
        now=created_at,
    )


def ended_trial(trial: Trial, *, objective: float | None, at: datetime) -> Trial:
    """Give a trial as it is after it completed."""
    known = ObjectiveStatus.FAILED if objective is None else ObjectiveStatus.SUCCEEDED
    return replace(
        trial,
        secondary_status=SecondaryStatus.COMPLETED,
        objective_status=known,
        objective_value=objective,
        modified_at=at,
        ended_at=at,
    )


def about(line: str) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Give an event that can be told from others."""
    return event_pb2.WatchHyperParameterTuningJobResponse(log=event_pb2.LogWritten(lines=[line]))


def about_each_kind() -> Sequence[event_pb2.WatchHyperParameterTuningJobResponse]:
    """Give one event of each kind, in the order of the kinds' numbers."""
    event = event_pb2.WatchHyperParameterTuningJobResponse
    return (
        event(tuning_job=event_pb2.TuningJobChanged()),
        event(training_job=event_pb2.TrainingJobChanged()),
        event(metric=event_pb2.MetricEmitted(step=1)),
        about("line"),
    )


def kinds_of(events: Sequence[event_pb2.WatchHyperParameterTuningJobResponse]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def lines(events: Sequence[event_pb2.WatchHyperParameterTuningJobResponse]) -> list[str]:
    return [event.log.lines[0] for event in events]


def measured(trial_name: str, sequence: int, value: float, *, metric: str = "loss") -> Durable:
    return SaveMeasurement(
        trial_name=trial_name,
        lease_token=1,
        sequence=sequence,
        metric_name=metric,
        value=value,
        step=sequence,
        measured_at=NOW + timedelta(microseconds=sequence),
    )


def changed(stored: StoredJob, *durable: Durable, request_id: str | None = None) -> Commit:
    """Give the change that brings a tuning job as it was read to its next version."""
    job = replace(stored.job, version=stored.job.version + 1)
    return Commit(job=job, durable=durable, request_id=request_id)


async def with_trials(store: Store, name: str, trials: Sequence[Trial]) -> StoredJob:
    """Store a tuning job with training jobs, and read it back."""
    stored = await store.create_job(new_job(name))
    await store.commit(changed(stored, *(SaveTrial(trial=trial, is_new=True) for trial in trials)))
    return await existing(store, name)


async def existing(store: Store, name: str) -> StoredJob:
    """Read a tuning job that must exist."""
    stored = await store.job(name)
    assert stored is not None
    return stored


async def outcomes(*calls: object) -> list[object]:
    """Await all calls at once and give results and errors alike."""
    return list(await asyncio.gather(*calls, return_exceptions=True))  # type: ignore[call-overload]


# --- strategies ------------------------------------------------------------------------------

times = st.datetimes(
    min_value=datetime(1999, 1, 1),  # noqa: DTZ001 - the strategy adds the time zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
).map(lambda at: at.replace(fold=0))  # without a meaning in UTC, and not kept
texts = st.text(max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
_transitions = st.builds(
    StatusTransition,
    status=st.sampled_from(SecondaryStatus),
    started_at=times,
    ended_at=st.none() | times,
    message=texts,
)
_latest = st.builds(Measurement, value=st.floats(), step=st.integers(1, 10**9), measured_at=times)
_verdicts = st.builds(
    StoppingVerdict,
    rule=st.sampled_from(StoppingRule),
    resource=st.integers(1, 10**9),
    value=st.floats(),
    rung=st.none() | st.integers(1, 20),
    rank=st.none() | st.integers(1, 10**6),
    entries=st.none() | st.integers(1, 10**6),
    threshold=st.none() | st.floats(),
)


@st.composite
def trials(draw: st.DrawFn, *, name: str, index: int) -> Trial:
    """Draw a training job in any state that the domain allows."""
    status = draw(st.sampled_from(SecondaryStatus))
    ended = STATUS_OF[status].is_terminal
    failed = STATUS_OF[status] is TrainingJobStatus.FAILED
    objective = draw(st.none() | finite) if ended and not failed else None
    token = draw(st.integers(0, 1000))
    lease = Lease(token=token, runner_name=draw(texts), instance_id=draw(texts))
    known = ObjectiveStatus.FAILED if ended else ObjectiveStatus.PENDING
    return Trial(
        name=name,
        index=index,
        definition_name=draw(st.none() | texts),
        parameters=draw(st.dictionaries(texts, texts, max_size=4)),
        secondary_status=status,
        objective_status=ObjectiveStatus.SUCCEEDED if objective is not None else known,
        created_at=draw(times),
        modified_at=draw(times),
        transitions=tuple(draw(st.lists(_transitions, min_size=1, max_size=4))),
        training_started_at=draw(st.none() | times),
        ended_at=draw(times) if ended else None,
        lease=None if ended else draw(st.none() | st.just(lease)),
        lease_token=token,
        reported_sequence=draw(st.integers(0, 2**40)),
        stop_requested=draw(st.booleans()),
        metrics=draw(st.dictionaries(texts, _latest, max_size=4)),
        objective_value=objective,
        failure_kind=draw(st.sampled_from(FailureKind)) if failed else None,
        failure_reason=draw(texts) if failed else None,
        model_artifacts_uri=draw(texts),
        objective_failure_reason=draw(st.none() | texts) if ended else None,
        verdict=draw(st.none() | _verdicts),
        pause_requested=draw(st.booleans()),
    )


_counts = st.integers(0, 10**6)


@st.composite
def tuning_jobs(draw: st.DrawFn, *, before: TuningJob) -> TuningJob:
    """Draw a tuning job's next state, as far as it does not depend on training jobs."""
    status = draw(st.sampled_from(TuningJobStatus))
    ends = st.sampled_from([one for one in TuningJobStatus if one.is_terminal])
    return replace(
        before,
        status=status,
        modified_at=draw(times),
        launched=draw(_counts),
        exhausted=draw(st.booleans()),
        closing=draw(st.none() | st.builds(Closing, status=ends, reason=st.none() | texts)),
        counters=draw(
            st.builds(
                Counters,
                completed=_counts,
                stopped=_counts,
                retryable_error=_counts,
                non_retryable_error=_counts,
                objective_succeeded=_counts,
                objective_failed=_counts,
            )
        ),
        ended_at=draw(times) if status.is_terminal else None,
        failure_reason=draw(texts) if status is TuningJobStatus.FAILED else None,
        version=before.version + 1,
    )


_numbers = itertools.count(1)


def fresh_name(prefix: str = "job") -> str:
    """Give a name that no other example of a test has used."""
    return f"{prefix}-{next(_numbers)}"
