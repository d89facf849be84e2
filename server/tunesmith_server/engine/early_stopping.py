"""Early stopping of one tuning job's trials: what became durable is judged by a rule.

Hyperband has the rule of successive halving, any other strategy that of the median, where the request
asks for it. Where trials keep checkpoints Hyperband pauses them at rungs, and says here who may go
on. The rule is not stored. It is fed what is durable, in that order, so that a server that
starts anew has the same one from the store. What was decided is an event of the state machine's like
any other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tunesmith_core.stopping import halving, median, promotion
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain.events import TrialFellBehind, TrialReachedRung
from tunesmith_server.domain.states import SecondaryStatus, TrainingJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import Definition, HalvingTerms, JobSpec, JobState
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict
from tunesmith_server.store.store import Curve

#: One trial of so many is not judged at the first rung, in case first values mislead.
BRACKET_EVERY: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """Say in words and in numbers why a trial need not go on."""

    reason: str
    verdict: StoppingVerdict


class _Judge(Protocol):
    """Judge the trials of one definition by the values of its objective."""

    def begin(self, name: str, index: int, suggestion: Suggestion) -> None:
        """Take note of a trial before its first value."""

    def report(self, name: str, value: float, step: int) -> _Finding | None:
        """Take in a value; gives the reason to stop the trial, if there is one."""

    def pause(self, name: str) -> None:
        """Take note, after a restart, of a trial that rests where it was judged last."""

    def resume(self, name: str) -> None:
        """Take note of a trial that goes on, if it rested."""

    def promotable(self, ready: Collection[str], *, is_last: bool) -> Sequence[tuple[int, str]]:
        """Name those that may go on, each after its rung, the best of a rung first."""

    def end(self, name: str) -> None:
        """Take note of a trial that has ended and counts for others."""

    def forget(self, name: str) -> None:
        """Leave out of account what a trial has emitted: it failed, or begins anew."""


class _Stopping:
    """Say of a rule that stops trials, and pauses none, that nobody rests."""

    def pause(self, name: str) -> None:
        pass

    def resume(self, name: str) -> None:
        pass

    def promotable(
        self,
        ready: Collection[str],  # noqa: ARG002 - nobody is
        *,
        is_last: bool,  # noqa: ARG002 - as above
    ) -> Sequence[tuple[int, str]]:
        return ()


class _Median(_Stopping):
    def __init__(self, *, maximise: bool) -> None:
        self._rule = median.MedianRule(maximise=maximise)
        self.end, self.forget = self._rule.end, self._rule.forget

    def begin(self, name: str, index: int, suggestion: Suggestion) -> None:
        """Need nothing of a trial beforehand."""

    def report(self, name: str, value: float, step: int) -> _Finding | None:
        found = self._rule.report(name, value)
        if found is None:
            return None
        verdict = StoppingVerdict(
            rule=StoppingRule.MEDIAN,
            resource=step,
            value=value,
            entries=found.entries,
            threshold=found.median,
        )
        return _Finding(reason=str(found), verdict=verdict)


class _Halving(_Stopping):
    def __init__(self, terms: HalvingTerms, *, maximise: bool) -> None:
        self._terms = terms
        self._rule = halving.HalvingRule(
            maximise=maximise,
            min_resource=terms.min_resource,
            max_resource=terms.max_resource,
        )
        self.end, self.forget = self._rule.end, self._rule.forget

    def begin(self, name: str, index: int, suggestion: Suggestion) -> None:
        full = self._terms.full_resource(suggestion.parameters)
        self._rule.begin(name, bracket=bracket_of(index), full=full)

    def report(self, name: str, value: float, step: int) -> _Finding | None:
        found = self._rule.report(name, value, resource=step)
        if found is None:
            return None
        return _Finding(reason=str(found), verdict=_verdict(found))


class _Promotion:
    def __init__(self, terms: HalvingTerms, *, maximise: bool) -> None:
        self._terms = terms
        self._rule = promotion.PromotionRule(
            maximise=maximise,
            min_resource=terms.min_resource,
            max_resource=terms.max_resource,
        )
        self.pause, self.resume = self._rule.pause, self._rule.resume
        self.end, self.forget = self._rule.end, self._rule.forget

    def begin(self, name: str, index: int, suggestion: Suggestion) -> None:  # noqa: ARG002 - no brackets
        self._rule.begin(name, full=self._terms.full_resource(suggestion.parameters))

    def report(self, name: str, value: float, step: int) -> _Finding | None:
        found = self._rule.report(name, value, resource=step)
        if found is None:
            return None
        return _Finding(reason=str(found), verdict=_verdict(found))

    def promotable(self, ready: Collection[str], *, is_last: bool) -> Sequence[tuple[int, str]]:
        found = self._rule.promotable(ready=ready, is_last=is_last)
        return [(each.rung, str(each.trial)) for each in found]


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
        # Which judge has a trial that has emitted something, and has not ended.
        self._judged: dict[str, _Judge] = {}
        for curve in curves:
            judge = self._begin(curve.trial_name, curve.index, curve.suggestion)
            for step, value in zip(curve.steps, curve.values, strict=True):
                judge.report(curve.trial_name, value, step)
                judge.resume(curve.trial_name)
            if curve.trial_name in paused:
                judge.pause(curve.trial_name)
            if curve.status.is_terminal:
                self._end(curve.trial_name, curve.status)

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
            for each in judge.promotable(ready, is_last=is_last)
        ]
        # Of several definitions the values can't be compared, but the rungs can.
        return [name for _, name in sorted(found, key=lambda each: -each[0])]

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

    def _measured(self, trial: Trial, effect: fx.SaveMeasurement) -> _Finding | None:
        if effect.metric_name != self._spec.definition_of(trial).metric_name:
            return None
        judge = self._judged.get(trial.name)
        if judge is None:
            suggestion = Suggestion(
                parameters=trial.parameters, definition_name=trial.definition_name
            )
            judge = self._begin(trial.name, trial.index, suggestion)
        return judge.report(trial.name, effect.value, effect.step)

    def _begin(self, name: str, index: int, suggestion: Suggestion) -> _Judge:
        several = len(self._judges) > 1
        judge = self._judges[suggestion.definition_name if several else self._only]
        self._judged[name] = judge
        judge.begin(name, index, suggestion)
        return judge

    @property
    def _only(self) -> str | None:
        return self._spec.definition.name

    def _resume(self, name: str) -> None:
        judge = self._judged.get(name)
        if judge is not None:
            judge.resume(name)

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


def bracket_of(index: int) -> int:
    """Give the bracket of a trial by its launch index: one of so many has more time."""
    return 1 if index % BRACKET_EVERY == 0 else 0


def _judge(spec: JobSpec, definition: Definition) -> _Judge:
    terms = definition.halving_terms
    if terms is None:
        return _Median(maximise=spec.goal.maximise)
    if terms.pauses:
        return _Promotion(terms, maximise=spec.goal.maximise)
    return _Halving(terms, maximise=spec.goal.maximise)


def _event(effect: fx.SaveMeasurement, found: _Finding) -> TrialFellBehind | TrialReachedRung:
    name, token, verdict = effect.trial_name, effect.lease_token, found.verdict
    if verdict.rule is StoppingRule.PAUSED:
        return TrialReachedRung(trial_name=name, lease_token=token, verdict=verdict)
    return TrialFellBehind(trial_name=name, lease_token=token, reason=found.reason, verdict=verdict)


def _verdict(found: halving.Verdict | promotion.Pause) -> StoppingVerdict:
    if not found.rung:
        return StoppingVerdict(
            rule=StoppingRule.FULL_RESOURCE, resource=found.resource, value=found.value
        )
    return StoppingVerdict(
        rule=(StoppingRule.PAUSED if isinstance(found, promotion.Pause) else StoppingRule.HALVING),
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
