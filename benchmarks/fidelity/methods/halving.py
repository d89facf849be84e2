"""Take runs in random order, and stop them by Hyperband's rule as the server has it.

The order is that of `random_order`, so that the two can be compared in pairs. Beside the numbers that
the server uses stand those of the literature.
"""

from __future__ import annotations

from benchmarks.fidelity.methods.random_order import RandomOrder
from benchmarks.fidelity.pools import Pool
from tunesmith_core.stopping.halving import BRACKET_EVERY, HalvingRule


class Halving(RandomOrder):
    """Ask a rule at each value.

    Args:
        pool: What is drawn from.
        seed: Of the order.
        rule: The rule; None: as served.
    """

    def __init__(self, pool: Pool, *, seed: int, rule: HalvingRule | None = None) -> None:
        super().__init__(pool, seed=seed)
        self._runs = pool.runs
        self._rule = rule or HalvingRule(maximise=False, max_resource=pool.longest)
        self._begun: set[int] = set()

    def report(self, run: int, resource: int, value: float) -> bool:
        """Ask the rule; at its first value a run is begun."""
        if run not in self._begun:
            self._begun.add(run)
            bracket = int(len(self._begun) % BRACKET_EVERY == 0)
            self._rule.begin(run, bracket=bracket, full=self._runs[run].full)
        return self._rule.report(run, value, resource=resource) is not None

    def end(self, run: int, *, stopped: bool) -> None:
        """Expect nothing more of a run; what it has entered at rungs stays."""
        del stopped
        self._rule.end(run)


def eta3(pool: Pool, *, seed: int) -> Halving:
    """Let one of three go on."""
    rule = HalvingRule(maximise=False, max_resource=pool.longest, eta=3.0)
    return Halving(pool, seed=seed, rule=rule)


def eta3_tenth(pool: Pool, *, seed: int) -> Halving:
    """Let one of three go on, the first time at a tenth of the full resource."""
    return _eta3_from(max(1, pool.longest // 10), pool, seed=seed)


def eta3_first(pool: Pool, *, seed: int) -> Halving:
    """Let one of three go on, the first time at the first value."""
    return _eta3_from(1, pool, seed=seed)


def _eta3_from(min_resource: int, pool: Pool, *, seed: int) -> Halving:
    rule = HalvingRule(
        maximise=False, max_resource=pool.longest, min_resource=min_resource, eta=3.0
    )
    return Halving(pool, seed=seed, rule=rule)
