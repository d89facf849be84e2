import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith_core.designs import GridDesign
from tunesmith_core.errors import SpaceError, SpaceExhausted
from tunesmith_core.space import Categorical, Continuous, Integer, SearchSpace

SIZES = st.lists(st.integers(1, 9), max_size=5).filter(lambda sizes: math.prod(sizes) <= 3000)


def grid(sizes: list[int], seed: int = 0) -> GridDesign:
    parameters = (
        Categorical(name=f"p{i}", values=tuple(map(str, range(size))))
        for i, size in enumerate(sizes)
    )
    return GridDesign(SearchSpace(tuple(parameters)), seed)


def rows(design: GridDesign) -> list[tuple[int, ...]]:
    return [tuple(map(int, design.configuration(k).values())) for k in range(len(design))]


@given(SIZES)
def test_each_combination_comes_exactly_once(sizes: list[int]) -> None:
    combinations = rows(grid(sizes))
    assert len(combinations) == len(set(combinations)) == math.prod(sizes)


@given(SIZES)
def test_after_any_number_of_suggestions_values_differ_by_at_most_one_in_use(
    sizes: list[int],
) -> None:
    counts = [[0] * size for size in sizes]
    for row in rows(grid(sizes)):
        for count, digit in zip(counts, row, strict=True):
            count[digit] += 1
            assert max(count) - min(count) <= 1


@given(SIZES, st.integers(0, 2**31 - 1))
def test_the_order_does_not_depend_on_the_seed(sizes: list[int], seed: int) -> None:
    assert rows(grid(sizes)) == rows(grid(sizes, seed))


def test_the_order_is_the_same_in_every_release() -> None:
    assert rows(grid([3, 2, 2])) == [
        *((0, 0, 0), (1, 1, 1), (2, 0, 0), (0, 1, 1), (1, 0, 0), (2, 1, 1)),
        *((0, 0, 1), (1, 1, 0), (2, 0, 1), (0, 1, 0), (1, 0, 1), (2, 1, 0)),
    ]


@pytest.mark.parametrize("size", [5, 7, 8, 9, 10, 12, 16, 24, 30])
def test_two_parameters_of_one_size_are_not_walked_along_a_diagonal(size: int) -> None:
    design = grid([size, size])
    walk = rows(design)[:size]
    assert len({(a - b) % size for a, b in walk}) > 1
    assert len({(a + b) % size for a, b in walk}) > 1


def test_a_quarter_of_a_grid_meets_every_pair_of_values() -> None:
    sizes = [4, 4, 3, 3, 2, 2]
    part = rows(grid(sizes))[: math.prod(sizes) // 4]
    for i in range(len(sizes)):
        for j in range(i):
            assert len(Counter((row[i], row[j]) for row in part)) == sizes[i] * sizes[j]


def test_repeated_values_are_one_combination() -> None:
    design = GridDesign(SearchSpace((Categorical(name="c", values=("a", "b", "a")),)))
    assert sorted(str(design.configuration(k)["c"]) for k in range(len(design))) == ["a", "b"]


def test_a_huge_grid_costs_nothing_until_asked() -> None:
    design = grid([30] * 30)
    ks = [0, 1, 10**30, 30**30 - 1]
    assert len({tuple(design.configuration(k).values()) for k in ks}) == 4
    with pytest.raises(SpaceExhausted):
        design.configuration(30**30)


def test_an_exhausted_grid_refuses_with_its_size() -> None:
    with pytest.raises(SpaceExhausted, match="all 6 configurations"):
        grid([2, 3]).configuration(6)


def test_a_number_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="they count from 0"):
        grid([2]).configuration(-1)


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [
        (Integer(name="n", lo=1, hi=1), "integer"),
        (Continuous(name="n", lo=1, hi=1), "continuous"),
    ],
)
def test_a_range_that_is_not_categorical_is_refused(
    parameter: Integer | Continuous, kind: str
) -> None:
    space = SearchSpace((Categorical(name="c", values=("a",)), parameter))
    with pytest.raises(SpaceError, match=f"parameter 'n': a grid over a {kind} range"):
        GridDesign(space)
