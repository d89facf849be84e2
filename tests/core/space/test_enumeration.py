import pytest

from tests.core import naive
from tunesmith_core.space import Categorical, Continuous, Integer, Scaling, SearchSpace
from tunesmith_core.space.enumeration import configuration_at, masses

SPACE = SearchSpace(
    (
        Categorical(name="c", values=("x", "y", "z")),
        Continuous(name="fixed", lo=0.1, hi=0.1),
        Integer(name="n", lo=1, hi=4, scaling=Scaling.LOGARITHMIC),
        Integer(name="m", lo=-1, hi=0),
    )
)


def test_each_configuration_has_one_number() -> None:
    configurations = [configuration_at(SPACE, index) for index in range(24)]
    assert configurations[0] == {"c": "x", "fixed": 0.1, "n": 1, "m": -1}
    assert configurations[1] == {"c": "x", "fixed": 0.1, "n": 1, "m": 0}
    assert configurations[23] == {"c": "z", "fixed": 0.1, "n": 4, "m": 0}
    assert len({tuple(each.items()) for each in configurations}) == SPACE.cardinality == 24


def test_masses_are_products_in_the_order_of_the_numbering() -> None:
    log = [naive.integer_mass(value, 1, 4, Scaling.LOGARITHMIC) for value in range(1, 5)]
    expected = [log[int(str(configuration_at(SPACE, i)["n"])) - 1] / 6 for i in range(24)]
    assert masses(SPACE) == pytest.approx(expected, rel=1e-13)


def test_a_hundred_fixed_parameters_are_one_configuration() -> None:
    space = SearchSpace(tuple(Integer(name=f"n{i}", lo=i, hi=i) for i in range(100)))
    assert masses(space).tolist() == [1]
    assert configuration_at(space, 0) == {f"n{i}": i for i in range(100)}
