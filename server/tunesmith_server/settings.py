"""The site configuration: ``tunesmith.toml`` and the command line, checked and made plain.

``docs/configuration.md`` describes every setting. With no file, everything has a default that
lets a laptop with no GPU, no containers and no S3 run a real job. Whether the data directory and
the address can be used is found out by the server when it starts.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from os.path import normpath
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tunesmith_server.address_settings import DEFAULT_GRPC, DEFAULT_HTTP, grpc_fault, http_fault
from tunesmith_server.bucket_settings import BucketSection, S3Section, directories, reached
from tunesmith_server.domain.addresses import Address, parse_address
from tunesmith_server.domain.instance_types import InstanceProfile
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import (
    Algorithm,
    MetricDefinition,
    Quotas,
    Site,
    algorithm_name_fault,
    bucket_name_fault,
    metric_regex_fault,
)
from tunesmith_server.engine.fleet import FleetSettings
from tunesmith_server.hyperparameter_settings import HyperparameterSection, repeated_name
from tunesmith_server.settings_problems import path_of, problem, shown

_GIB: Final = 2**30
_MOST: Final = 2**31 - 1  # what the protocol's counts can hold
_YEAR_S: Final = 31_536_000


class SettingsError(Exception):
    """Say all that is wrong with the configuration and what would be right; mend it, and restart.

    Attributes:
        problems: One line for each.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def _checked(fault: Callable[[str], str | None]) -> AfterValidator:
    """Refuse the texts in which ``fault`` finds one."""

    def check(text: str) -> str:
        if (wrong := fault(text)) is not None:
            raise ValueError(wrong)
        return text

    return AfterValidator(check)


def _text_fault(text: str) -> str | None:
    return "leave out U+0000, which no program or path can be given" if "\0" in text else None


def _variable_fault(name: str) -> str | None:
    if name and "=" not in name:
        return _text_fault(name)
    return "a variable has a name, without ="


def _matches(pattern: str, right: str) -> AfterValidator:
    return _checked(lambda text: None if re.fullmatch(pattern, text) else f"write {right}")


def _regex_fault(regex: str) -> str | None:
    fault = metric_regex_fault(regex)
    return fault and f"write it in the syntax of RE2, which metrics are searched with: {fault}"


def _named_once(sections: list[HyperparameterSection]) -> list[HyperparameterSection]:
    if (name := repeated_name(sections)) is not None:
        raise ValueError(f"name each hyperparameter once: {shown(name)} is there twice")
    return sections


