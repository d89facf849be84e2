"""The site configuration: ``tunesmith.toml`` and the command line, checked and made plain.

``docs/configuration.md`` describes every setting. With no file, everything has a default that
lets a laptop with no GPU, no containers and no S3 run a real job.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith_server.domain.instance_types import InstanceProfile
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Algorithm, MetricDefinition, Site
from tunesmith_server.engine.fleet import FleetSettings

DEFAULT_GRPC: Final = "127.0.0.1:7070"

_GIB: Final = 2**30


class SettingsError(Exception):
    """Say what is wrong with the configuration and what would be right."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSection(_Section):
    """``[server]``: where the server listens and keeps its data."""

    grpc: str = DEFAULT_GRPC
    data_dir: Path | None = None
    runner: bool = True
    allow_inline_commands: bool = True


class AccountSection(_Section):
    """``[account]``: region and account id of every ARN."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9\-]+$")] = "local"
    account_id: Annotated[str, Field(pattern=r"^[0-9]{12}$")] = "000000000000"


class LimitsSection(_Section):
    """``[limits]``: the most that one tuning job may ask for."""

    max_training_jobs: Annotated[int, Field(ge=1, le=2**31 - 1)] = 10_000
    max_parallel_training_jobs: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1_000


class RunnersSection(_Section):
    """``[runners]``: how patient the server is with runners, and what its own one offers."""

    lease_s: Annotated[float, Field(gt=0)] = 60.0
    heartbeat_s: Annotated[float, Field(gt=0)] = 5.0
    stop_grace_s: Annotated[float, Field(ge=0)] = 120.0
    slots: Annotated[int, Field(ge=1)] | None = None


class MetricSection(_Section):
    """``[[algorithms.NAME.metric_definitions]]``: as MetricDefinitions in a request."""

    name: str
    regex: str


class AlgorithmSection(_Section):
    """``[algorithms.NAME]``: what AlgorithmName NAME runs."""

    command: Annotated[list[str], Field(min_length=1)]
    metric_definitions: list[MetricSection] = []
    environment: dict[str, str] = {}


class ImageSection(_Section):
    """``[images."repo:tag"]``: the algorithm that stands in for a TrainingImage."""

    algorithm: str


class InstanceTypeSection(_Section):
    """``[instance_types."NAME"]``: a profile of the site's own."""

    vcpus: Annotated[int, Field(ge=1)]
    memory_gib: Annotated[float, Field(gt=0)]
    gpus: Annotated[int, Field(ge=0)] = 0


class SiteFile(_Section):
    """The whole of ``tunesmith.toml``."""

    server: ServerSection = ServerSection()
    account: AccountSection = AccountSection()
    limits: LimitsSection = LimitsSection()
    runners: RunnersSection = RunnersSection()
    algorithms: dict[str, AlgorithmSection] = {}
    images: dict[str, ImageSection] = {}
    instance_types: dict[str, InstanceTypeSection] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Hold what the server is started with.

    Attributes:
        grpc: ``HOST:PORT`` to listen on; port 0 picks a free one.
        data_dir: Where everything that must last is kept.
        runner: Whether an embedded runner is started.
        runner_slots: Its slots; None: as many as it has CPUs.
        account: Whose ARNs the resources have.
        site: What is registered on this site.
        fleet: How patient the server is with runners.
        stop_grace: Between SIGTERM and SIGKILL of a trial.
    """

    grpc: str
    data_dir: Path
    runner: bool
    runner_slots: int | None
    account: Account
    site: Site
    fleet: FleetSettings
    stop_grace: timedelta


def load_settings(
    config: Path | None = None,
    *,
    data_dir: Path | None = None,
    grpc: str | None = None,
    runner: bool = True,
) -> ServerSettings:
    """Read the site configuration; what the command line says goes first.

    Args:
        config: The TOML file; None: all defaults.
        data_dir: Overrides ``[server] data_dir``.
        grpc: Overrides ``[server] grpc``.
        runner: False overrides ``[server] runner``.

    Raises:
        SettingsError: The file can't be read, or a value in it is wrong; all wrong values are named.
    """
    file = _read(config) if config is not None else SiteFile()
    folder = Path.cwd() if config is None else config.resolve().parent
    address = grpc or file.server.grpc
    check_address(address)
    default_dir = Path(platformdirs.user_data_dir("tunesmith", appauthor=False))
    chosen_dir = data_dir or file.server.data_dir or default_dir
    return ServerSettings(
        grpc=address,
        data_dir=(folder / chosen_dir if data_dir is None else chosen_dir).resolve(),
        runner=runner and file.server.runner,
        runner_slots=file.runners.slots,
        account=Account(region=file.account.region, account_id=file.account.account_id),
        site=_site(file, folder),
        fleet=FleetSettings(
            lease=timedelta(seconds=file.runners.lease_s),
            heartbeat=timedelta(seconds=file.runners.heartbeat_s),
        ),
        stop_grace=timedelta(seconds=file.runners.stop_grace_s),
    )


def check_address(address: str) -> None:
    """Refuse an address that is malformed or can be reached from other hosts.

    Raises:
        SettingsError: Not HOST:PORT, or not a loopback address.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the last port
        raise SettingsError(f"{address!r} is not HOST:PORT, e.g. {DEFAULT_GRPC}.")
    if not _is_loopback(host.strip("[]")):
        raise SettingsError(
            f"{address}: this release listens on loopback addresses only (127.0.0.1, localhost, "
            f"[::1]), because it has neither TLS nor tokens yet."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(config: Path) -> SiteFile:
    try:
        return SiteFile.model_validate(tomllib.loads(config.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config} is not TOML: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"{config}: {wrong}") from None


def _site(file: SiteFile, folder: Path) -> Site:
    own: Mapping[str, InstanceProfile] = {
        name: InstanceProfile(
            vcpus=section.vcpus, memory_bytes=int(section.memory_gib * _GIB), gpus=section.gpus
        )
        for name, section in file.instance_types.items()
    }
    return Site(
        algorithms={
            name: Algorithm(
                name=name,
                command=tuple(_resolved(word, folder) for word in section.command),
                metric_definitions=tuple(
                    MetricDefinition(name=metric.name, regex=metric.regex)
                    for metric in section.metric_definitions
                ),
                environment=section.environment,
            )
            for name, section in file.algorithms.items()
        },
        images={image: section.algorithm for image, section in file.images.items()},
        instance_types=own,
        allow_inline_commands=file.server.allow_inline_commands,
        max_training_jobs=file.limits.max_training_jobs,
        max_parallel_training_jobs=file.limits.max_parallel_training_jobs,
    )


def _resolved(word: str, folder: Path) -> str:
    """Take a word that begins with ``./`` as a path beside the configuration file."""
    return str(folder / word) if word.startswith("./") else word
