"""Files of recorded curves: what is read from them, and what is said of those that can't be."""

import json
from pathlib import Path

import pytest

from tests.project.repository import ROOT
from tunesmith_core.stopping.curves import Curve, Ending
from tunesmith_server.cli import curve_rows
from tunesmith_server.cli.curve_file import read_curves
from tunesmith_server.cli.curve_rows import Record
from tunesmith_server.cli.outcome import Refusal


def read(tmp_path: Path, text: str | bytes, *, metric: str | None = None) -> Record:
    path = tmp_path / "curves"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_curves(path, metric=metric)


def test_a_row_is_a_value(tmp_path: Path) -> None:
    record = read(tmp_path, "trial,value\nb,0.5\na,1\n\nb,nan\n")
    b, a = record.curves
    assert (b.trial, b.index, b.steps, b.values[0]) == ("b", 1, (1, 2), 0.5)
    assert b.values[1] != b.values[1]
    assert a == Curve(trial="a", index=2, values=(1.0,), steps=(1,))
    assert (record.metric, record.maximise, record.has_times) == ("", None, False)


def test_json_lines_say_the_same_as_csv(tmp_path: Path) -> None:
    rows = [
        {"trial": 1, "step": 10, "value": 0.5, "status": "Failed", "full": 90},
        {"trial": 1, "step": 20, "value": float("inf"), "status": "Failed", "full": 90},
        {"trial": 2, "step": 10, "value": "1e-3", "lr": None},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    csv = "trial,step,value,status,full,lr\n1,10,0.5,Failed,90,\n1,20,inf,Failed,90,\n"
    csv += "2,10,1e-3,,,\n"
    record = read(tmp_path, lines)
    assert record == read(tmp_path, csv)
    assert record.curves[0].ending is Ending.FAILED
    assert record.curves[0].full == 90
    assert record.curves[1].full is None
    assert record.unused == ("lr",)


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    record = read(tmp_path, b"\xef\xbb\xbftrial,value\r\na,1\r\na,2\r\n")
    assert record.curves[0].values == (1, 2)


def test_times_are_on_one_clock_and_begin_with_the_first_value(tmp_path: Path) -> None:
    text = "trial,time,value\na,2026-11-24T09:00:10Z,1\na,2026-11-24T10:00:12+01:00,2\n"
    text += "b,2026-11-24T09:00:05,1\n"
    record = read(tmp_path, text)
    a, b = record.curves
    assert (a.elapsed_s, a.lasted_s) == ((0, 2), 2)
    assert a.began_s is not None
    assert b.began_s is not None
    assert a.began_s - b.began_s == 5
    assert record.has_times


def test_elapsed_times_say_what_was_spent_and_not_when(tmp_path: Path) -> None:
    record = read(tmp_path, "trial,elapsed,value\na,10,1\na,12.5,2\n")
    (curve,) = record.curves
    assert (curve.elapsed_s, curve.lasted_s, curve.began_s) == ((10, 12.5), 12.5, None)
    assert not record.has_times


def test_one_metric_of_several_is_named(tmp_path: Path) -> None:
    text = "trial,metric,value\na,loss,1\na,accuracy,0.1\na,loss,2\n"
    record = read(tmp_path, text, metric="loss")
    assert (record.curves[0].values, record.metric) == ((1, 2), "loss")
    with pytest.raises(Refusal, match="values of accuracy, loss: say which with --metric NAME"):
        read(tmp_path, text)
    with pytest.raises(Refusal, match="no value of los; there are values of accuracy, loss"):
        read(tmp_path, text, metric="los")


def test_the_column_of_the_values_is_named(tmp_path: Path) -> None:
    text = "trial,loss,accuracy\na,1,0.1\na,2,0.2\n"
    record = read(tmp_path, text, metric="accuracy")
    assert (record.curves[0].values, record.metric) == ((0.1, 0.2), "accuracy")
    assert record.unused == ("loss",)


EXPORT = (
    "TrainingJobName,TrainingJobStatus,TrainingStartTime,TrainingEndTime,ObjectiveType,"
    "ObjectiveMetricName,MetricName,Step,Value,Time,hyperparameter.epochs\n"
    "j-001,Failed,,2026-11-24T09:00:00Z,Maximize,acc,,,,,7\n"
    "j-002,Stopped,2026-11-24T09:00:01Z,2026-11-24T09:00:09Z,Maximize,acc,acc,1,0.5,"
    "2026-11-24T09:00:03.5Z,9\n"
    "j-002,Stopped,2026-11-24T09:00:01Z,2026-11-24T09:00:09Z,Maximize,acc,loss,1,4,"
    "2026-11-24T09:00:03.5Z,9\n"
)


def test_an_export_says_all_that_a_replay_needs(tmp_path: Path) -> None:
    record = read(tmp_path, EXPORT)
    (curve,) = record.curves
    assert (curve.trial, curve.index, curve.values, curve.full) == ("j-002", 2, (0.5,), 9)
    assert (curve.elapsed_s, curve.lasted_s, curve.ending) == ((2.5,), 8, Ending.STOPPED)
    assert (record.metric, record.maximise, record.without_value) == ("acc", True, 1)
    assert record.is_export
    # Which way the objective is better says nothing of another metric.
    other = read(tmp_path, EXPORT, metric="loss")
    assert (other.curves[0].values, other.maximise) == ((4,), None)


def with_columns(names: str, *cells: str) -> str:
    lines = EXPORT.splitlines()
    return "".join(f"{line},{more}\n" for line, more in zip(lines, (names, *cells), strict=True))


def test_an_export_says_how_long_a_training_job_ran_and_when_its_values_came(
    tmp_path: Path,
) -> None:
    text = with_columns("Elapsed,TrainingTimeInSeconds", ",", "1.5,4", "1.5,4")
    (curve,) = read(tmp_path, text).curves
    assert (curve.elapsed_s, curve.lasted_s) == ((2.5,), 8)
    assert list(curve.running_s) == [1.5, 4]
    # Of a server that did not say.
    (untold,) = read(tmp_path, with_columns("Elapsed,TrainingTimeInSeconds", *[","] * 3)).curves
    assert not untold.running_s


def test_an_export_of_hyperband_has_its_resources(tmp_path: Path) -> None:
    record = read(tmp_path, with_columns("MinResource,MaxResource", "2,6", "2,6", "2,6"))
    assert (record.curves[0].full, record.min_resource) == (6, 2)
    record = read(tmp_path, with_columns("MinResource,MaxResource", ",27", ",27", ",27"))
    assert (record.curves[0].full, record.min_resource) == (9, None)


def test_a_hyperparameter_called_epochs_may_be_no_schedule(tmp_path: Path) -> None:
    record = read(tmp_path, EXPORT.replace("Z,9\n", "Z,few\n"))
    assert record.curves[0].full is None


def test_a_runners_clock_that_was_set_back_does_not_spoil_an_export(tmp_path: Path) -> None:
    later = EXPORT.splitlines(keepends=True)[2].replace(",1,0.5,", ",2,0.6,").replace("03.5", "02")
    (curve,) = read(tmp_path, EXPORT + later).curves
    assert (curve.values, curve.elapsed_s) == ((0.5, 0.6), (2.5, 2.5))


def test_the_example_is_read() -> None:
    record = read_curves(ROOT / "examples" / "replay" / "curves.csv", metric=None)
    assert {len(curve.values) for curve in record.curves} == {15}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": it is empty"),
        ("trial,value\n", ": there is no value to replay"),
        ("a,b\n1,2\n", ", line 1: there is no column trial in: a, b"),
        ("trial,loss\na,1\n", "no column value in: trial, loss; name the column of the values"),
        ("trial;value\na;1\n", ", line 1: columns are separated by commas here, not by ';'"),
        ("trial,value,Trial\na,1,2\n", "two columns say the same: 'trial' and 'Trial'"),
        ("trial,time,elapsed,value\na,1,1,1\n", "a column time and a column elapsed"),
        ("trial,value\na,1,2\n", ", line 2: it has 3 cells, and the first line 2 columns"),
        ('trial,value\n"a\n b",1\n\nc,x\n', ", line 5: value is 'x': write a number, or nan"),
        ("trial,value\na,\n", "value is empty: write a number"),
        ("trial,value\n ,1\n", "trial is empty"),
        ('trial,value\n"a,1\n', ", line 2: this is no CSV"),
        ("trial,step,value\na,0,1\n", ", line 2: step is '0': write what the trial had spent"),
        ("trial,step,value\na,1.5,1\n", "step is '1.5'"),
        ("trial,step,value\na,2,1\na,2,1\n", ", line 3: step 2 of trial a comes after its step 2"),
        ("trial,time,value\na,9:30,1\n", "time is '9:30': write ISO 8601"),
        ("trial,time,value\na,1764000000000,1\n", "or seconds on a clock"),  # milliseconds
        ("trial,time,value\na,5,1\na,4,1\n", ", line 3: time of trial a is 1 s earlier"),
        ("trial,elapsed,value\na,-1,1\n", "elapsed is '-1': write the seconds since"),
        ("trial,full,value\na,0,1\n", "full is '0'"),
        ("trial,status,value\na,InProgress,1\n", "Completed, Stopped or Failed"),
        ("TrainingJobName,TrainingJobStatus\na,Failed\n", "export NAME --curves` prints those"),
        ('[{"trial": "a"}]', ", line 1: this is a JSON array; write JSON Lines"),
        ('{"trial": "a", "value": 1}\n{oops\n', ", line 2: this is no JSON"),
        ('{"trial": "a", "value": 1}\n7\n', ", line 2: a line is an object"),
        ('{"value": 1, "trial": "a", "value": 2}', ", line 1: the key 'value' comes twice"),
        ("trial,value\na\n", "it has 1 cell, and the first line 2 columns"),
        ('{"trial": "a", "value": true}', ", line 1: value is 'True'"),
        ('{"trial": "a", "value": 1}\n\n{"trial": "a"}\n', ", line 3: value is empty"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_what_would_be_right(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(Refusal) as refused:
        read(tmp_path, text)
    assert said in refused.value.message


def test_a_metric_that_no_column_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no column metric, and none called loss"):
        read(tmp_path, "trial,value\na,1\n", metric="loss")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is not UTF-8"):
        read(tmp_path, b"\xff\xfe\x00")
    with pytest.raises(Refusal, match="No such file"):
        read_curves(tmp_path / "nothing", metric=None)


def test_what_would_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve_rows, "MAX_VALUES", 2)
    with pytest.raises(Refusal, match="more than 2 values"):
        read(tmp_path, "trial,value\na,1\na,2\na,3\n")
    with pytest.raises(Refusal, match="line 1: it is longer than"):
        read(tmp_path, "x" * (1 << 21))
