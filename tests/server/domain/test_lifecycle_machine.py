"""The lifecycle as a state machine: anything that can happen, in any order, with crashes between."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.server.domain.job_specs import (
    CREATED_AT,
    METRIC,
    SECOND_METRIC,
    job_spec,
    two_definitions,
)
from tests.server.domain.tuning_job_driver import ended
from tests.simulation.decisions import Decisions
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import InvalidState, SequenceGap
from tunesmith_server.domain.states import (
    TRAINING_JOB_TRANSITIONS,
    Cause,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobSpec, RetryTerms
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict

_SINGLE = st.builds(
    job_spec,
    jobs=st.sampled_from([6, 8, 5, 7, 2, 1]),
    parallel=st.sampled_from([3, 4, 2, 1]),
    maximise=st.booleans(),
    max_runtime=st.sampled_from([timedelta(hours=1), None]),
    target=st.sampled_from([None, None, 0.25, 0.3]),
    most_not_improving=st.sampled_from([None, None, 3]),
    on_convergence=st.booleans(),
    retries=st.sampled_from([0, 0, 2]),
    time_limit=st.sampled_from([None, timedelta(minutes=5)]),
    resumes=st.booleans(),
)
#: Trials rest at rungs: Hyperband with checkpoints.
_PAUSING = st.builds(
    job_spec,
    jobs=st.sampled_from([6, 8, 3]),
    parallel=st.sampled_from([2, 3, 1]),
    max_runtime=st.sampled_from([timedelta(hours=1), None]),
    target=st.sampled_from([None, None, 0.25]),
    retries=st.sampled_from([0, 2]),
    time_limit=st.sampled_from([None, timedelta(minutes=5)]),
    resumes=st.just(value=True),
    pauses=st.just(value=True),
)
#: Some have a second definition, with a metric and retries of its own.
_SPECS = st.one_of(
    _SINGLE,
    _SINGLE,
    _PAUSING,
    st.builds(
        lambda spec, terms: two_definitions(spec, second_retry_terms=terms),
        _SINGLE,
        st.sampled_from([RetryTerms(), RetryTerms(most=1, time_limit=timedelta(minutes=2))]),
    ),
)
_VALUES = st.sampled_from([0.5, 0.5, 0.25, math.nan, math.inf, -math.inf])
_OUTCOMES = st.sampled_from([ev.Outcome.COMPLETED, *ev.Outcome])
_PICK = st.integers(0, 2**16)
#: A stop or a breakdown of the strategy would otherwise end most tuning jobs at once.
_SELDOM = st.integers(0, 15).map(lambda drawn: drawn > 12)


class LifecycleMachine(RuleBasedStateMachine):
    """Create, suggest, assign, report, end, lose, stop, crash and recover, in any order."""

    #: Events decided by all machines together.
    decided: ClassVar[int] = 0

    now: datetime
    decisions: Decisions
    #: The ask that the strategy has not answered.
    ask: fx.Suggest | None
    #: The ask who may go on that nobody has answered.
    promotion_ask: fx.Promote | None
    #: Trials that look for a runner.
    waiting: set[str]
    #: Which instance holds which trial.
    places: dict[str, str]
    #: Trials, with their leases, whose runners know that they are to stop.
    told_to_stop: set[tuple[str, int]]
    #: The same for those that are to be paused.
    told_to_rest: set[tuple[str, int]]
    sent: dict[tuple[str, int], list[ev.TrialReported]]
    #: The service crashes after its next commit, before it acts on it.
    is_crash_due: bool

    @initialize(spec=_SPECS)
    def begin(self, *, spec: JobSpec) -> None:
        self.now = CREATED_AT
        self.is_crash_due = False
        self._create(spec)

    # --- tuning jobs ----------------------------------------------------------------------

    def _create(self, spec: JobSpec) -> None:
        self.decisions = Decisions(spec, self.now)
        self.sent = {}
        self._recover()

    @precondition(lambda self: self.has_ended)
    @rule(spec=_SPECS)
    def create(self, *, spec: JobSpec) -> None:
        self._create(spec)

    @rule(seldom=_SELDOM)
    def stop_job(self, *, seldom: bool) -> None:
        status = self.decisions.state.job.status
        if status is not TuningJobStatus.IN_PROGRESS:
            self._refused(ev.JobStopRequested(), InvalidState)
        elif seldom:
            self._decide(ev.JobStopRequested())

    @rule(seconds=st.sampled_from([-600.0, -1e-6, 0.0, 1e-6, 1.0, 60.0, 600.0]))
    def pass_time(self, *, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(seldom=_SELDOM)
    def reach_deadline(self, *, seldom: bool) -> None:
        deadline = self.decisions.state.deadline
        if deadline is None or self._decided_at() < deadline:
            self._unheeded(ev.DeadlinePassed())
        if deadline is not None and seldom:
            self.now = max(self.now, deadline)
            self._decide(ev.DeadlinePassed())
            assert self.decisions.state.job.closing is not None

    @rule(seldom=_SELDOM)
    def converge(self, *, seldom: bool) -> None:
        job = self.decisions.state.job
        if not self.decisions.state.goes_on or job.converged_at is not None:
            self._unheeded(ev.ConvergenceDetected())
        elif seldom:
            self._decide(ev.ConvergenceDetected())
            after = self.decisions.state.job
            assert after.converged_at == after.modified_at
            completes = self.decisions.state.spec.criteria.on_convergence
            assert (after.closing is not None) == completes

    # --- suggestions ----------------------------------------------------------------------

    @precondition(lambda self: self.ask is not None)
    @rule(missing=st.sampled_from([0, 0, 0, 1, 2]), exhausted=_SELDOM, seldom=_SELDOM)
    def suggest(self, *, missing: int, exhausted: bool, seldom: bool) -> None:
        if seldom and exhausted:
            self.ask = None
            self._decide(ev.SuggestionsFailed(reason="LinAlgError: not positive definite"))
        else:
            self._answer(missing=missing, exhausted=exhausted)

    def _answer(self, *, missing: int, exhausted: bool) -> None:
        ask = self.ask
        assert ask is not None
        self.ask = None
        definitions = self.decisions.state.spec.definitions
        indices = range(ask.first_index, ask.first_index + max(0, ask.count - missing))
        answer = ev.SuggestionsArrived(
            suggestions=tuple(
                Suggestion(
                    parameters={"learning_rate": f"{index}e-3"},
                    # Not by turns: some have more of one than of the other.
                    definition_name=definitions[index % 3 % len(definitions)].name,
                )
                for index in indices
            ),
            exhausted=exhausted,
        )
        goes_on = self.decisions.state.job.closing is None
        launched = self.decisions.state.job.launched
        self._decide(answer)
        expected = len(indices) if goes_on else 0
        assert self.decisions.state.job.launched == launched + expected

    @precondition(lambda self: self.ask is None)
    @rule()
    def suggest_unasked(self) -> None:
        answer = ev.SuggestionsArrived(
            suggestions=(Suggestion(parameters={"learning_rate": "1"}),), exhausted=True
        )
        self._unheeded(answer)
        self._unheeded(ev.SuggestionsFailed(reason="LinAlgError: too late"))

    # --- runners --------------------------------------------------------------------------

    @precondition(lambda self: self.waiting)
    @rule(pick=_PICK, host=st.sampled_from("ab"))
    def assign(self, *, pick: int, host: str) -> None:
        self._assign(sorted(self.waiting)[pick % len(self.waiting)], host)

    def _assign(self, name: str, host: str) -> None:
        self.waiting.discard(name)
        self.places[name] = host
        self._decide(ev.TrialAssigned(trial_name=name, runner_name=host, instance_id=host))

    @rule(pick=_PICK)
    def assign_what_does_not_wait(self, *, pick: int) -> None:
        names = [name for name in self.decisions.store.trials if name not in self.waiting]
        name = names[pick % len(names)] if names else "unknown"
        self._unheeded(ev.TrialAssigned(trial_name=name, runner_name="c", instance_id="c"))

    @precondition(lambda self: self.has_work)
    @rule(pick=_PICK, step=_PICK)
    def reach_stage(self, *, pick: int, step: int) -> None:
        trial = self._held(pick)
        able = [
            stage
            for stage in ev.Stage
            if trial.status is TrainingJobStatus.STOPPING
            or stage.value == trial.secondary_status
            or _may_report(trial.secondary_status, SecondaryStatus(stage.value))
        ]
        self._report(trial, ev.StageReached(stage=able[step % len(able)]))

    @precondition(lambda self: self.has_work)
    @rule(pick=_PICK, value=_VALUES, name=st.sampled_from([METRIC, METRIC, SECOND_METRIC]))
    def write(self, *, pick: int, value: float, name: str) -> None:
        self._report(self._held(pick), ev.OutputWritten(lines=(f"{name}={value}",)))
        self._report(self._held(pick), ev.MetricEmitted(metric_name=name, value=value))

    @precondition(lambda self: self.has_work)
    @rule(pick=_PICK, outcome=_OUTCOMES, retryable=st.booleans(), value=_VALUES)
    def end_trial(self, *, pick: int, outcome: ev.Outcome, retryable: bool, value: float) -> None:
        if not math.isnan(value):  # else it ends without a value, or with what it emitted before
            metric_name = self._metric_of(self._held(pick))
            self._report(self._held(pick), ev.MetricEmitted(metric_name=metric_name, value=value))
        trial = self._held(pick)
        self._report(trial, ended(outcome, retryable=retryable, started_at=self.now))
        if outcome is ev.Outcome.FAILED and retryable:
            self._retried_or_failed(trial)
        else:
            is_open = self.decisions.store.trials[trial.name].ended_at is None
            assert is_open == (outcome is ev.Outcome.RETURNED and not trial.stop_requested)

    @precondition(lambda self: self.has_work)
    @rule(pick=_PICK)
    def lose_runner(self, *, pick: int) -> None:
        trial = self._held(pick)
        self._decide(_lost(trial))
        if trial.stop_requested:
            lost = self.decisions.store.trials[trial.name]
            assert lost.status is TrainingJobStatus.STOPPED
        else:
            self._retried_or_failed(trial)

    def _retried_or_failed(self, before: Trial) -> None:
        """Check what became of a trial that failed, and not by its own fault."""
        terms = self.decisions.state.spec.definition_of(before).retry_terms
        after = self.decisions.store.trials[before.name]
        may_retry = before.retries < terms.most and not before.stop_requested
        if after.ended_at is None:
            assert may_retry
            assert after.retries == before.retries + 1
            assert after.spent >= before.spent
            assert terms.time_limit is None or after.spent < terms.time_limit
        else:
            assert after.retries == before.retries
            spent = after.runtime(after.ended_at)
            assert not may_retry or (terms.time_limit is not None and spent >= terms.time_limit)

    @precondition(lambda self: self.has_work)
    @rule(pick=_PICK, ahead=st.integers(2, 5))
    def report_with_gap(self, *, pick: int, ahead: int) -> None:
        trial = self._held(pick)
        report = ev.OutputWritten(lines=("lost?",))
        self._refused(self._reported(trial, trial.reported_sequence + ahead, report), SequenceGap)

    @precondition(lambda self: self.sent)
    @rule(pick=_PICK)
    def report_again(self, *, pick: int) -> None:
        reports = [report for sent in self.sent.values() for report in sent]
        self._unheeded(reports[pick % len(reports)])

    @precondition(lambda self: self.decisions.store.trials)
    @rule(pick=_PICK, off=st.sampled_from([-1, 1]))
    def report_under_another_lease(self, *, pick: int, off: int) -> None:
        trial = self._launched(pick)
        other = replace(trial, lease_token=trial.lease_token + off)
        stage = ev.StageReached(stage=ev.Stage.UPLOADING)
        self._unheeded(self._reported(other, trial.reported_sequence + 1, stage))
        self._unheeded(_lost(other))

    # --- pauses ---------------------------------------------------------------------------

    @precondition(lambda self: self.has_work and self.decisions.state.spec.pauses)
    @rule(pick=_PICK, value=_VALUES, comes_to_rest=st.booleans())
    def reach_rung(self, *, pick: int, value: float, comes_to_rest: bool) -> None:
        trial = self._held(pick)
        metric_name = self._metric_of(trial)
        self._report(trial, ev.MetricEmitted(metric_name=metric_name, value=value))
        verdict = StoppingVerdict(
            rule=StoppingRule.PAUSED, resource=1, value=value, rung=1, rank=1, entries=1
        )
        event = ev.TrialReachedRung(
            trial_name=trial.name, lease_token=trial.lease_token, verdict=verdict
        )
        trial = self.decisions.state.trials.get(trial.name, trial)
        is_stopping = trial.status is TrainingJobStatus.STOPPING
        if trial.lease is None or is_stopping or trial.pause_requested:
            self._unheeded(event)
            return
        self._decide(event)
        assert self.decisions.state.trials[trial.name].pause_requested
        if comes_to_rest:
            self._come_to_rest(trial.name)

    @precondition(lambda self: self.resting)
    @rule(pick=_PICK)
    def come_to_rest(self, *, pick: int) -> None:
        self._come_to_rest(self.resting[pick % len(self.resting)])

    def _come_to_rest(self, name: str) -> None:
        before = self.decisions.state.trials.get(name)
        if before is None or before.lease is None:
            return  # the service crashed, and was recovered, in between
        self._report(before, ended(ev.Outcome.RETURNED, started_at=self.now))
        after = self.decisions.store.trials[name]
        if before.stop_requested:
            assert after.status is TrainingJobStatus.STOPPED
        else:
            assert after.lease is None
            assert after.metrics.keys() == before.metrics.keys()
            # Others may be let go on, or the tuning job may end, in the same step.
            assert after.is_paused or after.status is TrainingJobStatus.STOPPED

    @precondition(lambda self: self.promotion_ask is not None)
    @rule(count=st.integers(0, 3), pick=_PICK)
    def promote(self, *, count: int, pick: int) -> None:
        ask = self.promotion_ask
        assert ask is not None
        paused = [trial.name for trial in self.decisions.state.paused]
        begin = pick % len(paused) if paused else 0
        names = tuple([*paused[begin:], *paused[:begin]][:count])
        places = self.decisions.state.resumable
        self.promotion_ask = None
        answer = ev.PromotionsArrived(number=ask.number, trial_names=names)
        if not self.decisions.state.promotions.is_asked:  # who was asked about has ended
            self._unheeded(answer)
            return
        self._decide(answer)
        for name in names[:places]:
            resumed = self.decisions.state.trials[name]
            assert resumed.secondary_status is SecondaryStatus.PENDING
            assert resumed.verdict is None

    @rule(off=st.integers(1, 3))
    def promote_unasked(self, *, off: int) -> None:
        number = self.decisions.state.promotions.number
        names = tuple(trial.name for trial in self.decisions.state.paused)
        self._unheeded(ev.PromotionsArrived(number=number - off, trial_names=names))

    # --- callers, crashes -----------------------------------------------------------------

    @precondition(lambda self: self.decisions.store.trials)
    @rule(pick=_PICK)
    def stop_trial(self, *, pick: int) -> None:
        trial = self._launched(pick)
        event = ev.TrialStopRequested(trial_name=trial.name)
        if trial.ended_at is not None or trial.status is TrainingJobStatus.STOPPING:
            self._refused(event, InvalidState)
        else:
            self._decide(event)
            stopped = self.decisions.store.trials[trial.name]
            assert stopped.stop_requested
            assert (stopped.ended_at is None) == (trial.lease is not None)

    @precondition(lambda self: self.decisions.store.trials)
    @rule(pick=_PICK, is_late=st.booleans())
    def fall_behind(self, *, pick: int, is_late: bool) -> None:
        trial = self._launched(pick)
        token = trial.lease_token - is_late
        verdict = StoppingVerdict(rule=StoppingRule.MEDIAN, resource=1, value=0.5, threshold=0.25)
        event = ev.TrialFellBehind(
            trial_name=trial.name, lease_token=token, reason="it is slow", verdict=verdict
        )
        is_held = trial.ended_at is None and trial.lease is not None and not is_late
        if not is_held or trial.stop_requested:
            self._unheeded(event)
        else:
            self._decide(event)
            behind = self.decisions.store.trials[trial.name]
            assert behind.stop_requested
            assert behind.verdict == verdict

    @rule(after_next_commit=st.booleans())
    def crash(self, *, after_next_commit: bool) -> None:
        if after_next_commit:
            self.is_crash_due = True
        else:
            self._recover()

    # --- what must hold -------------------------------------------------------------------

    @invariant()
    def all_is_durable_and_adds_up(self) -> None:
        self.decisions.check_durable()

    @invariant()
    def commands_keep_the_engine_informed(self) -> None:
        state = self.decisions.state
        waiting = SecondaryStatus.PENDING
        assert self.waiting == {n for n, t in state.trials.items() if t.secondary_status is waiting}
        assert len(state.trials) - len(state.paused) <= state.spec.max_parallel
        leases = {n: t.lease.instance_id for n, t in state.trials.items() if t.lease is not None}
        assert self.places == leases
        to_rest = {(n, t.lease_token) for n, t in state.trials.items() if t.pause_requested}
        assert to_rest - {(t.name, t.lease_token) for t in state.paused} <= self.told_to_rest
        to_stop = {(n, t.lease_token) for n, t in state.trials.items() if t.stop_requested}
        assert to_stop <= self.told_to_stop
        goes_on = not self.has_ended and state.job.closing is None
        assert not goes_on or (self.ask.count if self.ask else 0) == state.suggestions_wanted
        if state.promotions.is_asked:
            assert self.promotion_ask is not None
            assert self.promotion_ask.number == state.promotions.number

    # --- helpers --------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        return self.decisions.state.job.status.is_terminal

    @property
    def held(self) -> list[Trial]:
        return [t for t in self.decisions.state.trials.values() if t.lease is not None]

    @property
    def resting(self) -> list[str]:
        """Give the trials that were told to come to rest, and have not yet."""
        trials = self.decisions.state.trials.values()
        return [t.name for t in trials if t.pause_requested and t.lease is not None]

    @property
    def has_work(self) -> bool:
        can_launch = self.ask is not None and self.decisions.state.job.closing is None
        return not self.is_crash_due and bool(self.held or self.waiting or can_launch)

    def _held(self, pick: int) -> Trial:
        """Pick a trial that a runner holds; see to it that there is one."""
        if not self.held and not self.waiting:
            self._answer(missing=0, exhausted=False)
        if not self.held:
            self._assign(sorted(self.waiting)[pick % len(self.waiting)], "a")
        return self.held[pick % len(self.held)]

    def _metric_of(self, trial: Trial) -> str:
        return self.decisions.state.spec.definition_of(trial).metric_name

    def _launched(self, pick: int) -> Trial:
        trials = list(self.decisions.store.trials.values())
        return trials[pick % len(trials)]

    def _decide(self, event: ev.Event) -> None:
        commands = self.decisions.decide(event, self.now)
        type(self).decided += 1
        if self.is_crash_due:
            self.is_crash_due = False
            self._recover()
            return
        for command in commands:
            self._act(command)

    def _recover(self) -> None:
        self.decisions.crash()
        trials = self.decisions.state.trials
        self.ask, self.promotion_ask = None, None
        self.waiting = set()
        self.places = {n: t.lease.instance_id for n, t in trials.items() if t.lease is not None}
        # Runners that connect anew are told.
        self.told_to_stop = {(n, t.lease_token) for n, t in trials.items() if t.stop_requested}
        self.told_to_rest = {(n, t.lease_token) for n, t in trials.items() if t.pause_requested}
        for command in self.decisions.decide(ev.Recovered(), self.now):
            self._act(command)

    def _act(self, command: fx.Command) -> None:
        match command:
            case fx.Suggest():
                assert self.ask is None, "one ask at a time"
                assert command.first_index == self.decisions.state.job.launched + 1
                self.ask = command
            case fx.Promote():
                self.promotion_ask = command
            case fx.Enqueue(trial=trial):
                assert trial == self.decisions.state.trials[trial.name]
                assert trial.name not in self.places, "its old place is freed first"
                self.waiting.add(trial.name)
            case fx.Withdraw(trial_name=name):
                self.waiting.discard(name)
            case fx.Release(trial_name=name, instance_id=instance_id):
                assert self.places.pop(name) == instance_id
            case fx.StopOnRunner():
                told = self.told_to_rest if command.gives_back else self.told_to_stop
                told.add((command.trial_name, command.lease_token))

    def _unheeded(self, event: ev.Event) -> None:
        """Check that an event changes nothing."""
        before = self.decisions.state
        assert self.decisions.decide(event, self.now) == []
        type(self).decided += 1
        assert self.decisions.state == before

    def _refused(self, event: ev.Event, error: type[Exception]) -> None:
        before = self.decisions.state
        with pytest.raises(error):
            self.decisions.decide(event, self.now)
        type(self).decided += 1
        assert self.decisions.state == before

    def _report(self, trial: Trial, report: ev.Report) -> None:
        reported = self._reported(trial, trial.reported_sequence + 1, report)
        self.sent.setdefault((trial.name, trial.lease_token), []).append(reported)
        self._decide(reported)

    def _reported(self, trial: Trial, sequence: int, report: ev.Report) -> ev.TrialReported:
        return ev.TrialReported(
            trial_name=trial.name,
            lease_token=trial.lease_token,
            sequence=sequence,
            reported_at=self.now,
            report=report,
        )

    def _decided_at(self) -> datetime:
        changes = [trial.modified_at for trial in self.decisions.state.trials.values()]
        return max([self.now, self.decisions.state.job.modified_at, *changes])


def _lost(trial: Trial) -> ev.RunnerLost:
    return ev.RunnerLost(trial_name=trial.name, lease_token=trial.lease_token, reason="gone")


def _may_report(start: SecondaryStatus, end: SecondaryStatus) -> bool:
    return Cause.RUNNER in TRAINING_JOB_TRANSITIONS.get((start, end), frozenset())


def _run(*, examples: int, derandomize: bool) -> int:
    """Run that many machines of 50 rules each; returns how many events they decided."""

    class Machine(LifecycleMachine):
        decided: ClassVar[int] = 0

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            derandomize=derandomize,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Machine.decided


@pytest.mark.timeout(120)
def test_no_order_of_events_breaks_the_lifecycle() -> None:
    assert _run(examples=250, derandomize=True) >= 5_000


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_order_of_events_breaks_the_lifecycle_in_a_long_run() -> None:
    assert _run(examples=2_800, derandomize=False) >= 100_000
