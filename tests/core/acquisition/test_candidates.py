"""Candidates of many searches at once are those of each."""

import numpy as np
import pytest

from tests.core.searches import cube
from tunesmith_core.acquisition.candidates import DrawsOfMany, candidates
from tunesmith_core.acquisition.lattice import Lattice
from tunesmith_core.randomness import Stream, keyed_generator


@pytest.mark.parametrize("d", [1, 3])
def test_candidates_of_many_are_those_of_each(d: int) -> None:
    lattice = Lattice(cube(d))
    assert lattice.is_continuous
    incumbents = [np.random.default_rng(k).random((k, d)) for k in (1, 5, 2)]

    def rngs() -> list[np.random.Generator]:
        return [keyed_generator(seed, 7, Stream.ACQUISITION) for seed in range(3)]

    got = DrawsOfMany(rngs(), d, spread=9, near=200).placed(incumbents)
    for found, rng, best in zip(got, rngs(), incumbents, strict=True):
        expected = candidates(lattice, rng, best, spread=9, near=200)
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-16)
