"""Spread configurations evenly: scrambled Sobol points, the centre first, none twice.

A start for the optimiser, and what it suggests while it has no surrogate. The points are
uniform in the unit cube, so each parameter follows its declared scaling; Owen's scrambling keeps
their even spread and makes seeds differ.

Source: Owen 1998, "Scrambling Sobol' and Niederreiter-Xing points"; the generator is scipy's.
"""

import numpy as np

from tunesmith_core.designs.design import check_index
from tunesmith_core.designs.random import RandomDesign
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.randomness import Stream, keyed_generator
from tunesmith_core.space.encoding import from_unit
from tunesmith_core.space.ranges import Configuration, ParameterValue, SearchSpace

BLOCK = 64
"""Points drawn at a time: a power of two, which keeps the points balanced."""

MAX_BARREN_BLOCKS = 4
"""So many blocks in a row without anything new, and the random design says what is left."""


class QuasiRandomDesign:
    """Suggest evenly spread configurations without repeats; a pure function of (space, seed, k).

    Not safe for use from several threads at once.

    Args:
        space: What to spread over.
        seed: From 0 to 2**63 - 1.

    Raises:
        ValueError: The seed is out of range.
    """

    __slots__ = ("_drawn", "_rest", "_rest_index", "_seen", "_sobol", "_space")

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._drawn: list[dict[str, ParameterValue]] = []
        self._seen: set[tuple[ParameterValue, ...]] = set()
        self._rest = RandomDesign(space, seed)
        self._rest_index = 0
        self._sobol = None
        if space.dimensions:
            # Imported here: it takes most of a second, and a restarted job may never need it.
            from scipy.stats import qmc

            # scipy spawns generators of its own, which one made from a key cannot do.
            key = keyed_generator(seed, 0, Stream.QUASI_RANDOM_DESIGN).integers(2**63)
            rng = np.random.default_rng(int(key))
            self._sobol = qmc.Sobol(space.dimensions, scramble=True, rng=rng)
            self._take(from_unit(space, np.full((1, space.dimensions), 0.5)))

    def configuration(self, k: int, /) -> Configuration:
        """Give suggestion number k, from 0; the first k are drawn and kept where they must be.

        Raises:
            SpaceExhausted: The space has no more than k configurations.
            ValueError: k is below 0.

        Cost: d draws for each index up to ``k``, once.
        """
        check_index(k)
        barren = 0
        while len(self._drawn) <= k:
            before = len(self._drawn)
            if self._sobol is None or barren == MAX_BARREN_BLOCKS:
                self._sobol = None
                self._take_rest()
                continue
            self._take(from_unit(self._space, self._sobol.random(BLOCK)))
            barren = barren + 1 if len(self._drawn) == before else 0
        return self._drawn[k]

    def _take(self, configurations: list[dict[str, ParameterValue]]) -> None:
        for configuration in configurations:
            row = tuple(configuration.values())
            if row not in self._seen:
                self._seen.add(row)
                self._drawn.append(configuration)

    def _take_rest(self) -> None:
        try:
            configuration = self._rest.configuration(self._rest_index)
        except SpaceExhausted:
            raise SpaceExhausted(len(self._drawn)) from None
        self._rest_index += 1
        self._take([dict(configuration)])
