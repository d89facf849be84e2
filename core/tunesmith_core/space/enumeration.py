"""Number the configurations of a finite space, and say how likely each one is.

The order is lexicographic: the last parameter changes fastest. Only for spaces whose
`cardinality` is not None; nothing here holds more than `masses` returns.
"""

from typing import assert_never

import numpy as np

from tunesmith_core.space.ranges import (
    Categorical,
    Continuous,
    Integer,
    Parameter,
    ParameterValue,
    SearchSpace,
)
from tunesmith_core.space.scaling import F64, integer_masses


def configuration_at(space: SearchSpace, index: int) -> dict[str, ParameterValue]:
    """Give configuration number `index`, from 0 to the space's cardinality - 1."""
    values: list[ParameterValue] = []
    for parameter in reversed(space.parameters):
        index, digit = divmod(index, parameter.cardinality or 1)
        values.append(value_at(parameter, digit))
    return dict(zip(space.names, reversed(values), strict=True))


def value_at(parameter: Parameter, index: int) -> ParameterValue:
    """Give value number `index` of a parameter, from 0 to its cardinality - 1."""
    match parameter:
        case Continuous(lo=lo):
            return lo
        case Integer(lo=first):
            return first + index
        case Categorical(values=values):
            return values[index]
        case _:
            assert_never(parameter)


def masses(space: SearchSpace) -> F64:
    """Give the probability of each configuration when its parameters are drawn independently.

    Returns:
        (cardinality,) probabilities above 0, in the order of the numbering.
    """
    joint = np.ones(1)
    for parameter in space.parameters:
        joint = np.multiply.outer(joint, _marginal(parameter)).ravel()
    return joint


def _marginal(parameter: Parameter) -> F64:
    match parameter:
        case Continuous():
            return np.ones(1)
        case Integer(lo=first, hi=last, scaling=scaling):
            return integer_masses(lo=first, hi=last, scaling=scaling)
        case Categorical(values=values):
            return np.full(len(values), 1 / len(values))
        case _:
            assert_never(parameter)
