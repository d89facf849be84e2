"""Many small models at once on the card, beside the CPU's one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.card.blank import BlankDevice
from benchmarks.card.card import Card, Watch
from benchmarks.card.parts import observations
from tunesmith_core.devices import Devices, OneBackend
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.numba_backend import NumbaBackend
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space.encoding import from_unit, to_unit
from tunesmith_core.space.ranges import Configuration, Continuous, SearchSpace
from tunesmith_core.together import suggest_together

ALWAYS, NEVER = 10**9, 1
"""As ``growth``: with a fit due at every ask, and at none."""

ONE_IN = 8
"""At n = 200 one of so many asks has a fit due: when the history has grown by one 24th."""

ALONE = 16
"""So many searches say what the CPU takes for one ask."""

SPARE = 200
"""Results that are told one by one while asks are measured."""

SAME = 5e-4
"""Suggestions that differ by no more of a range are the same."""

KINDS = {"no fit due": 0, f"a fit due in one of {ONE_IN}": 1, "a fit due in all": ONE_IN}
"""Of how many of each eight asks a fit is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Hold what was measured.

    Attributes:
        together_s: All searches' asks at once on the card, by what was due.
        alone_s: One ask of the CPU, by the same.
        host_s: The orchestration's part of all asks at once where no fit is due.
        same: The share of the searches whose suggestion is that of the card alone.
    """

    together_s: dict[str, float]
    alone_s: dict[str, float]
    host_s: float
    same: float


@dataclass(slots=True)
class _Search:
    """Hold an optimiser, and what it is told before each ask."""

    optimizer: Optimizer
    more: list[tuple[Configuration, float]]

    def go_on(self) -> None:
        """Tell one more result; nothing is pending."""
        self.optimizer.set_pending([])
        self.optimizer.tell(*self.more.pop())


def asked(card: Card, watch: Watch, *, jobs: int, n: int, d: int) -> Asked:
    """Measure searches that each know n results of d coordinates."""
    together_s, alone_s = {}, {}
    for kind, due in KINDS.items():
        searches = _searches(card.backend, jobs, n, d)
        together_s[kind] = watch.median_s(
            f"{jobs} asks together, {kind}",
            _asking_together(searches, [_growth(index, due) for index in range(jobs)]),
            before=_going_on(searches),
        )
        few = _searches(NumbaBackend(), min(jobs, ALONE), n, d)
        growths = [_growth(index, due) for index in range(len(few))]
        took = watch.median_s(
            f"{len(few)} asks on the CPU, {kind}",
            _asking_alone(few, growths),
            before=_going_on(few),
        )
        alone_s[kind] = took / len(few)
    nothing = _searches(GpuBackend(BlankDevice()), jobs, n, d)
    host_s = watch.median_s(
        f"{jobs} asks together, orchestration",
        _asking_together(nothing, [NEVER] * jobs),
        before=_going_on(nothing),
    )
    same = _share_of_same(_searches(card.backend, jobs, n, d))
    return Asked(together_s=together_s, alone_s=alone_s, host_s=host_s, same=same)


def _growth(index: int, due: int) -> int:
    return ALWAYS if index % ONE_IN < due else NEVER


def _searches(backend: Backend, count: int, n: int, d: int) -> list[_Search]:
    """Make searches that were fitted to n results, each of its own function."""
    devices: Devices = OneBackend(backend)
    space = SearchSpace(tuple(Continuous(name=f"x{j}", lo=0, hi=1) for j in range(d)))
    x, y = observations(n + SPARE, d)
    searches = []
    for seed in range(count):
        optimizer = Optimizer(space, seed=seed, devices=devices)
        mirrored = np.where(np.random.default_rng(seed).random(d) < 0.5, 1.0 - x, x)  # noqa: PLR2004 - a coin
        known = list(zip(from_unit(space, mirrored), y.tolist(), strict=True))
        for configuration, value in known[:n]:
            optimizer.tell(configuration, value)
        searches.append(_Search(optimizer, list(known[n:])))
    first = [search.optimizer for search in searches]
    if suggest_together(first, [ALWAYS] * count).count(None):
        for optimizer in first:
            optimizer.set_pending([])
            optimizer.ask(growth=ALWAYS)
    return searches


def _going_on(searches: Sequence[_Search]) -> Callable[[], None]:
    def go_on() -> None:
        for search in searches:
            search.go_on()

    return go_on


def _asking_together(searches: Sequence[_Search], growths: Sequence[int]) -> Callable[[], None]:
    optimizers = [search.optimizer for search in searches]

    def ask() -> None:
        if suggest_together(optimizers, growths).count(None):
            raise RuntimeError("some could not be asked together")

    return ask


def _asking_alone(searches: Sequence[_Search], growths: Sequence[int]) -> Callable[[], None]:
    def ask() -> None:
        for search, growth in zip(searches, growths, strict=True):
            search.optimizer.ask(growth=growth)

    return ask


def _share_of_same(searches: Sequence[_Search]) -> float:
    """Compare what is suggested at once with what is suggested one after the other."""
    optimizers = [search.optimizer for search in searches]
    for optimizer in optimizers:
        optimizer.set_pending([])
    found = suggest_together(optimizers, [NEVER] * len(optimizers))
    same = 0
    for optimizer, suggestion in zip(optimizers, found, strict=True):
        optimizer.set_pending([])
        points = to_unit(optimizer.space, [suggestion or {}, *optimizer.ask(growth=NEVER)])
        same += int(np.abs(points[0] - points[1]).max() <= SAME)
    return same / len(optimizers)
