"""Early stopping: who falls behind is told to stop, whoever runs it, also after a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.server.domain.job_specs import job_spec
from tests.server.engine.engine_parts import Engine, new_state, running_engine
from tests.server.engine.test_callers import HOUR, ask, complete, report, stored
from tests.server.store import samples
from tunesmith_server.domain.effects import DropMeasurements, Durable, SaveTrial
from tunesmith_server.domain.events import TrialFellBehind, TrialReachedRung
from tunesmith_server.domain.states import SecondaryStatus, TrainingJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import HalvingTerms, JobSpec, JobState, Strategy
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict
from tunesmith_server.engine.early_stopping import EarlyStopping
from tunesmith_server.store.store import Curve

METRIC = "loss"


async def run_to_its_end(engine: Engine, *values: float) -> Trial:
    (trial,) = await ask(engine, "a")
    for value in values:
        assert not await report(engine, trial, {METRIC: value})
    await complete(engine, trial, values[-1])
    return trial


async def test_a_trial_that_falls_behind_is_told_so_by_its_own_report(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=3, lease=HOUR, stops_early=True)
        for values in ((0.9, 0.5), (0.8, 0.4)):
            await run_to_its_end(engine, *values)
        (trial,) = await ask(engine, "a")
        assert not await report(engine, trial, {METRIC: 0.85})
        assert not await report(engine, trial, {"other": 9.0})
        assert await report(engine, trial, {METRIC: 0.75})
        stopping = await stored(engine, trial.name)
        assert stopping.secondary_status is SecondaryStatus.STOPPING
        assert stopping.transitions[-1].message == (
            "Stopping the training job early: at epoch 2 its objective, 0.75, was worse than 0.65, "
            "the median of the averages up to there of the 2 training jobs that have ended"
        )
        await complete(engine, trial, 0.75)
        ended = await stored(engine, trial.name)
        assert ended.status is TrainingJobStatus.STOPPED
        assert ended.objective_value == 0.75
        job = await engine.store.job("digits")
        assert job is not None
        assert (job.job.counters.completed, job.job.counters.stopped) == (2, 1)
        assert ended.verdict == StoppingVerdict(
            rule=StoppingRule.MEDIAN, resource=2, value=0.75, entries=2, threshold=0.65
        )


async def test_without_auto_nobody_is_stopped(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=3, lease=HOUR)
        for values in ((0.9, 0.5), (0.8, 0.4)):
            await run_to_its_end(engine, *values)
        (trial,) = await ask(engine, "a")
        assert not await report(engine, trial, {METRIC: 99.0})


async def test_a_restarted_server_judges_by_what_it_knew(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("digits", jobs=9, parallel=3, lease=HOUR, stops_early=True)
        for values in ((0.9, 0.5), (0.8, 0.4)):
            await run_to_its_end(engine, *values)
        (trial,) = await ask(engine, "a")
        assert not await report(engine, trial, {METRIC: 0.8})
    async with running_engine(tmp_path) as engine:
        assert await report(engine, trial, {METRIC: 0.7})


# --- what is taken in -------------------------------------------------------------------------


def curve(
    name: str,
    *values: float,
    status: TrainingJobStatus = TrainingJobStatus.COMPLETED,
    index: int = 1,
    parameters: Mapping[str, str] | None = None,
    lease_tokens: Sequence[int] | None = None,
    at_s: int = 0,
) -> Curve:
    return Curve(
        trial_name=name,
        index=index,
        suggestion=Suggestion(parameters=parameters or {}),
        status=status,
        lease_tokens=tuple(lease_tokens or [1] * len(values)),
        times=tuple(samples.NOW + timedelta(seconds=at_s + n) for n in range(len(values))),
        steps=tuple(range(1, len(values) + 1)),
        values=values,
    )


def ended_curves(*averages: float) -> list[Curve]:
    return [curve(f"old-{value}", value) for value in averages]


def state_with(*names: str) -> JobState:
    trials = {name: samples.new_trial(name) for name in names}
    return replace(new_state(), trials=trials)


def behind(stopping: EarlyStopping, *durable: Durable, names: Sequence[str] = ("t",)) -> list[str]:
    return [event.trial_name for event in stopping.observe(state_with(*names), durable)]


def emitted(value: float, *, name: str = "t", sequence: int = 1) -> Durable:
    return samples.measured(name, sequence, value, metric=job_spec().definition.metric_name)


def test_what_has_ended_or_begun_anew_meanwhile_is_not_stopped() -> None:
    stopping = EarlyStopping(job_spec(), ended_curves(1.0, 2.0))
    assert behind(stopping, emitted(3.0)) == ["t"]
    dropped = DropMeasurements(trial_name="t")
    assert behind(stopping, emitted(3.0), dropped) == []
    assert behind(stopping, emitted(3.0), dropped, emitted(1.0)) == []
    assert behind(stopping, emitted(3.0, name="u"), names=()) == []


def test_failed_trials_are_no_measure_and_stopped_ones_are() -> None:
    for status, secondary in (
        (TrainingJobStatus.FAILED, SecondaryStatus.FAILED),
        (TrainingJobStatus.STOPPED, SecondaryStatus.STOPPED),
    ):
        stopping = EarlyStopping(job_spec(), ended_curves(1.0))
        trial = samples.ended_trial(samples.new_trial("old"), objective=None, at=samples.NOW)
        trial = replace(trial, secondary_status=secondary)
        assert trial.status is status
        # The end is written before the last value, which belongs to it all the same.
        assert behind(stopping, SaveTrial(trial=trial), emitted(2.0, name="old")) == []
        is_measure = status is TrainingJobStatus.STOPPED
        assert behind(stopping, emitted(3.0)) == (["t"] if is_measure else [])


def test_a_recalled_trial_goes_on_where_it_was() -> None:
    open_one = curve("t", 1.0, status=TrainingJobStatus.IN_PROGRESS)
    ended = [curve(name, 1.0, 1.0) for name in "ab"]
    stopping = EarlyStopping(job_spec(), [*ended, open_one])
    (event,) = stopping.observe(state_with("t"), [emitted(1.5, sequence=2)])
    assert isinstance(event, TrialFellBehind)
    assert event.reason.startswith("at epoch 2 ")
    assert event.lease_token == 1


# --- Hyperband --------------------------------------------------------------------------------


def hyperband(*, most: int = 9, least: int | None = 1, schedule: str | None = None) -> JobSpec:
    spec = job_spec(strategy=Strategy.HYPERBAND)
    terms = HalvingTerms(min_resource=least, max_resource=most, schedule=schedule)
    (definition,) = spec.definitions
    return replace(spec, definitions=(replace(definition, halving_terms=terms),))


def test_hyperband_stops_who_falls_behind_at_a_rung() -> None:
    stopping = EarlyStopping(hyperband(), [curve("a", 1.0), curve("b", 2.0)])
    (event,) = stopping.observe(state_with("t"), [emitted(3.0)])
    assert isinstance(event, TrialFellBehind)
    assert event.reason == (
        "at rung 1, resource 1, its objective, 3, was number 3 of 3; it would have gone on with 1.5"
    )
    assert event.verdict == StoppingVerdict(
        rule=StoppingRule.HALVING, resource=1, value=3, rung=1, rank=3, entries=3, threshold=1.5
    )
    assert behind(stopping, emitted(1.0, name="u"), names=("u",)) == []


def test_hyperband_stops_who_goes_on_beyond_the_full_resource() -> None:
    stopping = EarlyStopping(hyperband(most=2))
    assert behind(stopping, emitted(1.0), emitted(1.0, sequence=2)) == []
    (event,) = stopping.observe(state_with("t"), [emitted(1.0, sequence=3)])
    assert event.verdict == StoppingVerdict(rule=StoppingRule.FULL_RESOURCE, resource=3, value=1.0)


def test_one_trial_of_sixteen_is_not_judged_at_the_first_rung() -> None:
    stopping = EarlyStopping(hyperband(), [curve("a", 1.0), curve("b", 2.0)])
    trials = {"t": replace(samples.new_trial("t"), index=16)}
    state = replace(new_state(), trials=trials)
    assert not stopping.observe(state, [emitted(3.0)])
    stopping = EarlyStopping(hyperband(), [*(curve(name, 1.0, 1.0, 1.0, 1.0) for name in "ab")])
    assert not stopping.observe(state, [emitted(3.0)])
    (event,) = stopping.observe(state, [emitted(3.0, sequence=4)])
    assert event.verdict.rung == 2


def test_a_tuned_number_of_epochs_is_a_trials_own_resource() -> None:
    spec = hyperband(most=90, least=None, schedule="epochs")  # rungs at 3, 12 and 48
    known = [curve(name, *[1.0] * 30, parameters={"epochs": "90"}) for name in "ab"]
    stopping = EarlyStopping(spec, known)
    trial = replace(samples.new_trial("t"), parameters={"epochs": "60"})
    state = replace(new_state(), trials={"t": trial})
    assert not stopping.observe(state, [emitted(2.0)])
    (event,) = stopping.observe(state, [emitted(2.0, sequence=2)])
    assert (event.verdict.rung, event.verdict.resource) == (1, 2)


def test_a_restart_changes_no_decision_of_hyperband() -> None:
    known = [curve(f"old-{n}", float(n), index=n) for n in range(1, 7)]
    lived, restarted = EarlyStopping(hyperband()), EarlyStopping(hyperband(), known)
    for each in known:
        trials = {each.trial_name: replace(samples.new_trial(each.trial_name), index=each.index)}
        state = replace(new_state(), trials=trials)
        lived.observe(state, [emitted(each.values[0], name=each.trial_name)])
    state = state_with("t")
    assert lived.observe(state, [emitted(2.6)]) == restarted.observe(state, [emitted(2.6)])


# --- pauses -----------------------------------------------------------------------------------


def pausing(*, most: int = 9) -> JobSpec:
    spec = hyperband(most=most)
    (definition,) = spec.definitions
    assert definition.halving_terms is not None
    terms = replace(definition.halving_terms, pauses=True)
    return replace(spec, definitions=(replace(definition, halving_terms=terms),))


def resting(*names: str) -> JobState:
    """Give a tuning job whose trials all rest at a rung."""
    trials = {
        name: replace(
            samples.new_trial(name),
            secondary_status=SecondaryStatus.INTERRUPTED,
            pause_requested=True,
        )
        for name in names
    }
    return replace(new_state(pausing()), trials=trials)


def test_with_checkpoints_hyperband_pauses_at_a_rung_and_says_who_may_go_on() -> None:
    stopping = EarlyStopping(pausing())
    for name, value in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True):
        (event,) = stopping.observe(state_with(name), [emitted(value, name=name)])
        assert isinstance(event, TrialReachedRung)
        assert event.verdict.rule is StoppingRule.PAUSED
        assert (event.verdict.rung, event.verdict.resource, event.lease_token) == (1, 1, 1)
    assert stopping.promotable(resting("b", "c", "d"), is_last=False) == [], (
        "a has not come to rest"
    )
    assert stopping.promotable(resting("a", "b", "c", "d"), is_last=False) == ["a"]
    stopping.observe(state_with("a"), [SaveTrial(trial=samples.new_trial("a"))])
    assert stopping.promotable(resting("b", "c", "d"), is_last=False) == []
    assert behind(stopping, emitted(0.5, name="a", sequence=2), names=("a",)) == []
    assert behind(stopping, emitted(0.5, name="a", sequence=4), names=("a",)) == ["a"]
    assert stopping.promotable(resting("a", "b", "c", "d"), is_last=True) == ["a"]


def test_a_restarted_server_knows_who_rests_and_who_may_go_on() -> None:
    known = [
        curve(name, value, index=index, status=TrainingJobStatus.IN_PROGRESS)
        for index, (name, value) in enumerate(zip("bcd", (2.0, 3.0, 4.0), strict=True), start=2)
    ]
    gone_on = curve("a", 1.0, 0.9, status=TrainingJobStatus.IN_PROGRESS)
    stopping = EarlyStopping(pausing(), [gone_on, *known], paused={"b", "c", "d"})
    assert stopping.promotable(resting("b", "c", "d"), is_last=False) == []
    (event,) = stopping.observe(state_with("e"), [emitted(1.5, name="e")])
    assert (event.verdict.rank, event.verdict.entries) == (2, 5)
    for name in "fgh":
        stopping.observe(state_with(name), [emitted(9.0, name=name)])
    assert stopping.promotable(resting(*"bcdefgh"), is_last=False) == ["e"]
    (event,) = stopping.observe(state_with("a"), [emitted(0.8, name="a", sequence=4)])
    assert event.verdict.rung == 2


def test_a_restarted_server_passes_over_what_came_on_the_way_to_a_rest() -> None:
    """Live and after a restart: four trials that emit up to the second rung before they rest."""
    values = {name: (float(value), 0.5, 0.5, 0.5) for value, name in enumerate("abcd", start=1)}
    live = EarlyStopping(pausing())
    for name, emits in values.items():
        for sequence, value in enumerate(emits, start=1):
            live.observe(state_with(name), [emitted(value, name=name, sequence=sequence)])
    curves = [
        curve(name, *emits, status=TrainingJobStatus.IN_PROGRESS, at_s=10 * index, index=index)
        for index, (name, emits) in enumerate(values.items(), start=1)
    ]
    restarted = EarlyStopping(pausing(), curves, paused=set("abcd"))
    for stopping in (live, restarted):
        assert stopping.promotable(resting(*"abcd"), is_last=False) == ["a"]
        stopping.observe(state_with("a"), [SaveTrial(trial=samples.new_trial("a"))])
        (event,) = stopping.observe(state_with("a"), [emitted(0.4, name="a", sequence=5)])
        assert (event.verdict.rung, event.verdict.entries) == (2, 1)


def test_a_restarted_server_judges_in_the_order_of_time() -> None:
    """What had earned to go on without a rest does so again, and has all its entries."""
    known = [
        curve(name, value, status=TrainingJobStatus.IN_PROGRESS, at_s=index)
        for index, (name, value) in enumerate(zip("bcd", (2.0, 3.0, 4.0), strict=True))
    ]
    best = curve("a", 1.0, 1.0, 1.0, 1.0, status=TrainingJobStatus.IN_PROGRESS, at_s=10)
    stopping = EarlyStopping(pausing(), [best, *known], paused=set("bcd"))
    (event,) = stopping.observe(state_with("e"), [emitted(0.5, name="e", sequence=4)])
    assert (event.verdict.rung, event.verdict.entries) == (2, 2)


def test_beyond_the_full_resource_a_trial_that_could_rest_is_stopped_too() -> None:
    stopping = EarlyStopping(pausing(most=2))
    assert behind(stopping, emitted(1.0), emitted(1.0, sequence=2)) == ["t"]
    trial = replace(samples.new_trial("t"), index=1)
    stopping.observe(state_with("t"), [SaveTrial(trial=trial)])
    (event,) = stopping.observe(state_with("t"), [emitted(1.0, sequence=3)])
    assert isinstance(event, TrialFellBehind)
    assert event.verdict.rule is StoppingRule.FULL_RESOURCE
