"""Make random generators from keys, so that no draw depends on the order of calls elsewhere.

Philox is a keyed bijection of a counter: different keys, and different counters under one key,
give unrelated streams, and making one costs microseconds.
Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import enum

import numpy as np

MAX_SEED = 2**63 - 1
"""The largest seed, included."""


class Stream(enum.IntEnum):
    """Say what a generator is for; streams with one seed and number share no bits."""

    RANDOM_DESIGN = 0
    ENUMERATION_ORDER = 1
    QUASI_RANDOM_DESIGN = 2
    ACQUISITION = 3
    SURROGATE_FIT = 4
    TURNS = 5


def keyed_generator(seed: int, number: int, stream: Stream) -> np.random.Generator:
    """Make the generator of one (seed, number, stream).

    Args:
        seed: The tuning job's seed, from 0 to `MAX_SEED`.
        number: Which piece of the stream, at least 0; a block or trial number.
        stream: What the draws are for.

    Raises:
        ValueError: The seed is out of range.
    """
    check_seed(seed)
    key = np.array([seed, number], dtype=np.uint64)
    counter = np.array([0, 0, 0, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def check_seed(seed: int) -> None:
    """Refuse a seed that is out of range.

    Raises:
        ValueError: The seed is below 0 or above `MAX_SEED`.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"the seed is {seed}; it must be in [0, {MAX_SEED}]")
