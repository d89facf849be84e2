"""Draw configurations at random, each parameter by its declared scaling, and none twice.

Both ways of drawing below give the same law: draw independently, drop what was drawn before.

- A small finite space is put in random order once. Independent exponential clocks, one for each
  configuration with its probability as the rate, ring in the order in which weighted draws with
  rejection of repeats would first meet them, so sorting the clocks replaces the rejections, of
  which there would be many near exhaustion.
  Source: Efraimidis & Spirakis 2006, "Weighted random sampling with a reservoir",
  Information Processing Letters 97(5); their key u^(1/w) is exp(-E/w) with E exponential.
- Any other space is drawn from in numbered blocks, each with a generator of its own; repeats are
  dropped. What was drawn is kept, so that the next suggestion is cheap, and is the same when
  another process draws it again.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.designs.design import check_index
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.randomness import Stream, check_seed, keyed_generator
from tunesmith_core.space.encoding import decode
from tunesmith_core.space.enumeration import configuration_at, masses
from tunesmith_core.space.ranges import (
    Configuration,
    Integer,
    Parameter,
    ParameterValue,
    Scaling,
    SearchSpace,
)

ENUMERATION_LIMIT = 2**16
"""Finite spaces up to this many configurations are put in order; it takes some 10 ms there."""

BLOCK = 128
"""Draws in a block. Part of what a seed means: another size gives other suggestions."""

MAX_BARREN_BLOCKS = 512
"""So many blocks in a row without anything new (2**16 draws) mean that nothing new is left.

Wrong with a chance below 1e-28 while a thousandth of the probability is still undrawn. It happens
where a continuous range holds a handful of floats, or at the end of a large finite space.
"""


_Row: TypeAlias = tuple[ParameterValue, ...]


class RandomDesign:
    """Suggest random configurations without repeats; a pure function of (space, seed, k).

    Not safe for use from several threads at once.

    Args:
        space: What to draw from.
        seed: From 0 to 2**63 - 1.

    Raises:
        ValueError: The seed is out of range.
    """

    __slots__ = ("_blocks", "_drawn", "_order", "_seed", "_seen", "_space")

    def __init__(self, space: SearchSpace, seed: int) -> None:
        check_seed(seed)
        self._space = space
        self._seed = seed
        cardinality = space.cardinality
        enumerable = cardinality is not None and cardinality <= ENUMERATION_LIMIT
        self._order = _random_order(space, seed) if enumerable else None
        self._blocks = 0
        self._drawn: list[_Row] = []
        self._seen: set[_Row] = set()

    def configuration(self, k: int, /) -> Configuration:
        """Give suggestion number k, from 0; the first k are drawn and kept where they must be.

        Raises:
            SpaceExhausted: The space has no more than k configurations.
            ValueError: k is below 0.

        Cost: d draws for each index up to ``k``, once.
        """
        check_index(k)
        if self._order is not None:
            if k >= len(self._order):
                raise SpaceExhausted(len(self._order))
            return configuration_at(self._space, int(self._order[k]))
        self._draw_until(k + 1)
        return dict(zip(self._space.names, self._drawn[k], strict=True))

    def _draw_until(self, count: int) -> None:
        barren = 0
        while len(self._drawn) < count:
            before = len(self._drawn)
            for row in _block(self._space, self._seed, self._blocks):
                if row not in self._seen:
                    self._seen.add(row)
                    self._drawn.append(row)
            self._blocks += 1
            barren = barren + 1 if len(self._drawn) == before else 0
            if barren == MAX_BARREN_BLOCKS:
                raise SpaceExhausted(len(self._drawn))


def _random_order(space: SearchSpace, seed: int) -> NDArray[np.intp]:
    """Number the configurations in the order in which weighted draws first meet them."""
    rates = masses(space)
    rng = keyed_generator(seed, 0, Stream.ENUMERATION_ORDER)
    return np.argsort(rng.standard_exponential(len(rates)) / rates, kind="stable")


def _block(space: SearchSpace, seed: int, number: int) -> list[_Row]:
    """Draw one block of independent configurations, repeats included."""
    rng = keyed_generator(seed, number, Stream.RANDOM_DESIGN)
    columns = [_draw(parameter, rng) for parameter in space.parameters]
    return list(zip(*columns, strict=True))


def _draw(parameter: Parameter, rng: np.random.Generator) -> list[ParameterValue]:
    match parameter:
        case Integer(lo=lo, hi=hi, scaling=Scaling.AUTO | Scaling.LINEAR):
            # A float64 has 53 random bits: too few for each of 2**64 values to be as likely.
            whole: list[ParameterValue] = rng.integers(lo, hi, BLOCK, endpoint=True).tolist()
            return whole
        case _:
            return decode(parameter, rng.random(BLOCK))
