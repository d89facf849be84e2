"""The rules that stop trials, behind one interface: for a server, and for a replay of records.

Each of them judges the trials of one definition, by the values of its objective.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol, TypeAlias, TypeVar

from tunesmith_core.stopping.halving import HalvingRule, Verdict, bracket_of
from tunesmith_core.stopping.median import BehindMedian, MedianRule
from tunesmith_core.stopping.promotion import Pause, PromotionRule
from tunesmith_core.stopping.rungs import ETA

FellBehind: TypeAlias = Verdict | BehindMedian
"""Why a trial need not go on; ``str`` says it in words."""

Finding: TypeAlias = FellBehind | Pause
"""Why a trial need not go on, or not yet."""

Found_co = TypeVar("Found_co", covariant=True)


class Judge(Protocol[Found_co]):
    """Judge the values of trials as they come."""

    def begin(self, trial: Hashable, *, index: int, full: int | None) -> None:
        """Take note of a trial before its first value.

        Args:
            trial: Which trial.
            index: Its launch index, from 1.
            full: With so many values it has done what it was to do; None: nothing says.
        """

    def report(self, trial: Hashable, value: float, *, step: int) -> Found_co | None:
        """Take in a value; gives why the trial should stop, if it should.

        Args:
            trial: Which trial.
            value: In the metric's own unit.
            step: What the trial has spent so far, rising, from 1.
        """

    def end(self, trial: Hashable) -> None:
        """Take note of a trial that has ended and counts for others."""

    def forget(self, trial: Hashable) -> None:
        """Leave out of account what a trial has emitted: it failed, or begins anew."""


class MedianJudge:
    """Judge by the median rule.

    Args:
        maximise: Larger values are better; else smaller ones.
    """

    def __init__(self, *, maximise: bool) -> None:
        self._rule = MedianRule(maximise=maximise)
        self.end, self.forget = self._rule.end, self._rule.forget

    def begin(self, trial: Hashable, *, index: int, full: int | None) -> None:
        """Need nothing of a trial beforehand."""

    def report(self, trial: Hashable, value: float, *, step: int) -> BehindMedian | None:  # noqa: ARG002 - the rule counts
        """Take in a value; gives why the trial should stop, if it should."""
        return self._rule.report(trial, value)


class HalvingJudge:
    """Judge by successive halving, with the brackets of Hyperband.

    Args:
        maximise: Larger values are better; else smaller ones.
        min_resource: As `HalvingRule` has it.
        max_resource: The same.
        eta: The same.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        maximise: bool,
        min_resource: int | None = None,
        max_resource: int,
        eta: float = ETA,
    ) -> None:
        self._rule = HalvingRule(
            maximise=maximise, min_resource=min_resource, max_resource=max_resource, eta=eta
        )
        self.levels = self._rule.levels
        self.end, self.forget = self._rule.end, self._rule.forget

    def begin(self, trial: Hashable, *, index: int, full: int | None) -> None:
        """Take note of a trial, and of its bracket, before its first value."""
        self._rule.begin(trial, bracket=bracket_of(index), full=full)

    def report(self, trial: Hashable, value: float, *, step: int) -> Verdict | None:
        """Take in a value; gives why the trial should stop, if it should."""
        return self._rule.report(trial, value, resource=step)


class PromotionJudge:
    """Judge by successive halving, and let trials rest at rungs until they are among the best.

    Args:
        maximise: Larger values are better; else smaller ones.
        min_resource: As `PromotionRule` has it.
        max_resource: The same.

    Attributes:
        rule: Says who may go on.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, *, maximise: bool, min_resource: int | None, max_resource: int) -> None:
        self.rule = PromotionRule(
            maximise=maximise, min_resource=min_resource, max_resource=max_resource
        )
        self.end, self.forget = self.rule.end, self.rule.forget

    def begin(self, trial: Hashable, *, index: int, full: int | None) -> None:  # noqa: ARG002 - there are no brackets
        """Take note of a trial before its first value."""
        self.rule.begin(trial, full=full)

    def report(self, trial: Hashable, value: float, *, step: int) -> Verdict | Pause | None:
        """Take in a value; gives why the trial should rest, or stop, if it should."""
        return self.rule.report(trial, value, resource=step)
