"""What a runner is told at its start: where the server is, what it may use, and its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tunesmith.runner.s3_client import S3Endpoint

_NAME_MAX: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLimits:
    """Bound what a runner holds in memory and how long it waits.

    Attributes:
        unacknowledged_reports: Reports of one trial kept for sending again; above it, the
            trial's output is not read until the server has acknowledged some.
        unacknowledged_bytes: The same, by size on the wire.
        flush_s: A line of output waits this long for others to travel with.
        flush_lines: Lines in one report of output, at most.
        disk_check_s: Between two measurements of a trial's directory.
        checkpoint_s: Between two looks for checkpoints to store.
        exec_s: Between starting a trial's process and its program running.
        end_of_output_s: From the end of a trial's process group to the end of its pipe,
            which a process that left the group may hold open.
        transfer_s: Copying a trial's channels, or packing and storing its model and output, in all.
        reading_patience_s: With an S3 that is away, while data are fetched or checkpoints stored:
            within it each request is made again.
        storing_patience_s: The same while a model and output are stored.
        backoff_min_s: First pause before connecting anew; doubles.
        backoff_max_s: Longest pause before connecting anew.
        welcome_s: Until a server has answered a hello.
        farewell_s: At the end, until the server has acknowledged the last reports.
        drain_s: At the end, beyond a trial's grace, until it has ended.
    """

    unacknowledged_reports: int = 2_000
    unacknowledged_bytes: int = 8 * 1024 * 1024
    flush_s: float = 0.05
    flush_lines: int = 200
    disk_check_s: float = 5.0
    checkpoint_s: float = 10.0
    exec_s: float = 30.0
    end_of_output_s: float = 1.0
    transfer_s: float = 6 * 3600.0
    reading_patience_s: float = 120.0
    storing_patience_s: float = 600.0
    backoff_min_s: float = 0.05
    backoff_max_s: float = 1.0
    welcome_s: float = 10.0
    farewell_s: float = 5.0
    drain_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """Say where a runner finds its server and what it offers.

    Attributes:
        server: ``HOST:PORT``, or the path of a file that holds it and is read before every
            attempt to connect, because a restarted server may have another port.
        data_dir: Where trials run; one runner at a time uses it.
        name: For people and logs, 1 to 255 characters.
        slots: How many trials run at a time, at least 1.
        gpus: Which GPUs trials may use, as indices or UUIDs; empty: none. ``None``: those
            in the runner's own ``CUDA_VISIBLE_DEVICES`` if that is set, else all.
        labels: For placement.
        buckets: By a bucket's name the absolute directory that stands for it, or how it is reached
            over the network; ``*`` for those without an entry. Others are not reached.
        file_roots: The absolute directories below which ``file://`` URIs may lead, links resolved.
            ``None``: they may lead anywhere.
        exit_when_orphaned_s: End after this long without a server, once no trial runs; what
            the server has not acknowledged by then is lost. ``None``: wait for ever.
        limits: Bounds, seldom changed.
    """

    server: str | Path
    data_dir: Path
    name: str
    slots: int
    gpus: tuple[str, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    buckets: Mapping[str, Path | S3Endpoint] = field(default_factory=dict)
    file_roots: tuple[Path, ...] | None = None
    exit_when_orphaned_s: float | None = None
    limits: RunnerLimits = field(default_factory=RunnerLimits)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: A value is out of its bounds.
        """
        if self.slots < 1:
            raise ValueError(f"slots is {self.slots}: a runner has at least 1")
        if not 1 <= len(self.name) <= _NAME_MAX:
            raise ValueError(f"name has {len(self.name)} characters: 1 to 255 are possible")
        if isinstance(self.server, str) and ":" not in self.server:
            raise ValueError(f"server is {self.server!r}: it should be HOST:PORT")
        for name, place in self.buckets.items():
            if isinstance(place, Path) and not place.is_absolute():
                raise ValueError(f"the bucket {name!r} is {place}: write an absolute path")
        for root in self.file_roots or ():
            if not root.is_absolute():
                raise ValueError(f"file_roots has {root}: write an absolute path")


def server_address(server: str | Path) -> str | None:
    """Find where the server is now.

    Returns:
        ``HOST:PORT``, or ``None`` when the file that should hold it is not there or empty.
    """
    if isinstance(server, str):
        return server
    try:
        return server.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
