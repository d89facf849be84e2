"""What every store must do; ``store`` is a fresh store of each kind.

Listings, round trips and tags have files of their own beside this one.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.server.domain.job_specs import job_spec
from tests.server.domain.outcomes import outcome_of
from tests.server.store import samples
from tests.server.store.samples import NOW, about, changed, existing, lines, measured, new_job
from tunesmith.v1 import event_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.effects import (
    Announce,
    AnnounceState,
    DropMeasurements,
    SaveTrial,
)
from tunesmith_server.domain.errors import (
    Conflict,
    ResourceInUse,
    StoreUnavailable,
)
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.tuning_job import JobState
from tunesmith_server.store.store import Store, StoredJob

# --- creating ---------------------------------------------------------------------------------


async def test_a_new_tuning_job_is_in_progress_at_version_0(store: Store) -> None:
    new = new_job("Digits")
    stored = await store.create_job(new)
    assert stored.request == new.request
    assert (stored.arn, stored.seed, stored.in_progress) == (new.arn, new.seed, 0)
    assert stored.job.status is TuningJobStatus.IN_PROGRESS
    assert (stored.job.version, stored.job.launched, stored.job.best) == (0, 0, None)
    assert stored.job.created_at == stored.job.modified_at == new.created_at
    assert await store.job("Digits") == stored


async def test_a_name_is_found_in_any_case_and_kept_as_written(store: Store) -> None:
    await store.create_job(new_job("Digits"))
    found = await existing(store, "dIGITS")
    assert found.request.hyper_parameter_tuning_job_name == "Digits"


async def test_parents_are_read_in_order_and_outlive_their_names(store: Store) -> None:
    ids = [(await store.create_job(new_job(name))).job.job_id for name in ("a", "b", "c")]
    child = await store.create_job(replace(new_job("child"), parents=[ids[2], ids[0]]))
    await store.delete_job(ids[0], deleted_at=NOW)
    again = await store.create_job(new_job("a"))
    found = await store.parents(child.job.job_id)
    assert [each.job.job_id for each in found] == [ids[2], ids[0]]
    assert [each.request.hyper_parameter_tuning_job_name for each in found] == ["c", "a"]
    assert await store.parents(again.job.job_id) == ()


async def test_an_unknown_name_is_none(store: Store) -> None:
    assert await store.job("nobody") is None
    assert await store.trial("nobody") is None


async def test_a_taken_name_is_refused_in_any_case_and_leaves_nothing(store: Store) -> None:
    first = await store.create_job(new_job("Digits", tags={"team": "a"}))
    with pytest.raises(ResourceInUse, match="DIGITS"):
        await store.create_job(
            new_job("DIGITS", tags={"team": "b"}, request_id="r", events=[about("second")])
        )
    assert await store.job("digits") == first
    assert await store.tags(first.arn) == {"team": "a"}
    assert await store.find_request("r") is None
    assert await store.events(first.job.job_id, after=0, limit=10) == ()


async def test_of_many_creates_of_one_name_one_wins(store: Store) -> None:
    answers = await samples.outcomes(*(store.create_job(new_job("Digits")) for _ in range(20)))
    assert sum(isinstance(answer, StoredJob) for answer in answers) == 1
    assert sum(isinstance(answer, ResourceInUse) for answer in answers) == 19


async def test_a_create_writes_tags_events_and_request_id(store: Store) -> None:
    new = new_job("digits", tags={"b": "2", "a": ""}, request_id="r-1", events=[about("first")])
    stored = await store.create_job(new)
    assert await store.tags(stored.arn) == {"a": "", "b": "2"}
    assert lines(await store.events(stored.job.job_id, after=0, limit=10)) == ["first"]
    assert await store.find_request("r-1") == "CreateHyperParameterTuningJob/digits"


async def test_a_repeated_create_returns_the_first_job(store: Store) -> None:
    first = await store.create_job(new_job("digits", request_id="r-1", seed=1))
    later = new_job("digits", request_id="r-1", seed=2, created_at=NOW + timedelta(seconds=9))
    assert await store.create_job(later) == first
    assert len(await store.open_jobs()) == 1


async def test_a_repeated_create_returns_the_first_job_even_if_it_was_deleted(
    store: Store,
) -> None:
    first = await store.create_job(new_job("digits", request_id="r-1"))
    await store.delete_job(first.job.job_id, deleted_at=NOW)
    assert (await store.create_job(new_job("digits", request_id="r-1"))).job == first.job
    assert await store.job("digits") is None


async def test_repeats_at_the_same_time_all_return_one_job(store: Store) -> None:
    calls = [store.create_job(new_job("digits", request_id="r-1")) for _ in range(10)]
    stored = await asyncio.gather(*calls)
    assert len({one.job.job_id for one in stored}) == 1


async def test_a_request_id_used_for_another_create_is_a_conflict(store: Store) -> None:
    await store.create_job(new_job("digits", request_id="r-1"))
    with pytest.raises(Conflict, match="r-1"):
        await store.create_job(new_job("letters", request_id="r-1"))
    assert await store.job("letters") is None


async def test_a_repeat_is_known_by_what_was_asked_for_not_by_what_was_chosen(
    store: Store,
) -> None:
    asked = pb.CreateHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name="digits")
    first = await store.create_job(new_job("digits", request_id="r-1", asked=asked))
    later = new_job("digits", request_id="r-1", asked=asked)
    later.request.hyper_parameter_tuning_job_config.resource_limits.max_number_of_training_jobs = 9
    assert (await store.create_job(later)).request == first.request
    asked.tags.add(key="team", value="a")
    with pytest.raises(Conflict, match="r-1"):
        await store.create_job(later)


async def test_a_request_id_used_for_a_commit_is_a_conflict(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    await store.commit(changed(stored, request_id="r-1"))
    assert await store.find_request("r-1") == "commit/digits"
    with pytest.raises(Conflict):
        await store.create_job(new_job("letters", request_id="r-1"))
    with pytest.raises(Conflict):
        await store.commit(changed(await existing(store, "digits"), request_id="r-1"))
    assert (await existing(store, "digits")).job.version == 1


# --- committing -------------------------------------------------------------------------------


async def test_a_commit_writes_all_that_it_is_given(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    trial = samples.new_trial("digits-001")
    await store.commit(
        changed(
            stored,
            SaveTrial(trial=trial, is_new=True),
            measured("digits-001", 1, 0.5),
            Announce(message=about("launched"), trial_name="digits-001"),
        )
    )
    after = await existing(store, "digits")
    assert (after.job.version, after.in_progress) == (1, 1)
    assert await store.open_trials(stored.job.job_id) == (trial,)
    assert [value for _, _, value, _ in await store.measurements("digits-001")] == [0.5]
    assert lines(await store.events(stored.job.job_id, after=0, limit=10)) == ["launched"]


async def test_a_commit_on_a_stale_version_changes_nothing(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    await store.commit(changed(stored))
    late = changed(
        stored,
        SaveTrial(trial=samples.new_trial("digits-001"), is_new=True),
        Announce(message=about("late")),
        request_id="r-1",
    )
    with pytest.raises(Conflict):
        await store.commit(late)
    assert (await existing(store, "digits")).job.version == 1
    assert await store.trial("digits-001") is None
    assert await store.events(stored.job.job_id, after=0, limit=10) == ()
    assert await store.find_request("r-1") is None


async def test_a_commit_that_skips_a_version_is_a_conflict(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    ahead = replace(stored, job=replace(stored.job, version=4))
    with pytest.raises(Conflict):
        await store.commit(changed(ahead))


async def test_of_many_commits_on_one_version_one_wins(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    commits = [changed(stored, Announce(message=about(str(number)))) for number in range(20)]
    answers = await samples.outcomes(*(store.commit(commit) for commit in commits))
    assert answers.count(None) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19
    winner = answers.index(None)
    assert lines(await store.events(stored.job.job_id, after=0, limit=99)) == [str(winner)]


async def test_a_commit_for_no_tuning_job_is_a_conflict(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    nobody = replace(stored, job=replace(stored.job, job_id=stored.job.job_id + 1))
    with pytest.raises(Conflict):
        await store.commit(changed(nobody))


async def test_a_commit_to_a_deleted_tuning_job_is_a_conflict(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    await store.delete_job(stored.job.job_id, deleted_at=NOW)
    with pytest.raises(Conflict):
        await store.commit(changed(stored))


async def test_a_report_written_twice_is_a_conflict_and_nothing_of_it_stays(store: Store) -> None:
    stored = await samples.with_trials(store, "digits", [samples.new_trial("digits-001")])
    await store.commit(changed(stored, measured("digits-001", 1, 0.5)))
    again = changed(
        await existing(store, "digits"),
        Announce(message=about("again")),
        measured("digits-001", 1, 0.25),
    )
    with pytest.raises(Conflict):
        await store.commit(again)
    assert (await existing(store, "digits")).job.version == stored.job.version + 1
    assert await store.events(stored.job.job_id, after=0, limit=10) == ()
    assert len(await store.measurements("digits-001")) == 1


async def test_very_many_values_and_events_of_one_commit_stay_in_their_order(store: Store) -> None:
    stored = await samples.with_trials(store, "digits", [samples.new_trial("digits-001")])
    effects = [
        effect
        for number in range(1, 1500)
        for effect in (
            measured("digits-001", number, float(number)),
            Announce(message=about(str(number)), trial_name="digits-001"),
        )
    ]
    await store.commit(changed(stored, *effects))
    values = [value for _, _, value, _ in await store.measurements("digits-001")]
    events = await store.events(stored.job.job_id, after=0, limit=10_000)
    assert values == [float(number) for number in range(1, 1500)]
    assert lines(events) == [str(number) for number in range(1, 1500)]


async def test_dropping_measurements_spares_those_that_come_after_it(store: Store) -> None:
    stored = await samples.with_trials(store, "digits", [samples.new_trial("digits-001")])
    await store.commit(
        changed(
            stored,
            measured("digits-001", 1, 0.1),
            DropMeasurements(trial_name="digits-001"),
            measured("digits-001", 1, 0.2),
        )
    )
    assert [value for _, _, value, _ in await store.measurements("digits-001")] == [0.2]


async def test_of_several_states_in_one_change_the_last_is_kept(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    spec = job_spec()
    trial = samples.new_trial("digits-001")
    ended = samples.ended_trial(trial, objective=0.5, at=NOW)
    await store.commit(
        changed(
            stored,
            SaveTrial(trial=trial, is_new=True),
            AnnounceState(state=JobState(spec=spec, job=stored.job, trials={trial.name: trial})),
            Announce(message=about("between")),
            SaveTrial(trial=ended),
            AnnounceState(state=JobState(spec=spec, job=stored.job)),
        )
    )
    kept = await store.trial("digits-001")
    assert kept is not None
    assert kept.trial == ended
    between, state = await store.events(stored.job.job_id, after=0, limit=9)
    assert between.log.lines == ["between"]
    assert state.tuning_job.training_job_status_counters.in_progress == 0


async def test_a_training_job_name_is_taken_in_any_case_and_across_tuning_jobs(
    store: Store,
) -> None:
    await samples.with_trials(store, "digits", [samples.new_trial("t-001")])
    other = await store.create_job(new_job("letters"))
    with pytest.raises(Conflict):
        await store.commit(changed(other, SaveTrial(trial=samples.new_trial("T-001"), is_new=True)))


async def test_an_ended_training_job_is_never_changed(store: Store) -> None:
    trial = samples.new_trial("digits-001")
    stored = await samples.with_trials(store, "digits", [trial])
    ended = samples.ended_trial(trial, objective=0.5, at=NOW)
    await store.commit(changed(stored, SaveTrial(trial=ended)))
    with pytest.raises(Conflict):
        await store.commit(changed(await existing(store, "digits"), SaveTrial(trial=trial)))
    kept = await store.trial("digits-001")
    assert kept is not None
    assert kept.trial == ended


async def test_what_names_another_tuning_jobs_training_job_is_a_conflict(store: Store) -> None:
    trial = samples.new_trial("digits-001")
    await samples.with_trials(store, "digits", [trial])
    other = await store.create_job(new_job("letters"))
    for durable in (
        SaveTrial(trial=trial),
        measured(trial.name, 1, 0.5),
        DropMeasurements(trial_name=trial.name),
        Announce(message=about("mine"), trial_name=trial.name),
    ):
        with pytest.raises(Conflict):
            await store.commit(changed(other, durable))


# --- reading ----------------------------------------------------------------------------------


async def test_curves_are_of_one_metric_and_come_by_their_ends(store: Store) -> None:
    trials = [samples.new_trial(f"t-{index}", index) for index in (1, 2, 3, 4)]
    stored = await samples.with_trials(store, "digits", trials)
    await samples.with_trials(store, "other", [samples.new_trial("other-1")])
    later = NOW + timedelta(seconds=1)
    await store.commit(
        changed(
            stored,
            *(measured(f"t-{n}", k, float(10 * n + k)) for n in (1, 2, 3) for k in (2, 1)),
            measured("t-1", 3, math.nan),
            measured("t-4", 1, 0.5, metric="other"),
            SaveTrial(trial=samples.ended_trial(trials[0], objective=0.5, at=later)),
            SaveTrial(trial=samples.ended_trial(trials[2], objective=0.5, at=NOW)),
        )
    )
    third, first, second = await store.curves(stored.job.job_id, "loss")
    assert [each.trial_name for each in (third, first, second)] == ["t-3", "t-1", "t-2"]
    assert first.status is third.status is TrainingJobStatus.COMPLETED
    assert second.status is TrainingJobStatus.IN_PROGRESS
    assert (third.values, second.values) == ((31.0, 32.0), (21.0, 22.0))
    assert first.values[:2] == (11.0, 12.0)
    assert math.isnan(first.values[2])
    assert await store.curves(stored.job.job_id, "loss", indices=[3, 2]) == (third, second)
    assert await store.curves(stored.job.job_id, "loss", indices=[]) == ()
    assert await store.curves(stored.job.job_id, "nothing") == ()


async def test_open_tuning_jobs_come_oldest_first_without_ended_or_deleted_ones(
    store: Store,
) -> None:
    for name, age in (("young", 1), ("old", 9), ("ended", 5), ("deleted", 7)):
        await store.create_job(new_job(name, created_at=NOW - timedelta(days=age)))
    ended = changed(await existing(store, "ended"))
    done = replace(ended.job, status=TuningJobStatus.COMPLETED, ended_at=NOW)
    await store.commit(replace(ended, job=done))
    await store.delete_job((await existing(store, "deleted")).job.job_id, deleted_at=NOW)
    found = await store.open_jobs()
    assert [one.request.hyper_parameter_tuning_job_name for one in found] == ["old", "young"]


async def test_open_training_jobs_come_in_launch_order(store: Store) -> None:
    trials = [samples.new_trial(f"t-{index}", index) for index in (3, 1, 2)]
    stored = await samples.with_trials(store, "digits", trials)
    ended = samples.ended_trial(trials[1], objective=None, at=NOW)
    await store.commit(changed(stored, SaveTrial(trial=ended)))
    assert await store.open_trials(stored.job.job_id) == (trials[2], trials[0])
    assert (await existing(store, "digits")).in_progress == 2


async def test_outcomes_come_in_launch_order_from_any_index_on(store: Store) -> None:
    trials = [samples.new_trial(f"t-{index}", index) for index in (3, 1, 2)]
    stored = await samples.with_trials(store, "digits", trials)
    await samples.with_trials(store, "other", [samples.new_trial("other-1")])
    later = NOW + timedelta(seconds=1)
    ended = samples.ended_trial(trials[1], objective=0.1 + 0.2, at=later)
    await store.commit(changed(stored, SaveTrial(trial=ended)))
    job_id = stored.job.job_id
    expected = tuple(outcome_of(trial) for trial in (ended, trials[2], trials[0]))
    assert await store.outcomes(job_id) == expected
    assert await store.outcomes(job_id, first_index=2) == expected[1:]
    assert await store.outcomes(job_id, first_index=4) == ()
    assert await store.outcomes(10**6) == ()


async def test_outcomes_are_all_of_one_moment(store: Store) -> None:
    """Trials end in pairs: nobody sees one of a pair ended and the other one open."""
    trials = [samples.new_trial(f"t-{index}", index) for index in range(1, 41)]
    stored = await samples.with_trials(store, "digits", trials)

    async def end_in_pairs() -> None:
        current = stored
        for pair in zip(trials[::2], trials[1::2], strict=True):
            ends = [SaveTrial(trial=samples.ended_trial(t, objective=1.0, at=NOW)) for t in pair]
            await store.commit(changed(current, *ends))
            current = await existing(store, "digits")

    ending = asyncio.create_task(end_in_pairs())
    while not ending.done():
        statuses = [one.status for one in await store.outcomes(stored.job.job_id)]
        assert statuses[::2] == statuses[1::2]
    await ending


async def test_events_are_numbered_upwards_and_read_from_any_point(store: Store) -> None:
    one = await samples.with_trials(store, "one", [samples.new_trial("one-001")])
    two = await store.create_job(new_job("two", events=[about("two")]))
    first = Announce(message=about("a"))
    second = Announce(message=about("b"), trial_name="one-001")
    await store.commit(changed(one, first, second, Announce(message=about("c"))))
    all_ = await store.events(one.job.job_id, after=0, limit=10)
    assert lines(all_) == ["a", "b", "c"]
    sequences = [event.sequence for event in all_]
    assert sequences == sorted(set(sequences))
    assert sequences[0] > 0
    assert lines(await store.events(one.job.job_id, after=sequences[0], limit=1)) == ["b"]
    assert await store.events(one.job.job_id, after=sequences[2], limit=10) == ()
    about_trial = await store.events(one.job.job_id, after=0, limit=10, trial_name="ONE-001")
    assert lines(about_trial) == ["b"]
    assert lines(await store.events(two.job.job_id, after=0, limit=10)) == ["two"]


async def _with_events_of_two_trials(store: Store) -> StoredJob:
    """Store, for the tuning job itself and for each of its training jobs, an event of each kind."""
    trials = [samples.new_trial(f"digits-00{index}", index) for index in (1, 2)]
    stored = await samples.with_trials(store, "digits", trials)
    for about_trial in (None, "digits-001", "digits-002"):
        own, *others = samples.about_each_kind()
        events = [own] if about_trial is None else others
        announced = [Announce(message=event, trial_name=about_trial) for event in events]
        await store.commit(changed(await existing(store, "digits"), *announced))
    return stored


async def test_events_are_selected_by_kind_without_changing_their_order(store: Store) -> None:
    job_id = (await _with_events_of_two_trials(store)).job.job_id
    everything = await store.events(job_id, after=0, limit=99)
    assert samples.kinds_of(everything) == ["tuning_job", *("training_job", "metric", "log") * 2]
    names = ("tuning_job", "training_job", "metric", "log")
    for chosen in [{0}, {1}, {2}, {3}, {0, 3}, {1, 2}, {0, 1, 2, 3}]:
        kinds = frozenset(event_pb2.WatchEventKind.values()[1 + number] for number in chosen)
        wanted = {names[number] for number in chosen}
        found = await store.events(job_id, after=0, limit=99, kinds=kinds)
        expected = [event for event in everything if event.WhichOneof("event") in wanted]
        assert list(found) == expected
        assert list(await store.events(job_id, after=0, limit=2, kinds=kinds)) == expected[:2]


async def test_events_about_one_training_job_come_with_the_tuning_jobs_own(store: Store) -> None:
    job_id = (await _with_events_of_two_trials(store)).job.job_id
    own, *rest = await store.events(job_id, after=0, limit=99)
    logs = frozenset({event_pb2.WATCH_EVENT_KIND_LOG})
    found = await store.events(job_id, after=0, limit=99, trial_name="DIGITS-002")
    assert found == (own, *rest[3:])
    after = own.sequence
    assert await store.events(job_id, after=after, limit=1, trial_name="digits-001") == (rest[0],)
    only_logs = await store.events(job_id, after=0, limit=9, trial_name="digits-001", kinds=logs)
    assert only_logs == (rest[2],)
    assert await store.events(job_id, after=0, limit=9, trial_name="nobody") == (own,)
    other = await store.create_job(new_job("letters"))
    assert await store.events(other.job.job_id, after=0, limit=9, trial_name="digits-001") == ()


async def test_an_event_about_nothing_is_refused_and_nothing_written(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    empty = Announce(message=event_pb2.WatchHyperParameterTuningJobResponse())
    with pytest.raises(ValueError, match="tuning_job, training_job, metric, log"):
        await store.commit(changed(stored, empty))
    assert (await existing(store, "digits")).job.version == 0


async def test_every_read_sees_the_writes_acknowledged_before_it(store: Store) -> None:
    async def write_and_read(name: str) -> None:
        stored = await store.create_job(new_job(name))
        for version in range(1, 6):
            await store.commit(changed(stored))
            stored = await existing(store, name)
            assert stored.job.version == version

    await asyncio.gather(*(write_and_read(f"job-{number}") for number in range(10)))


# --- deleting ---------------------------------------------------------------------------------


async def test_a_deleted_tuning_job_frees_its_name_and_keeps_its_training_jobs(
    store: Store,
) -> None:
    trial = samples.new_trial("digits-001")
    stored = await samples.with_trials(store, "digits", [trial])
    assert await store.delete_job(stored.job.job_id, deleted_at=NOW) is True
    assert await store.job("digits") is None
    kept = await store.trial("digits-001")
    assert kept is not None
    assert (kept.trial, kept.job) == (trial, stored)
    again = await store.create_job(new_job("Digits"))
    assert again.job.job_id != stored.job.job_id


async def test_deleting_what_is_not_there_is_false(store: Store) -> None:
    stored = await store.create_job(new_job("digits"))
    assert await store.delete_job(stored.job.job_id + 1, deleted_at=NOW) is False
    assert await store.delete_job(stored.job.job_id, deleted_at=NOW) is True
    assert await store.delete_job(stored.job.job_id, deleted_at=NOW) is False


async def test_what_was_deleted_under_a_key_is_found_by_it(store: Store) -> None:
    stored = await store.create_job(new_job("digits", request_id="create"))
    with pytest.raises(Conflict, match="create"):
        await store.delete_job(stored.job.job_id, deleted_at=NOW, request_id="create")
    assert await store.job("digits") == stored
    assert await store.delete_job(stored.job.job_id, deleted_at=NOW, request_id="delete") is True
    assert await store.find_request("delete") == "DeleteHyperParameterTuningJob/digits"


async def test_a_tuning_job_made_anew_has_none_of_the_old_ones_tags(store: Store) -> None:
    stored = await store.create_job(new_job("digits", tags={"team": "a"}))
    await store.delete_job(stored.job.job_id, deleted_at=NOW)
    assert await store.tags(stored.arn) is None
    await store.create_job(new_job("digits"))
    assert await store.tags(stored.arn) == {}


# --- closing ----------------------------------------------------------------------------------


async def test_closing_finishes_queued_writes_and_refuses_later_calls(store: Store) -> None:
    writes = [asyncio.create_task(store.create_job(new_job(f"j-{n}"))) for n in range(50)]
    await asyncio.sleep(0)  # all of them are queued
    await asyncio.gather(store.close(), store.close())
    assert len(await asyncio.gather(*writes)) == 50
    with pytest.raises(StoreUnavailable):
        await store.create_job(new_job("late"))
    with pytest.raises(StoreUnavailable):
        await store.job("j-1")
    await store.close()
