"""Callers that run trials, as a state machine: any order of calls, late and repeated ones too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
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

from tests.server.domain.job_specs import CREATED_AT, METRIC, job_spec
from tests.simulation.decisions import Decisions
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import AlreadyCompleted, Conflict, TunesmithError
from tunesmith_server.domain.states import TrainingJobStatus
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobSpec, LeaseTerms

_SPECS = st.builds(
    job_spec,
    jobs=st.sampled_from([6, 8, 5, 2, 1]),
    parallel=st.sampled_from([3, 4, 2, 1]),
    maximise=st.booleans(),
    max_runtime=st.sampled_from([timedelta(hours=1), None]),
    lease_terms=st.builds(
        LeaseTerms, duration=st.just(timedelta(minutes=1)), offers_again=st.booleans()
    ),
)
_VALUES = st.sampled_from([0.5, 0.25, 1.0, math.nan, math.inf])
_PICK = st.integers(0, 2**16)
_CLIENTS = st.sampled_from(["a", "b", "c"])
_SELDOM = st.integers(0, 15).map(lambda drawn: drawn > 12)


class CallerMachine(RuleBasedStateMachine):
    """Ask, report, complete, fall silent, stop and crash, in any order; a model counts along."""

    decided: ClassVar[int] = 0

    decisions: Decisions
    #: What the model says of who holds which trial: the tokens that are good.
    holders: dict[str, tuple[str, int]]
    #: Every pair of trial and token that was ever handed out.
    tokens: set[tuple[str, int]]

    @initialize(spec=_SPECS)
    def begin(self, *, spec: JobSpec) -> None:
        self.now = CREATED_AT
        self.decisions = Decisions(spec, self.now)
        self.holders, self.tokens = {}, set()

    @rule(
        client=_CLIENTS,
        count=st.integers(0, 4),
        found=st.integers(0, 4),
        stale=_SELDOM,
        exhausted=_SELDOM,
    )
    def ask(self, *, client: str, count: int, found: int, stale: bool, exhausted: bool) -> None:
        before = self.decisions.state
        goes_on, launchable = before.goes_on, before.launchable
        waiting = sorted(
            (trial.index, name) for name, trial in before.trials.items() if trial.lease is None
        )
        lacking = max(0, count - len(before.held_by(client))) if goes_on else 0
        old = [name for _, name in waiting][:lacking]
        new = 0 if stale else min(lacking - len(old), launchable, found)
        commands = self._decide(
            ev.TrialsRequested(
                client_id=client,
                count=count,
                first_index=before.job.launched + 1 + stale,
                configurations=({"learning_rate": "1e-3"},) * found,
                exhausted=exhausted,
            )
        )
        after = self.decisions.state
        lent = [command.trial for command in commands if isinstance(command, fx.Lend)]
        assert [trial.name for trial in lent][: len(old)] == old
        assert len(lent) == len(old) + new
        assert after.job.launched == before.job.launched + new
        for trial in lent:
            assert trial.lease is not None
            assert trial.lease.instance_id == client
            assert (trial.name, trial.lease.token) not in self.tokens, "a token is given once"
            self.tokens.add((trial.name, trial.lease.token))
            self.holders[trial.name] = (client, trial.lease.token)

    @precondition(lambda self: self.holders)
    @rule(pick=_PICK, value=_VALUES, step=st.integers(0, 3))
    def report(self, *, pick: int, value: float, step: int) -> None:
        trial = self._pick(pick)
        last = trial.metrics.get(METRIC)
        known = last is not None and 0 < step <= last.step
        self._decide(self._report_of(trial.name, trial.lease_token, {METRIC: value}, step))
        after = self.decisions.state.trials[trial.name]
        assert (after == trial) == known
        if not known:
            assert after.metrics[METRIC].step == (step or (last.step if last else 0) + 1)

    @precondition(lambda self: self.holders)
    @rule(pick=_PICK, verdict=st.sampled_from(ev.Verdict), value=_VALUES)
    def complete(self, *, pick: int, verdict: ev.Verdict, value: float) -> None:
        trial = self._pick(pick)
        self._decide(_completed(trial.name, trial.lease_token, verdict, value))
        ended = self.decisions.store.trials[trial.name]
        assert ended.ended_at is not None
        measured = verdict is ev.Verdict.MEASURED and math.isfinite(value)
        assert ended.objective_value == (value if measured else None)
        expected = {
            ev.Verdict.FAILED: TrainingJobStatus.FAILED,
        }.get(
            verdict,
            TrainingJobStatus.STOPPED if trial.stop_requested else TrainingJobStatus.COMPLETED,
        )
        assert ended.status is expected

    @precondition(lambda self: self.holders)
    @rule(pick=_PICK)
    def fall_silent(self, *, pick: int) -> None:
        trial = self._pick(pick)
        self._decide(ev.LeaseExpired(trial_name=trial.name, lease_token=trial.lease_token))
        after = self.decisions.store.trials[trial.name]
        terms = self.decisions.state.spec.lease_terms
        assert terms is not None
        waits = after.ended_at is None
        # The tuning job may have given up for this, and so have stopped it at once.
        assert waits <= (terms.offers_again and not trial.stop_requested)
        assert after.lease is None

    @precondition(lambda self: self.tokens)
    @rule(pick=_PICK, complete=st.booleans())
    def call_under_an_old_lease(self, *, pick: int, complete: bool) -> None:
        tokens = sorted(self.tokens)
        name, token = tokens[pick % len(tokens)]
        if self.holders.get(name, ("", 0))[1] == token:
            return
        is_open = name in self.decisions.state.trials
        event = (
            _completed(name, token, ev.Verdict.MEASURED, 0.0)
            if complete
            else self._report_of(name, token, {METRIC: 0.0}, 0)
        )
        self._refused(event, Conflict if is_open else AlreadyCompleted)
        before = self.decisions.state
        self._decide(ev.LeaseExpired(trial_name=name, lease_token=token))
        assert self.decisions.state == before

    @rule(pick=_PICK, seldom=_SELDOM)
    def stop(self, *, pick: int, seldom: bool) -> None:
        state = self.decisions.state
        able = [name for name, trial in sorted(state.trials.items()) if not trial.stop_requested]
        if seldom and state.goes_on and pick % 4 == 0:
            self._decide(ev.JobStopRequested())
        elif able:
            self._decide(ev.TrialStopRequested(trial_name=able[pick % len(able)]))

    @rule()
    def crash(self) -> None:
        self.decisions.crash()
        assert self._decide(ev.Recovered()) == []

    @invariant()
    def the_model_agrees(self) -> None:
        if not hasattr(self, "decisions"):
            return
        held = {
            name: (trial.lease.instance_id, trial.lease.token)
            for name, trial in self.decisions.state.trials.items()
            if trial.lease is not None
        }
        assert held == self.holders
        self.decisions.check_durable()

    def _pick(self, pick: int) -> Trial:
        names = sorted(self.holders)
        return self.decisions.state.trials[names[pick % len(names)]]

    @staticmethod
    def _report_of(
        name: str, token: int, values: Mapping[str, float], step: int
    ) -> ev.MetricsReported:
        return ev.MetricsReported(trial_name=name, lease_token=token, step=step, values=values)

    def _decide(self, event: ev.Event) -> list[fx.Command]:
        type(self).decided += 1
        self.now += timedelta(seconds=1)
        commands = self.decisions.decide(event, self.now)
        for command in commands:
            if isinstance(command, fx.Release):
                del self.holders[command.trial_name]
        return commands

    def _refused(self, event: ev.Event, kind: type[TunesmithError]) -> None:
        before = self.decisions.state
        with pytest.raises(kind):
            self.decisions.decide(event, self.now)
        assert self.decisions.state == before


def _completed(
    name: str, token: int, verdict: ev.Verdict, value: float | None
) -> ev.TrialCompleted:
    return ev.TrialCompleted(
        trial_name=name, lease_token=token, verdict=verdict, value=value, reason="why"
    )


@pytest.mark.timeout(120)
def test_no_order_of_callers_calls_breaks_the_lifecycle() -> None:
    CallerMachine.decided = 0
    run_state_machine_as_test(
        CallerMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=60,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert CallerMachine.decided > 1_000
