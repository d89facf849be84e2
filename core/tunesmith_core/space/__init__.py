"""Describe what is searched: ranges, their scaling, and their encoding in the unit cube."""

from tunesmith_core.space.ranges import (
    Categorical,
    Configuration,
    Continuous,
    Integer,
    Parameter,
    ParameterValue,
    Scaling,
    SearchSpace,
)

__all__ = [
    "Categorical",
    "Configuration",
    "Continuous",
    "Integer",
    "Parameter",
    "ParameterValue",
    "Scaling",
    "SearchSpace",
]
