from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import tunesmith_server.store
from tunesmith_server.store import listing
from tunesmith_server.store.migrate import load_migrations, migrate
from tunesmith_server.store.statements import load_statements, parse_statements
from tunesmith_server.store.store import (
    JobQuery,
    JobSortKey,
    SortOrder,
    TrialQuery,
    TrialSortKey,
)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, Path(":memory:"), load_migrations())
    yield connection
    connection.close()


def plan(database: sqlite3.Connection, sql: str) -> list[str]:
    values = dict.fromkeys(re.findall(r":(\w+)", sql))
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def test_every_statement_compiles_and_none_scans_a_table(database: sqlite3.Connection) -> None:
    for name, sql in load_statements().items():
        if "{" in sql:
            continue
        scans = [step for step in plan(database, sql) if re.match(r"SCAN (?!.*INDEX)", step)]
        assert not scans, name


@pytest.mark.parametrize("count", [1, 2, 512])
def test_what_is_written_row_by_row_scans_nothing_but_its_rows(
    database: sqlite3.Connection, count: int
) -> None:
    statements = load_statements()
    for name in [name for name, sql in statements.items() if "{rows}" in sql]:
        width = max(map(int, re.findall(r"column(\d+)", statements[name])))
        rows = ", ".join([f"({', '.join('?' * width)})"] * count)
        sql = "EXPLAIN QUERY PLAN " + statements.filled(name, {"rows": rows})
        steps = [row[3] for row in database.execute(sql, [None] * width * count)]
        scans = [step for step in steps if step.startswith("SCAN")]
        assert all(re.match(r"SCAN (new|\(subquery|\d* ?CONSTANT)", step) for step in scans), name


def test_exactly_the_statements_that_exist_are_used() -> None:
    used = set()
    for file in Path(*tunesmith_server.store.__path__).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                used.add(node.value)
    names = set(load_statements())
    assert names - used == set()


@pytest.mark.parametrize("order", SortOrder)
@pytest.mark.parametrize("sort_by", JobSortKey)
def test_pages_of_tuning_jobs_come_from_an_index_in_order(
    database: sqlite3.Connection, sort_by: JobSortKey, order: SortOrder
) -> None:
    parts = listing._parts(listing._JOB_KEYS[sort_by], JobQuery(order=order))
    steps = plan(database, load_statements().filled("list_jobs", parts))
    assert steps[0].startswith("SEARCH job USING INDEX")
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize("order", SortOrder)
@pytest.mark.parametrize(
    "sort_by", [TrialSortKey.NAME, TrialSortKey.STATUS, TrialSortKey.CREATION_TIME]
)
def test_pages_of_all_training_jobs_come_from_an_index_in_order(
    database: sqlite3.Connection, sort_by: TrialSortKey, order: SortOrder
) -> None:
    parts = listing._parts(listing._TRIAL_KEYS[sort_by], TrialQuery(order=order))
    steps = plan(database, load_statements().filled("list_trials", parts))
    assert steps[0].startswith("SEARCH trial USING INDEX")
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize("sort_by", TrialSortKey)
def test_pages_of_one_tuning_jobs_training_jobs_look_at_no_others(
    database: sqlite3.Connection, sort_by: TrialSortKey
) -> None:
    parts = listing._parts(listing._TRIAL_KEYS[sort_by], TrialQuery())
    steps = plan(database, load_statements().filled("list_trials_of_job", parts))
    assert "(job_id=?)" in steps[0]


@pytest.mark.parametrize("name", ["events_of_job", "events_of_trial"])
def test_a_page_of_events_reads_no_event_that_is_left_out_and_sorts_none(
    database: sqlite3.Connection, name: str
) -> None:
    steps = [step for step in plan(database, load_statements()[name]) if "events" in step]
    assert len(steps) == 4
    for step in steps:
        assert re.search(r"job_id=\? AND kind=\? AND sequence>\?", step)
    assert not any("TEMP B-TREE" in step for step in plan(database, load_statements()[name]))


def test_a_file_is_split_at_names_and_keeps_purposes() -> None:
    text = "-- name: a\n-- Do a.\nSELECT 1\n\n-- name: b\n-- Do b.\nSELECT\n  2\n"
    assert parse_statements(text) == [
        ("a", "-- Do a.\nSELECT 1"),
        ("b", "-- Do b.\nSELECT\n  2"),
    ]


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "-- name: a\nSELECT 1", "-- name: a\n-- Do a.\n", "-- name: a\n-- Do a.\n  \n"],
)
def test_a_statement_without_name_purpose_or_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"SELECT 1|statement a"):
        parse_statements(text)
