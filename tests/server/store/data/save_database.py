"""Save a small database of the schema that this checkout writes.

Run once for each version of the schema, before the next migration is written, and commit the file:
``python tests/server/store/data/save_database.py`` (with the packages installed, from the root).
A file that exists is never overwritten: it stands for what users of that release have.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tunesmith.v1 import event_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.states import ObjectiveStatus, SecondaryStatus, TuningJobStatus
from tunesmith_server.domain.trial import FailureKind, Measurement, Trial, launch
from tunesmith_server.domain.tuning_job import Counters
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict
from tunesmith_server.store.migrate import load_migrations
from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import Commit, NewJob, StoredJob

_AT = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


async def write(path: Path) -> None:
    """Write one tuning job under way, one that has ended and a deleted one."""
    store = await SqliteStore.open(path)
    running = await _create(store, "Running", tags={"team": "vision"})
    waiting = _trial("Running-001-0123abcd")
    await store.commit(_next(running, fx.SaveTrial(trial=waiting, is_new=True), launched=1))

    ended = await _create(store, "ended")
    failed, best = _failed(_trial("ended-001-0123abcd")), _best(_trial("ended-002-0123abcd", 2))
    measured = fx.SaveMeasurement(
        trial_name=best.name,
        lease_token=1,
        sequence=1,
        metric_name="loss",
        value=float("nan"),
        step=1,
        measured_at=_AT,
    )
    commit = _next(
        ended,
        fx.SaveTrial(trial=failed, is_new=True),
        fx.SaveTrial(trial=best, is_new=True),
        measured,
        replace(measured, sequence=2, step=2, value=0.25),
        fx.Announce(message=_line("done"), trial_name=best.name),
        launched=2,
    )
    job = replace(
        commit.job,
        status=TuningJobStatus.COMPLETED,
        ended_at=_AT,
        best=best,
        counters=Counters(
            completed=1, non_retryable_error=1, objective_succeeded=1, objective_failed=1
        ),
    )
    await store.commit(replace(commit, job=job, request_id="request-2"))

    deleted = await _create(store, "deleted")
    await store.delete_job(deleted.job.job_id, deleted_at=_AT)
    await store.close()


async def _create(
    store: SqliteStore, name: str, *, tags: dict[str, str] | None = None
) -> StoredJob:
    new = NewJob(
        request=pb.CreateHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name),
        arn=Account().tuning_job_arn(name),
        seed=42,
        created_at=_AT,
        tags=tags or {},
        request_id=f"create-{name}",
        events=[_line("created")],
    )
    return await store.create_job(new)


def _next(stored: StoredJob, *durable: fx.Durable, launched: int) -> Commit:
    job = replace(stored.job, version=stored.job.version + 1, launched=launched)
    return Commit(job=job, durable=durable)


def _trial(name: str, index: int = 1) -> Trial:
    parameters = {"learning_rate": "0.1", "optimiser": "größer"}
    return launch(name=name, index=index, definition_name="main", parameters=parameters, now=_AT)


def _failed(trial: Trial) -> Trial:
    return replace(
        trial,
        secondary_status=SecondaryStatus.FAILED,
        objective_status=ObjectiveStatus.FAILED,
        ended_at=_AT,
        failure_kind=FailureKind.NON_RETRYABLE,
        failure_reason="AlgorithmError: exit code 1",
        objective_failure_reason="It was never found.\nLast lines:\n  größer",
        stop_requested=True,
        verdict=StoppingVerdict(
            rule=StoppingRule.HALVING,
            resource=3,
            value=float("nan"),
            rung=1,
            rank=2,
            entries=2,
            threshold=0.25,
        ),
    )


def _best(trial: Trial) -> Trial:
    return replace(
        trial,
        secondary_status=SecondaryStatus.COMPLETED,
        objective_status=ObjectiveStatus.SUCCEEDED,
        objective_value=0.25,
        metrics={"loss": Measurement(value=0.25, step=2, measured_at=_AT)},
        training_started_at=_AT - timedelta(seconds=9),
        ended_at=_AT,
        lease_token=1,
        reported_sequence=7,
        model_artifacts_uri="file:///models/model.tar.gz",
    )


def _line(text: str) -> event_pb2.WatchHyperParameterTuningJobResponse:
    return event_pb2.WatchHyperParameterTuningJobResponse(log=event_pb2.LogWritten(lines=[text]))


if __name__ == "__main__":
    target = Path(__file__).with_name(f"version_{len(load_migrations())}.sqlite3")
    if target.exists():
        sys.exit(f"{target} exists; saved databases stay as they are")
    asyncio.run(write(target))
    Path(f"{target}.lock").unlink()
