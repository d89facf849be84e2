import pytest

from tunesmith_core.randomness import MAX_SEED, Stream, keyed_generator


def test_a_generator_depends_on_each_part_of_its_key() -> None:
    keys = [
        (seed, number, stream)
        for seed in (0, 1, MAX_SEED)
        for number in (0, 1)
        for stream in Stream
    ]
    first = [keyed_generator(*key).random(4).tolist() for key in keys]
    again = [keyed_generator(*key).random(4).tolist() for key in reversed(keys)]
    assert first == again[::-1]
    assert len({tuple(draws) for draws in first}) == len(keys)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"it must be in \[0, 9223372036854775807\]"):
        keyed_generator(seed, 0, Stream.RANDOM_DESIGN)
