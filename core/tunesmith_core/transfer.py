"""Take earlier searches into account: what the surrogate knows beside a search's own results.

The surrogate sees more coordinates than are searched. One says which search a result is from: its
length-scale, which the likelihood chooses, says how much the searches have in common, so that one
that misleads is soon not believed. The others are parameters that an earlier search had and this
one has not, each held at one value while this one searches.

Sources: the coordinate of the task is the one-hot task kernel, a special case of Bonilla, Chai &
Williams 2007, "Multi-task Gaussian Process Prediction"; that a search may learn from others in this way:
Swersky, Snoek & Adams 2013, "Multi-Task Bayesian Optimization".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.acquisition.lattice import Lattice
from tunesmith_core.errors import SpaceError
from tunesmith_core.gp.parameters import Layout, layout_of
from tunesmith_core.objective import Goal, minimised, telling, warped
from tunesmith_core.space.encoding import to_unit
from tunesmith_core.space.ranges import Categorical, Configuration, Parameter, SearchSpace
from tunesmith_core.space.scaling import F64

MAX_EARLIER = 400
"""So many results of earlier searches are used, at most: the best, and some of the rest."""

OWN_SCALE = 6
"""With so many results of its own, a search has a scale of its own to measure them by."""

SAME_TASK_LS, OTHER_TASK_LS = 4.0, 1.0
"""How far apart searches are believed to be, of the same objective and of related ones: results at the
same point are correlated to 0.95 and 0.52, before the likelihood has its say."""

Result: TypeAlias = tuple[Configuration, float | None]
"""A configuration and what came of it, as told to an optimiser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """Hold what earlier searches found.

    Attributes:
        searches: The results of each, whose configurations have the parameters of the space and the
            ``extra`` ones. Results outside their ranges are passed over, and so are searches whose
            values are all equal.
        extra: Parameters that earlier searches had and the space has not; what their ranges leave out
            is passed over.
        fixed: The value that each of these has now, inside its range.
        same_objective: It is the same objective, with the same data: values can be compared.
    """

    searches: Sequence[Sequence[Result]]
    extra: tuple[Parameter, ...] = ()
    fixed: Configuration = field(default_factory=dict)
    same_objective: bool = False


class ModelSpace:
    """Say what the surrogate sees of a search and of those before it.

    Args:
        space: What is searched.
        goal: Which way values are better.
        experience: What earlier searches found; None: there were none.

    Raises:
        SpaceError: A fixed value is missing, or outside its range, or a name is used twice.

    Attributes:
        layout: What each coordinate is to the surrogate.
        lattice: Which points are configurations; what is not searched is pinned.
        x: (n, d') points of earlier results, in the model's coordinates.
        values: (n,) their minimised values, NaN for failures.
    """

    def __init__(self, space: SearchSpace, goal: Goal, experience: Experience | None) -> None:
        self.space = space
        self._same_objective = experience is not None and experience.same_objective
        self._bounds: list[int] = [0]
        self.layout: Layout = layout_of(space)
        self.lattice = Lattice(space)
        self._rest: F64 = np.empty(0)
        self.x, self.values = np.empty((0, space.dimensions)), np.empty(0)
        if experience is None or not experience.searches:
            return
        known = SearchSpace((*space.parameters, *experience.extra))
        (fixed,) = to_unit(SearchSpace(experience.extra), [experience.fixed])
        count = MAX_EARLIER // max(1, len(experience.searches))
        searches = [_encoded(known, each, goal, count=count) for each in experience.searches]
        if any(len(values) for _, values in searches):
            self._learn(known, fixed, searches)

    def _learn(self, known: SearchSpace, fixed: F64, searches: Sequence[tuple[F64, F64]]) -> None:
        """Take in points and values of earlier searches, at least one."""
        space, tasks = self.space, len(searches) + 1
        self._rest = np.append(fixed, _place(0, tasks))
        pinned = {space.dimensions + j: float(u) for j, u in enumerate(self._rest)}
        whole = SearchSpace((*known.parameters, _task_of(known, tasks)))
        learned = layout_of(whole)
        self.layout = Layout(
            categorical=learned.categorical,
            warped=learned.warped,
            unscaled=learned.unscaled,
            task=whole.dimensions - 1,
            task_ls=SAME_TASK_LS if self._same_objective else OTHER_TASK_LS,
        )
        self.lattice = Lattice(whole, pinned)
        blocks = []
        for task, (block, values) in enumerate(searches, start=1):
            blocks.append(np.column_stack([block, np.full(len(block), _place(task, tasks))]))
            self._bounds.append(self._bounds[-1] + len(values))
        self.x = np.concatenate(blocks)
        self.values = np.concatenate([values for _, values in searches])

    @property
    def earlier(self) -> int:
        """Count the earlier results that are used."""
        return len(self.values)

    @property
    def trusts(self) -> bool:
        """Tell whether earlier results are the same objective's."""
        return self._same_objective and self.earlier > 0

    def embedded(self, points: F64) -> F64:
        """Give points (m, d) of the search in the model's coordinates (m, d')."""
        rest = np.broadcast_to(self._rest, (len(points), len(self._rest)))
        return np.concatenate([points, rest], axis=1)

    def searched(self, points: F64) -> F64:
        """Give the searched coordinates (m, d) of the model's points (m, d')."""
        return points[:, : self.space.dimensions]

    def warped(self, values: F64) -> F64:
        """Warp minimised values (n,), of earlier searches first and then of this one.

        Values of the same objective are warped together. Otherwise each search has a scale of its
        own, as soon as there is enough to tell it.

        Cost: n ln n.
        """
        earlier = self.earlier
        if not earlier or self._same_objective:
            return warped(values)
        parts = [warped(values[a:b]) for a, b in zip(self._bounds, self._bounds[1:], strict=False)]
        own = values[earlier:]
        if np.isfinite(own).sum() >= OWN_SCALE:
            parts.append(warped(own))
        else:
            parts.append(warped(values)[earlier:])
        return np.concatenate(parts)


def _encoded(
    space: SearchSpace, results: Sequence[Result], goal: Goal, *, count: int
) -> tuple[F64, F64]:
    """Give points (n, d) and minimised values (n,) of the results that tell most."""
    points, values = [], []
    for configuration, value in results:
        try:
            points.append(to_unit(space, [configuration])[0])
        except SpaceError:
            continue  # it lies outside, where this search does not look
        values.append(minimised(value, goal))
    x, y = np.array(points).reshape(len(points), space.dimensions), np.array(values)
    if len(y) > 1 and y.min() == y.max():
        return x[:0], y[:0]  # the same everywhere: it does not say where to look
    chosen: NDArray[np.intp] = np.arange(len(y))
    if len(y) > count:
        chosen = telling(y, count)
    return x[chosen], y[chosen]


def _task_of(space: SearchSpace, tasks: int) -> Categorical:
    name = "search"
    while name in space.names:
        name += "_"
    return Categorical(name=name, values=tuple(str(task) for task in range(tasks)))


def _place(task: int, tasks: int) -> float:
    return (task + 0.5) / tasks
