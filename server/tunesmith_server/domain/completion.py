"""When a tuning job has done what it was made for: the completion criteria of its request.

Source: the API's ``TuningJobCompletionCriteria``. Values count once their training job has ended,
whether it completed or was stopped; what failed, or has no objective, says nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: A best objective that improves by no more than this share of itself does not count as improved.
IMPROVEMENT: Final = 0.01


class Criterion(StrEnum):
    """Name what completed a tuning job: the member of its request, where there is one."""

    MAX_TRAINING_JOBS = "MaxNumberOfTrainingJobs"
    MAX_RUNTIME = "MaxRuntimeInSeconds"
    SPACE_EXHAUSTED = "SearchSpaceExhausted"
    TARGET = "TargetObjectiveMetricValue"
    NOT_IMPROVING = "BestObjectiveNotImproving"
    CONVERGENCE = "ConvergenceDetected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Say which way is better; all definitions of a tuning job agree on it."""

    maximise: bool

    def is_better(self, value: float, than: float) -> bool:
        """Tell whether one objective value is strictly better than another."""
        return value > than if self.maximise else value < than

    def improves(self, value: float, best: float) -> bool:
        """Tell whether a value is better than the best one by more than a hundredth of that."""
        gain = value - best if self.maximise else best - value
        return gain > IMPROVEMENT * abs(best)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionCriteria:
    """Hold what a request says about when to complete, beside its limits.

    Attributes:
        target: A training job's objective that is as good as this is enough; None for any.
        most_not_improving: So many training jobs in a row without an improvement are enough; None
            for any number.
        on_convergence: It is enough that the search has converged.
    """

    target: float | None = None
    most_not_improving: int | None = None
    on_convergence: bool = False

    def met(self, *, value: float, not_improving: int, goal: Goal) -> Criterion | None:
        """Tell which criterion a training job has met with its objective, if any.

        Args:
            value: Its objective.
            not_improving: How many training jobs in a row have not improved the best objective,
                this one included.
            goal: Which way is better.
        """
        if self.target is not None and not goal.is_better(self.target, value):
            return Criterion.TARGET
        most = self.most_not_improving
        if most is not None and not_improving >= most:
            return Criterion.NOT_IMPROVING
        return None
