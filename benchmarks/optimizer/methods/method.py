"""Say what a method is to the benchmark, and do once what every peer's adapter needs.

A method is asked for a configuration and told its value; less is better. Several may be asked for
before the first is told. A configuration that was never asked for may be told, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from benchmarks.optimizer.space import Configuration, Parameter, Scaling, Value, key


class Method(Protocol):
    """Propose configurations and learn what they were worth."""

    def ask(self) -> dict[str, Value]:
        """Propose a configuration; what was asked for and not told is pending."""

    def tell(self, configuration: Configuration, value: float) -> None:
        """Learn a configuration's value."""


class Peer(ABC):
    """Adapt a library: remember its own handle of each pending configuration.

    No peer knows ReverseLogarithmic ranges. They are given 1 - x on a logarithmic one instead, so
    that no method has an advantage by what it can express.

    Args:
        space: What is searched.
        seed: Of everything random.
        evaluations: How many there will be, for those that plan ahead.
    """

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        self.space = tuple(_mirror(parameter) for parameter in space)
        self.seed = seed
        self.evaluations = evaluations
        self._mirrored = frozenset(parameter.name for parameter in space if parameter.mirrored)
        self._pending: list[tuple[tuple[Value, ...], object]] = []

    def ask(self) -> dict[str, Value]:
        """Propose a configuration; what was asked for and not told is pending."""
        configuration, handle = self.suggest()
        self._pending.append((key(self.space, configuration), handle))
        return self._flip(configuration)

    def tell(self, configuration: Configuration, value: float) -> None:
        """Learn a configuration's value."""
        seen = self._flip(configuration)
        told = key(self.space, seen)
        for index, (pending, handle) in enumerate(self._pending):
            # Flipped twice, a number may be an ulp off.
            if pending == told or (self._mirrored and _close(pending, told)):
                del self._pending[index]
                self.observe(seen, handle, value)
                return
        self.observe(seen, None, value)

    @abstractmethod
    def suggest(self) -> tuple[dict[str, Value], object]:
        """Propose a configuration, with the library's handle of it, which is not None."""

    @abstractmethod
    def observe(self, configuration: Configuration, handle: object, value: float) -> None:
        """Pass a value on; without a handle the library did not propose the configuration."""

    def _flip(self, configuration: Configuration) -> dict[str, Value]:
        return {
            name: 1 - float(value) if name in self._mirrored else value
            for name, value in configuration.items()
        }


def _mirror(parameter: Parameter) -> Parameter:
    if not parameter.mirrored:
        return parameter
    lo, hi = 1 - parameter.hi, 1 - parameter.lo
    return replace(parameter, lo=lo, hi=hi, scaling=Scaling.LOGARITHMIC)


def _close(a: tuple[Value, ...], b: tuple[Value, ...]) -> bool:
    return all(
        x == y or (isinstance(x, float) and isinstance(y, float) and abs(x - y) < 1e-12)  # noqa: PLR2004 - ulps of 1
        for x, y in zip(a, b, strict=True)
    )
