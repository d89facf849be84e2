"""GPUs of this host, found through NVML.

None is fine: every trouble with NVML means that there are none. A GPU is called by its index,
which every framework understands, and partitions (MIG) by their UUID, because they have nothing
else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pynvml

from tunesmith.runner.errors import UnknownGpu

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGpu:
    """Describe a GPU, or a partition of one.

    Attributes:
        device_id: What ``CUDA_VISIBLE_DEVICES`` calls it.
        uuid: Its other name there.
        product_name: For people.
        memory_bytes: Its memory.
    """

    device_id: str
    uuid: str
    product_name: str
    memory_bytes: int


def host_gpus() -> list[HostGpu]:
    """List the host's GPUs, in NVML's order; none when NVML is not there or fails."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _LOGGER.info("no GPUs: NVML says %s", error)
        return []
    try:
        return [
            gpu
            for index in range(pynvml.nvmlDeviceGetCount())
            for gpu in _gpus_at(index, pynvml.nvmlDeviceGetHandleByIndex(index))
        ]
    except pynvml.NVMLError as error:
        _LOGGER.warning("no GPUs are used, because NVML failed: %s", error)
        return []
    finally:
        pynvml.nvmlShutdown()


def choose_gpus(found: Sequence[HostGpu], wanted: Sequence[str] | None) -> list[HostGpu]:
    """Choose GPUs by index or UUID, in the order wanted; ``None``: all.

    Raises:
        UnknownGpu: One is not there.
    """
    if wanted is None:
        return list(found)
    by_id = {gpu.uuid: gpu for gpu in found} | {gpu.device_id: gpu for gpu in found}
    for name in wanted:
        if name not in by_id:
            there = ", ".join(sorted(by_id)) or "none"
            raise UnknownGpu(f"GPU {name!r} is not on this host; there are: {there}")
    return list(dict.fromkeys(by_id[name] for name in wanted))


def wanted_gpus(gpus: tuple[str, ...] | None, cuda_visible_devices: str | None) -> list[str] | None:
    """Say which GPUs a runner was given: by its settings, else by its own environment."""
    if gpus is not None:
        return list(gpus)
    if cuda_visible_devices is None:
        return None
    return [name.strip() for name in cuda_visible_devices.split(",") if name.strip()]


def _gpus_at(index: int, handle: object) -> Iterator[HostGpu]:
    partitions = list(_partitions(handle))
    if not partitions and _is_partitioned(handle):
        _LOGGER.warning("GPU %d is set up for partitions and has none: it is not used", index)
    elif not partitions:
        yield _described(handle, device_id=str(index))
    for partition in partitions:
        yield _described(partition, device_id=pynvml.nvmlDeviceGetUUID(partition))


def _described(handle: object, *, device_id: str) -> HostGpu:
    return HostGpu(
        device_id=device_id,
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        product_name=pynvml.nvmlDeviceGetName(handle),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _is_partitioned(handle: object) -> bool:
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:
        return False
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def _partitions(handle: object) -> Iterator[object]:
    if not _is_partitioned(handle):
        return
    for place in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except pynvml.NVMLError_NotFound:
            continue