_DEVICE_FORM: Final = "auto, cpu, gpu or gpu:NUMBER"
_KEY_FORM: Final = "16 to 128 letters, digits and punctuation marks, without spaces"
_Text: TypeAlias = Annotated[str, _checked(_text_fault)]
_Count: TypeAlias = Annotated[int, Field(ge=1, le=_MOST)]
_Seconds: TypeAlias = Annotated[float, Field(gt=0, le=_YEAR_S)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ServerSection(_Section):
    """``[server]``: where the server listens and keeps its data."""

    grpc: Annotated[str, _checked(grpc_fault)] = DEFAULT_GRPC
    http: Annotated[str, _checked(http_fault)] = DEFAULT_HTTP
    data_dir: _Text | None = None
    runner: bool = True
    allow_inline_commands: bool | None = None
    file_roots: list[Annotated[str, Field(min_length=1), _checked(_text_fault)]] | None = None
    compute_workers: Annotated[int, Field(ge=1, le=256)] = min(2, os.cpu_count() or 1)
    compute_device: Annotated[str, _matches(r"auto|cpu|gpu(:\d{1,3})?", _DEVICE_FORM)] = "auto"
    compute_memory_gib: Annotated[float, Field(gt=0, le=_MOST)] = 8.0


class AccessKeySection(_Section):
    """``[access_keys.NAME]``: who may call over HTTP from other hosts."""

    secret_access_key: Annotated[str, _matches(r"[!-~]{16,128}", _KEY_FORM)]


class AccountSection(_Section):
    """``[account]``: region and account id of every ARN."""

    region: Annotated[str, _matches(r"[a-z0-9-]+", "small letters, digits and hyphens")] = "local"
    account_id: Annotated[str, _matches("[0-9]{12}", "12 digits")] = "000000000000"


class LimitsSection(_Section):
    """``[limits]``: the most that one tuning job may ask for."""

    max_training_jobs: _Count = 10_000
    max_parallel_training_jobs: _Count = 1_000


class QuotasSection(_Section):
    """``[quotas]``: the most that all tuning jobs together may have at a time."""

    tuning_jobs: _Count | None = None
    parallel_training_jobs: _Count | None = None


class RunnersSection(_Section):
    """``[runners]``: how patient the server is with runners, and what its own one offers."""

    lease_s: _Seconds = 60.0
    heartbeat_s: _Seconds = 5.0
    stop_grace_s: Annotated[float, Field(ge=0, le=_YEAR_S)] = 120.0
    slots: _Count | None = None


class MetricSection(_Section):
    """``[[algorithms.NAME.metric_definitions]]``: as MetricDefinitions in a request."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    regex: Annotated[str, Field(min_length=1, max_length=500), _checked(_regex_fault)]


class AlgorithmSection(_Section):
    """``[algorithms.NAME]``: what AlgorithmName NAME runs."""

    command: Annotated[list[_Text], Field(min_length=1)]
    metric_definitions: list[MetricSection] = []
    environment: dict[Annotated[str, _checked(_variable_fault)], _Text] = {}
    environment_names: list[Annotated[str, _checked(_variable_fault)]] = []
    hyperparameters: Annotated[list[HyperparameterSection], AfterValidator(_named_once)] = []


class ImageSection(_Section):
    """``[images."repo:tag"]``: what stands in for a TrainingImage."""

    algorithm: str | None = None
    python: Annotated[str, Field(min_length=1), _checked(_text_fault)] | None = None


class InstanceTypeSection(_Section):
    """``[instance_types."NAME"]``: a profile of the site's own."""

    vcpus: _Count
    memory_gib: Annotated[float, Field(gt=0, le=_MOST)]
    gpus: Annotated[int, Field(ge=0, le=_MOST)] = 0


class SiteFile(_Section):
    """The whole of ``tunesmith.toml``."""

    server: ServerSection = ServerSection()
    account: AccountSection = AccountSection()
    access_keys: dict[
        Annotated[str, _matches(r"[A-Za-z0-9_]{3,128}", "3 to 128 letters, digits and _")],
        AccessKeySection,
    ] = {}
    limits: LimitsSection = LimitsSection()
    quotas: QuotasSection = QuotasSection()
    runners: RunnersSection = RunnersSection()
    algorithms: dict[Annotated[str, _checked(algorithm_name_fault)], AlgorithmSection] = {}
    images: dict[str, ImageSection] = {}
    buckets: dict[Annotated[str, _checked(bucket_name_fault)], BucketSection] = {}
    s3: S3Section = S3Section()
    instance_types: dict[str, InstanceTypeSection] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Hold what the server is started with.

    Attributes:
        grpc: ``HOST:PORT`` to serve gRPC on; port 0 picks a free one.
        http: The same for HTTP.
        access_keys: Secrets of those who may call over HTTP, by access key id; none: nobody is
            asked who they are, which a loopback address alone allows.
        data_dir: Where everything that must last is kept.
        runner: Whether an embedded runner is started.
        runner_slots: Its slots; None: as many as it has CPUs.
        buckets: Its directories that stand for buckets, by name.
        s3: How it reaches buckets over the network, by name; ``*`` for all others.
        account: Whose ARNs the resources have.
        site: What is registered on this site.
        fleet: How patient the server is with runners.
        stop_grace: Between SIGTERM and SIGKILL of a trial.
        compute_workers: How many processes compute suggestions.
        compute_device: Where: ``auto``, ``cpu``, ``gpu`` or ``gpu:NUMBER``.
        compute_memory_bytes: The most of a GPU's memory that their arrays take, all of them together.
    """

    grpc: str
    http: Address
    access_keys: Mapping[str, str] = field(repr=False)
    data_dir: Path
    runner: bool
    runner_slots: int | None
    buckets: Mapping[str, Path]
    s3: Mapping[str, Mapping[str, str]]
    account: Account
    site: Site
    fleet: FleetSettings
    stop_grace: timedelta
    compute_workers: int
    compute_device: str
    compute_memory_bytes: int


def load_settings(
    config: Path | None = None,
    *,
    data_dir: Path | None = None,
    grpc: str | None = None,
    http: str | None = None,
    runner: bool = True,
) -> ServerSettings:
    """Read the site configuration; what the command line says goes first.

    Args:
        config: The TOML file; None: all defaults.
        data_dir: Overrides ``[server] data_dir``.
        grpc: Overrides ``[server] grpc``.
        http: Overrides ``[server] http``.
        runner: False overrides ``[server] runner``.

    Raises:
        SettingsError: The file can't be read, or a value in it is wrong; all wrong values are named.
    """
    problems = [
        f"--{option} is {shown(address)}; {fault}"
        for option, address, find in (("grpc", grpc, grpc_fault), ("http", http, http_fault))
        if address is not None and (fault := find(address)) is not None
    ]
    file, wrong = _site_file({} if config is None else _read(config))
    problems += [f"{config}: {each}" for each in wrong]
    if file is None or problems:
        raise SettingsError(*problems)
    http_address = _http_address(file, http)
    folder = Path.cwd() if config is None else config.resolve().parent
    default_dir = Path(platformdirs.user_data_dir("tunesmith", appauthor=False))
    chosen_dir = folder / (file.server.data_dir or default_dir)
    return ServerSettings(
        grpc=file.server.grpc if grpc is None else grpc,
        http=http_address,
        access_keys={name: key.secret_access_key for name, key in file.access_keys.items()},
        data_dir=(chosen_dir if data_dir is None else data_dir).resolve(),
        runner=runner and file.server.runner,
        runner_slots=file.runners.slots,
        buckets=directories(file.buckets, folder),
        # An empty section opens all buckets; one that is not there opens none.
        s3=reached(file.buckets, file.s3 if "s3" in file.model_fields_set else None),
        account=Account(region=file.account.region, account_id=file.account.account_id),
        site=_site(file, folder, is_private=http_address.is_loopback),
        fleet=FleetSettings(
            lease=timedelta(seconds=file.runners.lease_s),
            heartbeat=timedelta(seconds=file.runners.heartbeat_s),
        ),
        stop_grace=timedelta(seconds=file.runners.stop_grace_s),
        compute_workers=file.server.compute_workers,
        compute_device=file.server.compute_device,
        compute_memory_bytes=int(file.server.compute_memory_gib * _GIB),
    )


def _read(config: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror or error}") from None
    except ValueError as error:
        raise SettingsError(f"{config} is not TOML: {error}") from None


def _site_file(raw: Mapping[str, object]) -> tuple[SiteFile | None, list[str]]:
    """Check a whole file, and list all that is wrong with it; None if it has no usable form."""
    unregistered = list(_unregistered(raw))
    try:
        return SiteFile.model_validate(raw), unregistered
    except ValidationError as error:
        return None, [
            *(problem(each, SiteFile) for each in error.errors(include_url=False)),
            *unregistered,
        ]


def _unregistered(raw: Mapping[str, object]) -> Iterator[str]:
    """Find the images for which nothing, or no algorithm of the file, stands, in a file that may be wrong in other ways."""
    algorithms, images = raw.get("algorithms", {}), raw.get("images", {})
    if not isinstance(algorithms, dict) or not isinstance(images, dict):
        return
    known = f"it has {', '.join(sorted(algorithms))}" if algorithms else "it has none yet"
    for image, section in images.items():
        name = section.get("algorithm") if isinstance(section, dict) else None
        if isinstance(name, str) and name not in algorithms:
            setting = path_of(("images", image, "algorithm"))
            yield f"{setting} is {shown(name)}; name an algorithm of this file: {known}"
        if section == {}:
            yield f"{path_of(('images', image))} is empty; name its algorithm, or a python for scripts"


def _http_address(file: SiteFile, option: str | None) -> Address:
    """Give the address for HTTP, which others may reach only if it is known who they are.

    Raises:
        SettingsError: They may, and there are no access keys.
    """
    text = file.server.http if option is None else option
    address = parse_address(text)
    if address is None:  # it was checked
        raise AssertionError(text)
    if not address.is_loopback and not file.access_keys:
        where = "server.http" if option is None else "--http"
        raise SettingsError(
            f"{where} is {shown(text)}, which other hosts can reach, and no access key says who "
            "may call; add an [access_keys.NAME] with its secret_access_key to the site "
            f"configuration, or write 127.0.0.1, localhost or [::1] before :{address.port}"
        )
    return address


def _site(file: SiteFile, folder: Path, *, is_private: bool) -> Site:
    """Make the site.

    Args:
        file: Its configuration.
        folder: Where relative paths begin.
        is_private: Whether only this host reaches the server.
    """
    inline, roots = file.server.allow_inline_commands, file.server.file_roots
    if roots is None and not is_private:
        roots = []
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
                environment_names=tuple(section.environment_names),
                hyperparameters={each.name: each.read() for each in section.hyperparameters},
            )
            for name, section in file.algorithms.items()
        },
        images={
            image: section.algorithm
            for image, section in file.images.items()
            if section.algorithm is not None
        },
        pythons={
            image: _resolved(section.python, folder)
            for image, section in file.images.items()
            if section.python is not None
        },
        instance_types=own,
        # Who may call is not who may run whatever they like here, unless the site says so.
        allow_inline_commands=is_private if inline is None else inline,
        # Nor who may read and write whatever the runner's user may.
        file_roots=None if roots is None else tuple(normpath(folder / root) for root in roots),
        max_training_jobs=file.limits.max_training_jobs,
        max_parallel_training_jobs=file.limits.max_parallel_training_jobs,
        quotas=Quotas(
            tuning_jobs=file.quotas.tuning_jobs,
            parallel_training_jobs=file.quotas.parallel_training_jobs,
        ),
    )


def _resolved(word: str, folder: Path) -> str:
    """Take a word that begins with ``./`` as a path beside the configuration file."""
    return str(folder / word) if word.startswith("./") else word
