"""Early stopping of one tuning job's trials: what became durable is judged by a rule.

Hyperband has the rule of successive halving, any other strategy that of the median, where the request
asks for it. Where trials keep checkpoints Hyperband pauses them at rungs, and says here who may go
on. The rule is not stored. It is fed what is durable, in that order, so that a server that
starts anew has the same one from the store. What was decided is an event of the state machine's like
any other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter

from tunesmith_core.stopping.judges import (
    Finding,
    HalvingJudge,
    Judge,
    MedianJudge,
    PromotionJudge,
)
from tunesmith_core.stopping.median import BehindMedian
from tunesmith_core.stopping.promotion import Pause
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain.events import TrialFellBehind, TrialReachedRung
from tunesmith_server.domain.states import SecondaryStatus, TrainingJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import Definition, JobSpec, JobState
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict
from tunesmith_server.store.store import Curve


class EarlyStopping:
    """Judge one tuning job's trials, whose request asks for it.

    Args:
        spec: What the tuning job asks for.
        curves: What its trials have emitted of their objectives before now.
        paused: The trials that rest at a rung, or were told to.
    """

    def __init__(
        self, spec: JobSpec, curves: Iterable[Curve] = (), paused: Collection[str] = ()
    ) -> None:
        self._spec = spec
        self._judges = {each.name: _judge(spec, each) for each in spec.definitions}
        self._terms = {each.name: each.halving_terms for each in spec.definitions}
        # Which judge has a trial that has emitted something, and has not ended.
        self._judged: dict[str, Judge[Finding]] = {}
        self._take_in(list(curves), paused)

    def _take_in(self, curves: Sequence[Curve], paused: Collection[str]) -> None:
        """Judge again what was judged before, in the order in which it was."""
        reports = [
            (time, curve, token, step, value)
            for curve in curves
            for time, token, step, value in zip(
                curve.times, curve.lease_tokens, curve.steps, curve.values, strict=True
            )
        ]
        tokens: dict[str, int] = {}
        for _, curve, token, step, value in sorted(reports, key=itemgetter(0)):
            name = curve.trial_name
            if name not in tokens:
                self._begin(name, curve.index, curve.suggestion)
            elif tokens[name] != token:
                # Only a new attempt goes on from a pause: what came on the way out told nothing.
                self._resume(name)
            tokens[name] = token
            self._judged[name].report(name, value, step=step)
        for curve in curves:
            name, judge = curve.trial_name, self._judged.get(curve.trial_name)
            if name not in paused:
                self._resume(name)
            elif isinstance(judge, PromotionJudge):
                judge.rule.pause(name)
            if curve.status.is_terminal:
                self._end(name, curve.status)

    def promotable(self, state: JobState, *, is_last: bool) -> Sequence[str]:
        """Name the paused trials that may go on, in the order in which they should.

        Args:
            state: The tuning job.
            is_last: Nothing new is to be launched: somebody goes on from every rung.
        """
        ready = {trial.name for trial in state.paused}
        found = [
            each
            for judge in self._judges.values()
            if isinstance(judge, PromotionJudge)
            for each in judge.rule.promotable(ready=ready, is_last=is_last)
        ]
        # Of several definitions the values can't be compared, but the rungs can.
        return [str(each.trial) for each in sorted(found, key=lambda each: -each.rung)]

    def observe(
        self, state: JobState, durable: Iterable[fx.Durable]
    ) -> Sequence[TrialFellBehind | TrialReachedRung]:
        """Take in what has become durable, and say which trials need not go on, or should rest.

        Args:
            state: The tuning job after it.
            durable: What was written, in order.
        """
        judged: dict[str, TrialFellBehind | TrialReachedRung] = {}
        launched: dict[str, Trial] = {}
        ended: dict[str, TrainingJobStatus] = {}
        durable = list(durable)
        for effect in durable:
            if isinstance(effect, fx.SaveTrial):
                launched[effect.trial.name] = effect.trial
                if effect.trial.status.is_terminal:
                    ended[effect.trial.name] = effect.trial.status
                elif effect.trial.secondary_status is SecondaryStatus.PENDING:
                    self._resume(effect.trial.name)
        for effect in durable:
            match effect:
                case fx.SaveMeasurement():
                    trial = state.trials.get(effect.trial_name) or launched.get(effect.trial_name)
                    found = None if trial is None else self._measured(trial, effect)
                    if found is not None:
                        judged[effect.trial_name] = _event(effect, found)
                case fx.DropMeasurements():
                    self._forget(effect.trial_name)
                    judged.pop(effect.trial_name, None)
        for name, status in ended.items():
            self._end(name, status)
        return [event for name, event in judged.items() if _goes_on(state, name)]

    def _measured(self, trial: Trial, effect: fx.SaveMeasurement) -> Finding | None:
        if effect.metric_name != self._spec.definition_of(trial).metric_name:
            return None
        judge = self._judged.get(trial.name)
        if judge is None:
            suggestion = Suggestion(
                parameters=trial.parameters, definition_name=trial.definition_name
            )
            judge = self._begin(trial.name, trial.index, suggestion)
        return judge.report(trial.name, effect.value, step=effect.step)

    def _begin(self, name: str, index: int, suggestion: Suggestion) -> Judge[Finding]:
        several = len(self._judges) > 1
        definition = suggestion.definition_name if several else self._only
        judge, terms = self._judges[definition], self._terms[definition]
        full = None if terms is None else terms.full_resource(suggestion.parameters)
        self._judged[name] = judge
        judge.begin(name, index=index, full=full)
        return judge

    @property
    def _only(self) -> str | None:
        return self._spec.definition.name

    def _resume(self, name: str) -> None:
        judge = self._judged.get(name)
        if isinstance(judge, PromotionJudge):
            judge.rule.resume(name)

    def _forget(self, name: str) -> None:
        judge = self._judged.pop(name, None)
        if judge is not None:
            judge.forget(name)

    def _end(self, name: str, status: TrainingJobStatus) -> None:
        if status is TrainingJobStatus.FAILED:
            self._forget(name)
            return
        judge = self._judged.pop(name, None)
        if judge is not None:
            judge.end(name)


def _judge(spec: JobSpec, definition: Definition) -> Judge[Finding]:
    terms = definition.halving_terms
    if terms is None:
        return MedianJudge(maximise=spec.goal.maximise)
    make = PromotionJudge if terms.pauses else HalvingJudge
    return make(
        maximise=spec.goal.maximise,
        min_resource=terms.min_resource,
        max_resource=terms.max_resource,
    )


def _event(effect: fx.SaveMeasurement, found: Finding) -> TrialFellBehind | TrialReachedRung:
    name, token, verdict = effect.trial_name, effect.lease_token, _verdict(found)
    if isinstance(found, Pause):
        return TrialReachedRung(trial_name=name, lease_token=token, verdict=verdict)
    return TrialFellBehind(trial_name=name, lease_token=token, reason=str(found), verdict=verdict)


def _verdict(found: Finding) -> StoppingVerdict:
    if isinstance(found, BehindMedian):
        return StoppingVerdict(
            rule=StoppingRule.MEDIAN,
            resource=found.resource,
            value=found.value,
            entries=found.entries - 1,  # its own value is not among those of the median
            threshold=found.threshold,
        )
    if not found.rung:
        return StoppingVerdict(
            rule=StoppingRule.FULL_RESOURCE, resource=found.resource, value=found.value
        )
    return StoppingVerdict(
        rule=StoppingRule.PAUSED if isinstance(found, Pause) else StoppingRule.HALVING,
        resource=found.resource,
        value=found.value,
        rung=found.rung,
        rank=found.rank,
        entries=found.entries,
        threshold=found.threshold,
    )


def _goes_on(state: JobState, trial_name: str) -> bool:
    trial = state.trials.get(trial_name)
    return trial is not None and not trial.stop_requested
