"""A device that computes nothing, on the CPU: what is left of an ask's time is the orchestration's."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import numpy as np

from tunesmith_core.gpu.device import Argument
from tunesmith_core.space.scaling import F64


class _Array(np.ndarray[Any, Any]):
    """An array that is brought to the CPU as CuPy's are."""

    def get(self) -> F64:
        """Give what it holds."""
        return np.asarray(self)


def _placed(array: F64) -> _Array:
    return np.asarray(array).view(_Array)


class BlankDevice:
    """Implement `tunesmith_core.gpu.device.Device`: every array is zeros, and every matrix has a factor."""

    name = "nothing"

    def __init__(self) -> None:
        # As little work as there can be: zeros are the operating system's, and nothing is copied.
        self.xp: Any = SimpleNamespace(
            asarray=_placed,
            array=_placed,
            ascontiguousarray=lambda array: array,
            empty=lambda shape: _placed(np.zeros(shape)),
            zeros=lambda shape: _placed(np.zeros(shape)),
        )

    def active(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, *arguments: Argument
    ) -> None:
        """Do nothing."""

    def multiply(self, a: F64, b: F64, out: F64, *, alpha: float = 1.0, beta: float = 0.0) -> None:
        """Do nothing."""

    def cholesky(self, k: F64) -> bool:
        """Do nothing."""
        return bool(len(k))

    def factor_each(self, k: F64) -> F64:
        """Do nothing."""
        return _placed(np.zeros(len(k)))

    def invert_each(self, factor: F64, out: F64) -> None:
        """Do nothing."""

    def views(self, array: F64, shape: tuple[int, ...], strides: tuple[int, ...]) -> F64:
        """Refuse to look at an array in another way: nothing on the way through a batch does.

        Raises:
            NotImplementedError: Always; the batch has changed, and this device has to be told how.
        """
        raise NotImplementedError("a batch takes no views")

    def free(self) -> None:
        """Do nothing."""
