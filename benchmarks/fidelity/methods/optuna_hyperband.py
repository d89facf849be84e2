"""Adapt Optuna: a sampler proposes, and HyperbandPruner stops.

Samplers and pruner are by their own defaults; the pruner is told the longest run's number of values
as ``max_resource``, as its documentation asks for, so that it does not have to wait for a first run to
end. A trial's resource is its number of values; in AlexNet's pool many runs end before the longest.

Between the study and the sampler stands one that replaces the proposal by the nearest run that is
left, before the trial has it: so there is one trial for each run, in one bracket, and with the
parameters that really ran. ReverseLogarithmic ranges are given to it as logarithmic ones of 1 - x.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from benchmarks.fidelity.methods.nearest import nearest
from benchmarks.fidelity.pools import Pool
from benchmarks.optimizer.space import Parameter, Type, Value, value_to_unit


class _Study:
    """Ask, report and tell a study that lives in memory.

    Args:
        pool: What is drawn from.
        seed: Of the sampler, and of the study's name, by which the pruner draws brackets.
        sampler: Which of Optuna's.
    """

    def __init__(self, pool: Pool, *, seed: int, sampler: str) -> None:
        optuna = import_module("optuna")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        self._pruned = optuna.trial.TrialState.PRUNED
        self._ranges = {each.name: _range(optuna.distributions, each) for each in pool.parameters}
        proposer = getattr(optuna.samplers, sampler)(seed=seed)
        self._sampler = _Snapped(proposer, pool, self._ranges)
        self._study = optuna.create_study(
            study_name=f"replay-{seed}",
            sampler=self._sampler,
            pruner=optuna.pruners.HyperbandPruner(max_resource=pool.longest),
        )
        self._trial: Any = None
        self._last = 0.0

    def ask(self, remaining: Sequence[int]) -> int:
        """Say which run begins."""
        self._sampler.remaining = remaining
        self._trial = self._study.ask(self._ranges)
        return self._sampler.chosen

    def report(self, run: int, resource: int, value: float) -> bool:
        """Report a value to the trial, and ask whether it should be pruned."""
        del run
        self._last = value
        self._trial.report(value, resource)
        return bool(self._trial.should_prune())

    def end(self, run: int, *, stopped: bool) -> None:
        """Tell the study; a trial that was not pruned has its last value."""
        del run
        if stopped:
            self._study.tell(self._trial, state=self._pruned)
        else:
            self._study.tell(self._trial, self._last)


def tpe(pool: Pool, *, seed: int) -> _Study:
    """Propose by the tree-structured Parzen estimator."""
    return _Study(pool, seed=seed, sampler="TPESampler")


def random(pool: Pool, *, seed: int) -> _Study:
    """Propose at random."""
    return _Study(pool, seed=seed, sampler="RandomSampler")


class _Snapped:
    """Be a sampler to Optuna that replaces another one's proposals by runs of a pool.

    Args:
        sampler: Whose proposals.
        pool: What is drawn from.
        ranges: Optuna's own, by parameter.
    """

    def __init__(self, sampler: Any, pool: Pool, ranges: dict[str, Any]) -> None:
        self._sampler = sampler
        self._pool = pool
        self._ranges = ranges
        self._together: dict[str, Any] = {}
        self.remaining: Sequence[int] = ()
        self.chosen = 0
        self.before_trial, self.after_trial = sampler.before_trial, sampler.after_trial

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Claim all parameters: they are those of one run."""
        self._together = self._sampler.infer_relative_search_space(study, trial)
        return self._ranges

    def sample_relative(self, study: Any, trial: Any, ranges: dict[str, Any]) -> dict[str, Any]:
        """Propose as the sampler does, those first that it proposes together."""
        proposed = self._sampler.sample_relative(study, trial, self._together)
        for name, range_ in ranges.items():
            if name not in proposed:
                proposed[name] = self._sampler.sample_independent(study, trial, name, range_)
        parameters = self._pool.parameters
        wanted = [value_to_unit(each, _flip(each, proposed[each.name])) for each in parameters]
        self.chosen = nearest(self._pool.points, self.remaining, wanted)
        configuration = self._pool.runs[self.chosen].configuration
        return {each.name: _flip(each, configuration[each.name]) for each in parameters}

    def sample_independent(self, study: Any, trial: Any, name: str, range_: Any) -> Any:
        """Say that this does not happen.

        Raises:
            AssertionError: A run's value lies outside its range.
        """
        raise AssertionError(f"{name} of trial {trial.number} in {study.study_name}: {range_}")


def _range(distributions: Any, parameter: Parameter) -> Any:
    if parameter.type is Type.INTEGER:
        lo, hi = int(parameter.lo), int(parameter.hi)
        return distributions.IntDistribution(lo, hi, log=parameter.log)
    low, high = sorted(float(_flip(parameter, bound)) for bound in (parameter.lo, parameter.hi))
    return distributions.FloatDistribution(low, high, log=parameter.log or parameter.mirrored)


def _flip(parameter: Parameter, value: Value) -> Value:
    return 1.0 - float(value) if parameter.mirrored else value
