"""The GPU that is measured: its names, its speed in plain products and copies, and how calls are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunesmith_core.devices import DEFAULT_MEMORY_BYTES
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.gpu.cupy_device import CupyDevice
from tunesmith_core.gpu.device import Device

WARM_UPS = 2
PRODUCT = 8192
"""Rows of the matrices whose product says how fast the card multiplies."""

COPIED = 2**27
"""Numbers of float64 whose copy says how fast its memory is: 1 GiB, read and written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Hold a device with what there is to know of it.

    Attributes:
        backend: Computes on it.
        device: The same, below the backend.
        names: What stands in the results: card, driver, versions.
        synchronise: Waits until all that was launched is done.
        used_bytes: Tells how much memory arrays hold, the pool's spare included.
        free: Has the pool give back its spare.
    """

    backend: GpuBackend
    device: Device
    names: dict[str, str]
    synchronise: Callable[[], object]
    used_bytes: Callable[[], int]
    free: Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Hold what the card reached in this run, which floors are made of.

    Attributes:
        product: Flops a second in a product of large matrices.
        plain: Flops a second outside tensor cores: half of that, as data sheets have it for H100 and H200.
        memory: Bytes a second, reads and writes together.
        launch_s: A launch that does next to nothing, and the wait for it.
    """

    product: float
    plain: float
    memory: float
    launch_s: float

    def floor_s(self, *, product: float = 0.0, plain: float = 0.0, moved: float = 0.0) -> float:
        """Give the least time for so many flops in products, others, and bytes moved."""
        return product / self.product + max(plain / self.plain, moved / self.memory)


@dataclass(slots=True)
class Watch:
    """Time calls, within a budget.

    Attributes:
        synchronise: Waits for the device.
        longest_s: Repeats of one measurement end after so long.
        least: Repeats at least, after the warm-up.
        most: Repeats at most.
    """

    synchronise: Callable[[], object]
    longest_s: float = 4.0
    least: int = 3
    most: int = 20
    taken: dict[str, list[float]] = field(default_factory=dict)

    def median_s(
        self,
        name: str,
        call: Callable[[], object],
        *,
        before: Callable[[], object] = lambda: None,
    ) -> float:
        """Call it some times, and give the median; all times are kept under the name.

        What comes before each call is not timed.
        """
        for _ in range(WARM_UPS):
            before()
            call()
        self.synchronise()
        seconds: list[float] = []
        while len(seconds) < self.most and (
            len(seconds) < self.least or sum(seconds) < self.longest_s
        ):
            before()
            began = time.perf_counter()
            call()
            self.synchronise()
            seconds.append(time.perf_counter() - began)
        self.taken[name] = seconds
        return statistics.median(seconds)


DATA_SHEET = Speed(product=67e12, plain=34e12, memory=4.8e12, launch_s=5e-6)
"""What an H200 is said to reach, for when this could not be measured.

Source: NVIDIA (2024), "H200 Tensor Core GPU", data sheet.
"""


def open_card(index: int) -> Card:
    """Open a GPU.

    Raises:
        DeviceError: It can't be used.
    """
    device = CupyDevice(index, memory_bytes=DEFAULT_MEMORY_BYTES)
    cupy: Any = device.xp
    runtime = cupy.cuda.runtime
    driver, version = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    return Card(
        backend=GpuBackend(device),
        device=device,
        names={
            "card": device.name,
            "driver": f"CUDA {driver // 1000}.{driver % 1000 // 10}",
            "runtime": f"CUDA {version // 1000}.{version % 1000 // 10}",
            "CuPy": cupy.__version__,
        },
        synchronise=cupy.cuda.Device(index).synchronize,
        used_bytes=device.used_bytes,
        free=device.free,
    )


def speed_of(card: Card, watch: Watch, *, product: int = PRODUCT, copied: int = COPIED) -> Speed:
    """Measure what floors are made of."""
    xp = card.backend.xp
    rate = 2 * product**3 / _product_s(card, watch, product)
    source, target = xp.ones(copied), xp.empty(copied)

    def copy() -> None:
        target[...] = source

    copy_s = watch.median_s("copy", copy)
    small = xp.eye(8)
    launch_s = watch.median_s("launch", lambda: card.backend.column_squares(small))
    return Speed(product=rate, plain=rate / 2, memory=16 * copied / copy_s, launch_s=launch_s)


def _product_s(card: Card, watch: Watch, n: int) -> float:
    xp = card.backend.xp
    # Not all the same: a card takes less power for that, and clocks higher.
    a = xp.asarray(np.random.default_rng(0).standard_normal((n, n)))
    out = xp.empty((n, n))
    return watch.median_s("product", lambda: card.device.multiply(a, a, out))
