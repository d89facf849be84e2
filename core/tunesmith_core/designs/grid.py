"""Visit every combination of categorical values once, evenly from the first on.

A tuning job may end long before its grid does, so the order matters: in lexicographic order the
first parameter would keep its first value for most of the job. Here the grid is walked as a
lattice. With c_i values in parameter i, suggestion k sets

    digit_i = (a_i t + r_i) mod c_i,    t = k mod L,    L = lcm(c_1, ..., c_d)

where each step a_i has no factor in common with c_i, and r depends on k // L only. So a walk of L
steps is a coset of a cyclic group of order L in Z_c1 x ... x Z_cd; there are Q = N / L cosets, told
apart by r_i in [0, gcd(lcm(c_1, ..., c_(i-1)), c_i)), and they are visited in golden-ratio steps.

- Each combination comes exactly once.
- c_i divides L, so every c_i suggestions, counted from the start, hold each value of parameter i
  once: after any number of suggestions two values of one parameter differ by at most one in use.
- The a_i / c_i are near the fractional parts of the roots of primes, and a_i of one size differ
  (in more than the sign) while they can, so that values listed by size are seldom walked in that
  order, or two parameters along a diagonal.
  Source: Richtmyer 1951, "The evaluation of definite integrals, and a quasi-Monte-Carlo method
  based on the properties of algebraic numbers".

SageMaker promises every distinct combination, evenly, the same in two runs; it documents no order.
"""

import math
from collections import Counter

from tunesmith_core.designs.design import check_index
from tunesmith_core.errors import SpaceError, SpaceExhausted
from tunesmith_core.space.ranges import Categorical, Configuration, SearchSpace

GOLDEN_64 = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: exact for counts too large for a float."""


class GridDesign:
    """Suggest every combination of a categorical space once, in one fixed order.

    Costs memory for the values alone, however many combinations there are.

    Args:
        space: Categorical parameters only.
        seed: Taken so that all designs are made alike; the order does not depend on it.

    Raises:
        SpaceError: A parameter is not categorical.
    """

    __slots__ = ("_coset_radices", "_coset_step", "_cosets", "_parameters", "_steps", "_walk")

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:  # noqa: ARG002 - see Args
        self._parameters = tuple(_categorical(space))
        sizes = [len(parameter.values) for parameter in self._parameters]
        self._steps = _steps(sizes)
        self._walk = 1
        self._coset_radices: list[int] = []
        for size in sizes:
            self._coset_radices.append(math.gcd(self._walk, size))
            self._walk = math.lcm(self._walk, size)
        self._cosets = math.prod(self._coset_radices)
        self._coset_step = _nearest_unit(self._cosets * GOLDEN_64 >> 64, self._cosets)

    def __len__(self) -> int:
        """Give the number of combinations; `SearchSpace.cardinality` also where it tops 2**63."""
        return self._walk * self._cosets

    def configuration(self, k: int, /) -> Configuration:
        """Give combination number k, from 0.

        Raises:
            SpaceExhausted: There are no more than k combinations.
            ValueError: k is below 0.

        Cost: constant.
        """
        check_index(k)
        if k >= self._walk * self._cosets:
            raise SpaceExhausted(self._walk * self._cosets)
        lap, t = divmod(k, self._walk)
        coset = lap * self._coset_step % self._cosets
        configuration: dict[str, str] = {}
        for parameter, step, radix in zip(
            self._parameters, self._steps, self._coset_radices, strict=True
        ):
            coset, shift = divmod(coset, radix)
            values = parameter.values
            configuration[parameter.name] = values[(step * t + shift) % len(values)]
        return configuration


def _categorical(space: SearchSpace) -> list[Categorical]:
    parameters: list[Categorical] = []
    for parameter in space.parameters:
        if not isinstance(parameter, Categorical):
            wrong = f"a grid over a {type(parameter).__name__.lower()} range"
            right = "list its values as a categorical range, or use another strategy"
            raise SpaceError(parameter.name, wrong, right)
        parameters.append(parameter)
    return parameters


def _steps(sizes: list[int]) -> list[int]:
    steps: list[int] = []
    for size, prime in zip(sizes, _primes(len(sizes)), strict=True):
        wanted = math.sqrt(prime) % 1 * size
        taken = Counter(step for step, other in zip(steps, sizes, strict=False) if other == size)
        units = [unit for unit in range(1, size + 1) if math.gcd(unit, size) == 1]
        costs = [(taken[unit] + taken[size - unit], abs(unit - wanted)) for unit in units]
        steps.append(units[costs.index(min(costs))])
    return steps


def _primes(count: int) -> list[int]:
    primes: list[int] = []
    number = 2
    while len(primes) < count:
        if all(number % prime for prime in primes):
            primes.append(number)
        number += 1
    return primes


def _nearest_unit(wanted: int, modulus: int) -> int:
    """Find the number nearest to `wanted` that has no factor in common with `modulus`."""
    distance = 0
    while math.gcd(wanted - distance, modulus) != 1:
        distance = -distance if distance > 0 else 1 - distance
    return wanted - distance
