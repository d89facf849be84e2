"""Write to a database until killed, and print what was acknowledged: ``<tuning job> <number>``.

Run by ``test_durability.py`` as ``python committing_process.py <database> <prefix>``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tunesmith.v1 import event_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.effects import Announce, SaveTrial
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.trial import launch
from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import Commit, NewJob

WORKERS = 8


async def main(path: Path, prefix: str) -> None:
    store = await SqliteStore.open(path)
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(commit_for_ever(store, f"{prefix}-{number}"))


async def commit_for_ever(store: SqliteStore, name: str) -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    new = NewJob(
        request=pb.CreateHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name),
        arn=Account().tuning_job_arn(name),
        seed=0,
        created_at=now,
        tags={},
        request_id=name,
        events=(),
    )
    job = (await store.create_job(new)).job
    while True:
        acknowledge(name, job.version)
        job = replace(job, version=job.version + 1, launched=job.launched + 1)
        trial = launch(
            name=f"{name}-{job.version}",
            index=job.launched,
            definition_name=None,
            parameters={"x": str(job.version)},
            now=now,
        )
        message = event_pb2.WatchHyperParameterTuningJobResponse(
            log=event_pb2.LogWritten(lines=[str(job.version)])
        )
        durable = (
            SaveTrial(trial=trial, is_new=True),
            Announce(message=message, trial_name=trial.name),
        )
        await store.commit(Commit(job=job, durable=durable))


def acknowledge(name: str, number: int) -> None:
    os.write(sys.stdout.fileno(), f"{name} {number}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
