"""Lay out trials of several definitions whose designs do not learn: they take turns."""

from collections.abc import Sequence

from tunesmith_core.designs.design import Design, check_index
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.randomness import Stream, check_seed, keyed_generator
from tunesmith_core.space.ranges import Configuration


class Turns:
    """Give every definition one trial in each round; a pure function of (designs, seed, k).

    Which one begins is drawn anew in each round, so that a search that ends early has been as fair
    as can be. A definition with no configuration left is passed over.

    Not safe for use from several threads at once.

    Args:
        designs: One for each definition.
        seed: From 0 to 2**63 - 1.

    Raises:
        ValueError: The seed is out of range.
    """

    def __init__(self, designs: Sequence[Design], seed: int) -> None:
        check_seed(seed)
        self._designs = designs
        self._seed = seed
        self._given = [0] * len(designs)
        self._left = list(range(len(designs)))
        self._choices: list[tuple[int, Configuration]] = []
        self._rounds = 0

    def choice(self, k: int) -> tuple[int, Configuration]:
        """Give trial number k, from 0: the index of its definition, and its configuration.

        Raises:
            SpaceExhausted: There are no more than k.
            ValueError: k is below 0.

        Cost: that of the designs; what was given is kept.
        """
        check_index(k)
        while len(self._choices) <= k:
            if not self._left:
                raise SpaceExhausted(len(self._choices))
            self._go_round()
        return self._choices[k]

    def _go_round(self) -> None:
        order = list(self._left)
        if len(order) > 1:  # one has no order, and a draw takes longer than most configurations
            rng = keyed_generator(self._seed, self._rounds, Stream.TURNS)
            order = rng.permutation(order).tolist()
        self._rounds += 1
        for which in order:
            try:
                configuration = self._designs[which].configuration(self._given[which])
            except SpaceExhausted:
                self._left.remove(which)
                continue
            self._given[which] += 1
            self._choices.append((which, configuration))
