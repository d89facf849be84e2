"""The composition root: the only place that builds the server's objects and wires them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from tunesmith.v1 import (
    runner_service_pb2,
    runner_service_pb2_grpc,
    suggestion_service_pb2,
    suggestion_service_pb2_grpc,
    tuning_service_pb2,
    tuning_service_pb2_grpc,
)
from tunesmith_server.domain.addresses import Address
from tunesmith_server.domain.validation import warm_up
from tunesmith_server.engine.assignments import Assigner
from tunesmith_server.engine.callers import Callers
from tunesmith_server.engine.compute import Compute, worker_command
from tunesmith_server.engine.consultations import Consultations
from tunesmith_server.engine.embedded_runner import EmbeddedRunner
from tunesmith_server.engine.fan_out import FanOut
from tunesmith_server.engine.fleet import Fleet
from tunesmith_server.engine.jobs import Jobs
from tunesmith_server.engine.leases import Leases
from tunesmith_server.engine.watch import Watch
from tunesmith_server.http.front import AwsJsonFront
from tunesmith_server.http.serving import serving
from tunesmith_server.operations.messages import Messages
from tunesmith_server.operations.tuning import TuningOperations
from tunesmith_server.private_files import is_open_to_others, make_private
from tunesmith_server.services.interceptors import ErrorInterceptor
from tunesmith_server.services.runner import RunnerService
from tunesmith_server.services.suggestion import SuggestionService
from tunesmith_server.services.tuning import TuningService
from tunesmith_server.settings import ServerSettings, SettingsError
from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import Store

logger = logging.getLogger(__name__)

#: Calls under way at shutdown have this long to end.
_SHUTDOWN_GRACE_S: Final = 2.0
#: Concurrent calls beyond this are answered RESOURCE_EXHAUSTED at once.
_MAX_CONCURRENT_CALLS: Final = 10_000
#: What gRPC reads of one message: more than a request may have, which is then refused in words.
_RECEIVED_BYTES: Final = 64 * 2**20
#: What gRPC reads of a call's metadata.
_METADATA_BYTES: Final = 64 * 2**10

_SERVICES: Final = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (tuning_service_pb2, "TuningService"),
        (suggestion_service_pb2, "SuggestionService"),
        (runner_service_pb2, "RunnerService"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Say where a server serves, each with the port that was bound.

    Attributes:
        grpc: ``HOST:PORT``.
        http: ``HOST:PORT``.
    """

    grpc: str
    http: str


async def run_server(
    settings: ServerSettings, *, stop: asyncio.Event, on_ready: Callable[[Served], None]
) -> None:
    """Serve until ``stop`` is set, then stop in good order.

    Args:
        settings: What to serve and where.
        stop: Ends the server: the embedded runner gives its trials back, calls end, the store
            is closed.
        on_ready: Called once calls are answered.

    Raises:
        SettingsError: An address can't be listened on.
        StoreInUse: Another server uses the data directory.
    """
    _make_private(settings.data_dir)
    warm_up()
    store = await SqliteStore.open(settings.data_dir / "tunesmith.db")
    losing = asyncio.create_task(_end_without(store))
    try:
        fleet = Fleet(
            assigner=Assigner(site=settings.site, stop_grace=settings.stop_grace, clock=_now),
            settings=settings.fleet,
        )
        leases = Leases(stop_grace=settings.stop_grace)
        fan_out = FanOut()
        compute = Compute(
            workers=settings.compute_workers,
            command=worker_command(
                device=settings.compute_device,
                memory_bytes=settings.compute_memory_bytes // settings.compute_workers,
            ),
        )
        jobs = Jobs(
            store=store,
            fleet=fleet,
            leases=leases,
            fan_out=fan_out,
            compute=compute,
            clock=_now,
            account=settings.account,
            site=settings.site,
        )
        async with contextlib.AsyncExitStack() as running:
            await running.enter_async_context(_task(fleet.run()))
            await running.enter_async_context(_task(leases.run()))
            recovered = asyncio.Event()
            await running.enter_async_context(_task(jobs.run(recovered)))
            await recovered.wait()
            callers = Callers(jobs=jobs, leases=leases, store=store)
            operations = TuningOperations(
                jobs=jobs,
                store=store,
                messages=Messages(account=settings.account, site=settings.site),
                site=settings.site,
                clock=_now,
                draw_seed=_draw_seed,
            )
            server = _build(
                settings,
                operations=operations,
                store=store,
                fleet=fleet,
                fan_out=fan_out,
                jobs=jobs,
                callers=callers,
                compute=compute,
            )
            front = AwsJsonFront(
                operations=operations, access_keys=settings.access_keys, clock=_now
            )
            address = await running.enter_async_context(_serving(server, settings.grpc))
            http = await running.enter_async_context(_serving_http(front, settings.http))
            if settings.runner:
                address_file = settings.data_dir / "server-address"
                _write_address(address_file, address)
                runner = EmbeddedRunner(
                    data_dir=settings.data_dir / "runner",
                    address_file=address_file,
                    slots=settings.runner_slots,
                    stop_grace_s=settings.stop_grace.total_seconds(),
                    buckets=settings.buckets,
                    file_roots=settings.site.file_roots,
                    s3=settings.s3,
                )
                await running.enter_async_context(_task(runner.run()))
            # Last, so that nobody waits for the compiler: until it is warm there is much without.
            await running.enter_async_context(_task(compute.run()))
            on_ready(Served(grpc=address, http=str(http)))
            await stop.wait()
            logger.info("stopping")
    finally:
        losing.cancel()
        await store.close()


