"""Choose the device that a model is computed on, and go on with the CPU when a GPU fails.

    Devices("auto")     the GPU for models of many observations, if there is one that can be used
    Devices("cpu")      never
    Devices("gpu:1")    the second GPU, for every model

Which device a model is on follows from the choice and the number of its observations alone, so that
suggestions stay a function of the history; until a GPU fails. Then it is said once, the CPU goes on, and
nothing is lost: all that is on a device can be computed again.
"""

import contextlib
import functools
import logging
import re
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from tunesmith_core.gp.backends import Backend
from tunesmith_core.gpu.device import DeviceError

logger = logging.getLogger(__name__)

CROSSOVER = 200
"""With ``auto``, models of so many observations and more are on the GPU.

An estimate. Up to here the CPU's fits see all observations, in about 2 ms a likelihood, and beyond they leave some out; a GPU takes 1 to
1.5 ms, whatever n is: 40 launches and some transfers of 10 µs each, cuSOLVER's 0.2 ms and the fit's own 0.4 ms.
`benchmarks/gpu.py` measures it.
"""

DEFAULT_MEMORY_BYTES = 4 * 2**30
"""The most that arrays on a GPU take: enough for 10,000 observations, and trials have the rest."""

CHOICES = "auto, cpu, gpu or gpu:NUMBER"

_Open = Callable[[int, int | None], Backend]


class Holder(Protocol):
    """Hold memory of a device, which can be let go of."""

    def let_go(self) -> None:
        """Forget all that is on a device; it can be computed again."""
        ...


_holders: weakref.WeakKeyDictionary[Backend, weakref.WeakSet[Holder]] = weakref.WeakKeyDictionary()

_broken: weakref.WeakSet[Backend] = weakref.WeakSet()
"""GPUs that failed, and not for want of memory: after most errors of CUDA none of its calls works any more."""


class Devices:
    """Give the backend for each model.

    Args:
        choice: ``auto``, ``cpu``, ``gpu`` or ``gpu:NUMBER``, the first GPU being 0.
        memory_bytes: The most that arrays on the GPU may take, of all optimisers of this process.
        crossover: With ``auto``, the least number of observations for the GPU.
        open_gpu: Makes the backend of a GPU, by its number and the memory.

    Raises:
        ValueError: The choice is none of these, or the memory is not positive.
    """

    def __init__(
        self,
        choice: str = "auto",
        *,
        memory_bytes: int | None = DEFAULT_MEMORY_BYTES,
        crossover: int = CROSSOVER,
        open_gpu: _Open | None = None,
    ) -> None:
        form = re.fullmatch(r"(auto|cpu|gpu)|gpu:(\d{1,3})", choice)
        if form is None:
            raise ValueError(f"device is {choice!r}; it must be {CHOICES}")
        if memory_bytes is not None and memory_bytes <= 0:
            raise ValueError(f"memory_bytes is {memory_bytes}; it must be positive")
        self.choice = choice
        self._index, self._memory_bytes = int(form[2] or 0), memory_bytes
        self._least = {"auto": crossover, "cpu": None}.get(choice, 0)
        self._open = open_gpu or _open_gpu
        self._gpu: Backend | None = None
        self._left: Backend | None = None

    @property
    def uses_gpu(self) -> bool:
        """Tell whether some models are computed on a GPU, as far as is known by now."""
        return self._least is not None

    def backend(self, n: int) -> Backend:
        """Give the backend for a model of n observations."""
        if self._left is not None:
            left, self._left = self._left, None
            with contextlib.suppress(Exception):  # a GPU that works no more keeps it
                left.free()
        if self._least is None or n < self._least:
            return _cpu()
        if self._gpu is None:
            try:
                self._gpu = self._opened()
            except DeviceError as error:
                self._least = None
                # Who asked for a GPU by name has to know; who left it open may have none at all.
                level = logging.INFO if self.choice == "auto" else logging.WARNING
                logger.log(level, "suggestions are computed on the CPU: %s", error)
                return _cpu()
            logger.info(
                "models of %d observations and more are computed on %s, in at most %s of its memory",
                self._least,
                self._gpu.name,
                "all" if self._memory_bytes is None else f"{self._memory_bytes / 2**30:.3g} GiB",
            )
        return self._gpu

    def _opened(self) -> Backend:
        gpu = self._open(self._index, self._memory_bytes)
        if gpu in _broken:
            raise DeviceError(f"{gpu.name} failed earlier in this process; start it anew")
        return gpu

    def active(self, n: int) -> AbstractContextManager[None]:
        """Make ready for a model of n observations, and for smaller ones, within a ``with`` block."""
        return self.backend(n).active()

    def note(self, backend: Backend, holder: Holder) -> None:
        """Take note of who holds memory of a backend's device."""
        if backend is self._gpu:
            _holders.setdefault(backend, weakref.WeakSet()).add(holder)

    def may_go_on(self, error: Exception, *, is_first: bool) -> bool:
        """Tell whether what failed with an exception is to be done again.

        When a GPU is out of memory, all models on it are let go of, to be computed again when they are needed.
        When that has been done, or with any other failure of it, the CPU computes everything from then on.

        Args:
            error: What was raised.
            is_first: Whether it was done for the first time.

        Returns:
            False if the exception is none of a GPU's.
        """
        from tunesmith_core.gpu.cupy_device import is_from_cupy

        gpu = self._gpu
        if gpu is None or not (isinstance(error, DeviceError) or is_from_cupy(error)):
            return False
        holders = list(_holders.pop(gpu, ()))
        for holder in holders:
            holder.let_go()
        if is_first and isinstance(error, MemoryError):
            logger.info("%s: its memory is full; %d models are let go of", gpu.name, len(holders))
            return True
        logger.warning(
            "%s failed (%s: %s); the CPU goes on, with nothing lost",
            gpu.name,
            type(error).__name__,
            str(error).strip() or "no message",
        )
        if isinstance(error, MemoryError):
            # Later: until this exception is forgotten, what was computed is still there.
            self._left = gpu
        else:
            _broken.add(gpu)
        self._gpu, self._least = None, None
        return True


class OneBackend(Devices):
    """Compute every model by one backend."""

    def __init__(self, backend: Backend) -> None:
        super().__init__("cpu")
        self._backend = backend

    def backend(self, n: int) -> Backend:
        """Give the one."""
        del n
        return self._backend


@functools.cache
def _open_gpu(index: int, memory_bytes: int | None) -> Backend:
    """Open a GPU, once for all optimisers of the process: they share its memory's limit."""
    from tunesmith_core.gpu.backend import GpuBackend
    from tunesmith_core.gpu.cupy_device import INSTALL, CupyDevice

    device = CupyDevice(index, memory_bytes=memory_bytes)
    backend = GpuBackend(device)
    try:
        with device.active():
            backend.check()
    except DeviceError:
        raise
    except Exception as error:
        raise DeviceError(
            f"{device.name} can't be used ({type(error).__name__}: {error}); {INSTALL}"
        ) from error
    return backend


@functools.cache
def _cpu() -> Backend:
    # Imported here: numba takes seconds, and quasi-random suggestions do without.
    from tunesmith_core.gp.numba_backend import NumbaBackend

    return NumbaBackend()
