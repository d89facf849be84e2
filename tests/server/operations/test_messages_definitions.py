"""Describe and List of a tuning job with several definitions, over a running engine and its store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import protovalidate
import pytest

from tests.server.domain.create_requests import RANDOM, CreateRequest, plural_request
from tests.server.engine.engine_parts import NOW, SITE, Engine, Runner, ended, running_engine
from tunesmith import to_aws
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.operations.messages import Messages
from tunesmith_server.store.store import StoredJob, StoredTrial, TrialQuery

METRICS = {"first": "loss", "second": "oob"}
MESSAGES = Messages(account=Account(), site=SITE)


def request() -> CreateRequest:
    """Ask for four trials, two at a time, of two programs with metrics of their own."""
    made = plural_request()
    config = made.hyper_parameter_tuning_job_config
    config.strategy = RANDOM
    config.resource_limits.max_number_of_training_jobs = 4
    for definition in made.training_job_definitions:
        name = METRICS[definition.definition_name]
        definition.tuning_objective.metric_name = name
        definition.retry_strategy.maximum_retry_attempts = 1  # of what a restart interrupts
        specification = definition.algorithm_specification
        specification.ClearField("metric_definitions")
        specification.metric_definitions.add(name=name, regex=rf"{name}=(\S+)")
        specification.container_entrypoint[1] = f"{definition.definition_name}.py"
    made.training_job_definitions[1].stopping_condition.max_runtime_in_seconds = 90
    return made


async def complete(runner: Runner, value: float) -> None:
    """Run the next trial to its end, with this value of its own objective."""
    assignment = await runner.assignment()
    name = assignment.hyper_parameters["_tuning_objective_metric"]
    await runner.report(
        assignment,
        ev.StageReached(stage=ev.Stage.TRAINING),
        ev.MetricEmitted(metric_name=name, value=value),
        ended(),
    )


async def read(engine: Engine) -> tuple[StoredJob, dict[str, StoredTrial]]:
    stored = await engine.jobs.read("Digits-1")
    trials = await engine.store.list_trials(TrialQuery(job_id=stored.job.job_id, limit=10))
    return stored, {each.trial.name: each for each in trials.items}


@pytest.fixture
async def done(tmp_path: Path) -> tuple[StoredJob, dict[str, StoredTrial]]:
    """Give a tuning job that a server began and, after a restart, another one ended."""
    async with running_engine(tmp_path) as engine:
        await engine.jobs.create(request(), seed=1, request_id=None)
        runner = await engine.connect("i-1")
        for value in (0.5, 0.25):
            await complete(runner, value)
        before = await read(engine)
        assert before[0].job.status is TuningJobStatus.IN_PROGRESS
    async with running_engine(tmp_path) as engine:
        runner = await engine.connect("i-2", replaced=["i-1"])
        for value in (0.75, 1.0):
            await complete(runner, value)
        return await read(engine)


async def test_each_runner_gets_what_the_definition_says_and_describe_shows_it(
    done: tuple[StoredJob, dict[str, StoredTrial]],
) -> None:
    stored, trials = done
    assert stored.job.status is TuningJobStatus.COMPLETED
    assert sorted(str(each.trial.definition_name) for each in trials.values()) == [
        "first",
        "first",
        "second",
        "second",
    ]
    for each in trials.values():
        name = each.trial.definition_name
        assert name is not None
        described = MESSAGES.training_job(each)
        protovalidate.validate(described)
        assert described.training_job_definition_name == name
        assert described.hyper_parameters["_tuning_objective_metric"] == METRICS[name]
        assert [m.metric_name for m in described.final_metric_data_list] == [METRICS[name]]
        algorithm = described.algorithm_specification
        assert list(algorithm.container_entrypoint) == ["python", f"{name}.py"]
        assert [m.name for m in algorithm.metric_definitions] == [METRICS[name]]
        limit_s = 90 if name == "second" else 600
        assert described.stopping_condition.max_runtime_in_seconds == limit_s


@pytest.mark.parametrize(
    ("ran", "shown_s"), [(0.0, 1), (0.25, 1), (60.0, 60), (60.25, 61), (60.75, 61)]
)
async def test_the_time_that_a_training_job_ran_is_rounded_up(
    done: tuple[StoredJob, dict[str, StoredTrial]], ran: float, shown_s: int
) -> None:
    _, trials = done
    stored = next(iter(trials.values()))
    started_at = stored.trial.training_started_at
    assert started_at is not None
    ended_at = started_at + timedelta(seconds=ran)
    trial = replace(stored.trial, ended_at=ended_at, spent=timedelta())
    described = MESSAGES.training_job(replace(stored, trial=trial))
    assert described.training_time_in_seconds == shown_s
    assert described.billable_time_in_seconds == shown_s


async def test_summaries_have_the_definition_and_its_metric(
    done: tuple[StoredJob, dict[str, StoredTrial]],
) -> None:
    _, trials = done
    for each in trials.values():
        summary = MESSAGES.training_job_of_tuning_job(each)
        protovalidate.validate(summary)
        name = summary.training_job_definition_name
        assert name == each.trial.definition_name
        final = summary.final_hyper_parameter_tuning_job_objective_metric
        assert (final.metric_name, final.value) == (METRICS[name], each.trial.objective_value)


async def test_describe_of_the_tuning_job_is_plural_and_has_the_best_of_all(
    done: tuple[StoredJob, dict[str, StoredTrial]],
) -> None:
    stored, trials = done
    described = MESSAGES.tuning_job(stored, now=NOW + timedelta(days=3650))
    assert not described.HasField("suggestion_device")
    computed = MESSAGES.tuning_job(stored, now=NOW, device="gpu:0 a card")
    assert computed.suggestion_device == "gpu:0 a card"
    protovalidate.validate(described)
    shown = to_aws(described)
    assert "TrainingJobDefinition" not in shown
    assert [each["DefinitionName"] for each in shown["TrainingJobDefinitions"]] == list(METRICS)
    for each in shown["TrainingJobDefinitions"]:
        metric = METRICS[each["DefinitionName"]]
        assert each["StaticHyperParameters"]["_tuning_objective_metric"] == metric
        assert each["TuningObjective"] == {"Type": "Minimize", "MetricName": metric}
    assert "HyperParameterTuningJobObjective" not in shown["HyperParameterTuningJobConfig"]
    best = described.best_training_job
    assert best.training_job_definition_name == (
        trials[best.training_job_name].trial.definition_name
    )
    final = best.final_hyper_parameter_tuning_job_objective_metric
    assert final.metric_name == METRICS[best.training_job_definition_name]
    assert final.value == 0.25


async def test_a_summary_of_the_tuning_job_counts_a_grid_over_all_definitions(
    tmp_path: Path,
) -> None:
    made = request()
    config = made.hyper_parameter_tuning_job_config
    config.resource_limits.ClearField("max_number_of_training_jobs")
    for number, definition in enumerate(made.training_job_definitions, start=2):
        definition.ClearField("hyper_parameter_ranges")
        definition.hyper_parameter_ranges.categorical_parameter_ranges.add(
            name="kind", values=[str(value) for value in range(number)]
        )
    async with running_engine(tmp_path) as engine:
        await engine.jobs.create(made, seed=1, request_id=None)
        stored, _ = await read(engine)
    summary = MESSAGES.tuning_job_summary(stored)
    assert summary.resource_limits.max_number_of_training_jobs == 2 + 3