async def _end_without(store: SqliteStore) -> None:
    """End at once, as if killed, when nothing can be made durable any more.

    Ending in good order would stop trials, which the next server can go on with.
    """
    await store.lost.wait()
    logging.shutdown()
    os._exit(os.EX_IOERR)


def _build(
    settings: ServerSettings,
    *,
    operations: TuningOperations,
    store: Store,
    fleet: Fleet,
    fan_out: FanOut,
    jobs: Jobs,
    callers: Callers,
    compute: Compute,
) -> grpc.aio.Server:
    """Make the gRPC server with all services."""
    server = grpc.aio.server(
        interceptors=[ErrorInterceptor()],
        maximum_concurrent_rpcs=_MAX_CONCURRENT_CALLS,
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", _RECEIVED_BYTES),
            ("grpc.max_metadata_size", _METADATA_BYTES),
        ],
    )
    watch = Watch(store=store, fan_out=fan_out, is_open=jobs.is_open)
    tuning = TuningService(operations=operations, jobs=jobs, watch=watch)
    silence_s = 3 * settings.fleet.heartbeat.total_seconds()
    runner = RunnerService(fleet=fleet, jobs=jobs, silence_s=silence_s)
    tuning_service_pb2_grpc.add_TuningServiceServicer_to_server(tuning, server)
    runner_service_pb2_grpc.add_RunnerServiceServicer_to_server(runner, server)
    suggestion_service_pb2_grpc.add_SuggestionServiceServicer_to_server(
        SuggestionService(
            callers=callers, consultations=Consultations(compute), draw_seed=_draw_seed
        ),
        server,
    )
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    names = (*_SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
    return server


@contextlib.asynccontextmanager
async def _serving(server: grpc.aio.Server, address: str) -> AsyncIterator[str]:
    """Listen and serve within the block; gives the address with the port that was bound."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise _not_listened(address)
    await server.start()
    host = address.rpartition(":")[0]
    try:
        yield f"{host}:{port}"
    finally:
        await server.stop(_SHUTDOWN_GRACE_S)


@contextlib.asynccontextmanager
async def _serving_http(front: AwsJsonFront, address: Address) -> AsyncIterator[Address]:
    """Listen and serve within the block; gives the address with the port that was bound."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            bound = await stack.enter_async_context(serving(front.app(), address))
        except OSError:
            raise _not_listened(str(address)) from None
        yield bound


def _not_listened(address: str) -> SettingsError:
    return SettingsError(
        f"{address} can't be listened on: it is in use, or not of this host. Name another one, "
        "with --grpc or --http, or in the site configuration."
    )


@contextlib.asynccontextmanager
async def _task(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine beside the block; its failure ends the block, the block's end cancels it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        try:
            yield
        finally:
            task.cancel()


def _make_private(data_dir: Path) -> None:
    """Make the data directory, for its owner alone: requests and logs may hold secrets.

    Raises:
        SettingsError: It can't be made or used.
    """
    try:
        make_private(data_dir)
    except OSError as error:
        raise SettingsError(
            f"The data directory {data_dir} can't be made: {error.strerror}. "
            f"Name another one with --data-dir."
        ) from None
    if is_open_to_others(data_dir):
        logger.warning(
            "everybody on this host may look into the data directory %s, where requests and logs "
            "are: chmod 700 it",
            data_dir,
        )


def _write_address(file: Path, address: str) -> None:
    """Put the address where runners look for it, whole or not at all."""
    fresh = file.with_suffix(".new")
    fresh.write_text(address, encoding="utf-8")
    os.replace(fresh, file)  # noqa: PTH105 - Path.replace is the same call, and reads worse here


def _now() -> datetime:
    return datetime.now(UTC)


def _draw_seed() -> int:
    return secrets.randbelow(2**31)
