"""Early stopping of one tuning job's trials: what became durable is judged by the median rule.

The rule is not stored. It is fed what is durable, in that order, so that a server that starts anew
has the same one from the store. What was decided is an event of the state machine's like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tunesmith_core.stopping.median import MedianRule
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain.events import TrialFellBehind
from tunesmith_server.domain.states import TrainingJobStatus
from tunesmith_server.domain.tuning_job import JobSpec, JobState
from tunesmith_server.store.store import Curve


class EarlyStopping:
    """Judge one tuning job's trials, whose request asks for it.

    Args:
        spec: What the tuning job asks for.
        curves: What its trials have emitted of the objective before now.
    """

    def __init__(self, spec: JobSpec, curves: Iterable[Curve] = ()) -> None:
        self._metric_name = spec.definition.metric_name
        self._rule = MedianRule(maximise=spec.goal.maximise)
        for curve in curves:
            for value in curve.values:
                self._rule.report(curve.trial_name, value)
            if curve.status.is_terminal:
                self._end(curve.trial_name, curve.status)

    def observe(self, state: JobState, durable: Iterable[fx.Durable]) -> Sequence[TrialFellBehind]:
        """Take in what has become durable, and say which trials need not go on.

        Args:
            state: The tuning job after it.
            durable: What was written, in order.
        """
        behind: dict[str, TrialFellBehind] = {}
        ended: dict[str, TrainingJobStatus] = {}
        for effect in durable:
            match effect:
                case fx.SaveMeasurement() if effect.metric_name == self._metric_name:
                    reason = self._rule.report(effect.trial_name, effect.value)
                    if reason is not None:
                        behind[effect.trial_name] = TrialFellBehind(
                            trial_name=effect.trial_name,
                            lease_token=effect.lease_token,
                            reason=reason,
                        )
                case fx.DropMeasurements():
                    self._rule.forget(effect.trial_name)
                    behind.pop(effect.trial_name, None)
                case fx.SaveTrial() if effect.trial.status.is_terminal:
                    ended[effect.trial.name] = effect.trial.status
        for name, status in ended.items():
            self._end(name, status)
        return [event for name, event in behind.items() if _goes_on(state, name)]

    def _end(self, trial_name: str, status: TrainingJobStatus) -> None:
        if status is TrainingJobStatus.FAILED:
            self._rule.forget(trial_name)
        else:
            self._rule.end(trial_name)


def _goes_on(state: JobState, trial_name: str) -> bool:
    trial = state.trials.get(trial_name)
    return trial is not None and not trial.stop_requested
