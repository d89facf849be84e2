"""Compile kernels: the one place that says how.

Kernels are loops over arrays and scalars that allocate nothing, hold no lock and raise nothing.
They are compiled when they are first called, and kept on disk where that can be written to; `warmup`
calls each one before anybody waits for it. Importing a module of kernels imports numba, which takes seconds: only
`gp.backends` does, when it is asked for them.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core import types
from numba.extending import intrinsic

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

REASSOCIATED = frozenset({"reassoc", "contract"})
"""For kernels whose sums may be added up in another order: a few eps, and four lanes at a time.

NaN, infinities and signed zeros keep their meaning: `nnan`, `ninf` and `nsz` are never used.
"""


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel without changing what its arithmetic means."""
    return _compiled(function, fastmath=False)


def reassociating_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel whose sums may be reordered; an accuracy test has to cover it."""
    return _compiled(function, fastmath=set(REASSOCIATED))


def _compiled(function: Callable[P, R], *, fastmath: bool | set[str]) -> Callable[P, R]:
    compiled: Callable[P, R]
    try:
        compiled = numba.njit(cache=True, nogil=True, fastmath=fastmath)(function)
    except RuntimeError as error:  # numba finds no directory that it can write to
        if "no locator available" not in str(error):
            raise
        _say_once()
        compiled = numba.njit(nogil=True, fastmath=fastmath)(function)
    return compiled


@functools.cache
def _say_once() -> None:
    logger.warning(
        "compiled code can't be kept on disk, and will be compiled anew by each process, which takes "
        "some seconds; name a directory that can be written to in NUMBA_CACHE_DIR"
    )


@intrinsic
def _bits_of(typing_context: Any, x: Any) -> Any:  # noqa: ARG001 - numba's signature

    def generate(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        from llvmlite import ir

        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _float_of(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001 - numba's signature

    def generate(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        from llvmlite import ir

        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


bits_of = cast("Callable[[float], int]", _bits_of)
"""Read a float64 as the int64 of the same bits, within a kernel."""

float_of = cast("Callable[[int], float]", _float_of)
"""Read an int64 as the float64 of the same bits, within a kernel."""
