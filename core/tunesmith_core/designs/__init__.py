"""Lay out configurations that need no results to be chosen: random and grid."""

from tunesmith_core.designs.design import Design
from tunesmith_core.designs.grid import GridDesign
from tunesmith_core.designs.random import RandomDesign

__all__ = ["Design", "GridDesign", "RandomDesign"]
