"""How values are read out of lines, and how a pattern that finds none is explained."""

from __future__ import annotations

import math
import time

import pytest

from tunesmith.runner import MetricPatternError, MetricScanner, nearest_misses


def scan(regex: str, line: str) -> list[float]:
    return [value for _, value in MetricScanner([("m", regex)]).scan(line)]


@pytest.mark.parametrize(
    ("regex", "line", "value"),
    [
        (r"loss = (.*?);", "epoch 3 loss = 16.020744;", 16.020744),
        (r"loss=([-+0-9.e]+)", "loss=-1.5e-3 next", -0.0015),
        (r"\d+\.\d+", "no group: 0.25 it is", 0.25),
        (r"a=(\S+) b=(\S+)", "a=1 b=2", 1.0),
        (r"(?:x|y)=(\d+)", "y=7", 7.0),
        (r"(?P<value>\d+) steps", "12 steps", 12.0),
        (r"m=(.*)", "m= 3 ", 3.0),
        (r"précision=(\d+)", "la précision=88 %", 88.0),
        (r"m=(\S+)", "m=inf", math.inf),
        (r"m=(\S+)", "m=-Infinity", -math.inf),
        (r"m=(\d)", "m=1 m=2", 1.0),
    ],
)
def test_group_one_or_the_whole_first_match_is_the_value(
    regex: str, line: str, value: float
) -> None:
    assert scan(regex, line) == [value]


def test_nan_is_a_value() -> None:
    (value,) = scan(r"m=(\S+)", "m=nan")
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("regex", "line"),
    [
        (r"m=(\S+)", "m=95%"),
        (r"m=(\S+)", "m=1_000"),
        (r"m=(\d*)", "m=x"),
        (r"m=(\d)?", "m="),
        (r"m=(\d)", "n=1"),
        (r"^m=(\d)$", "m=1\u2028"),
    ],
)
def test_what_is_no_number_is_ignored(regex: str, line: str) -> None:
    assert scan(regex, line) == []


def test_each_definition_speaks_for_itself_in_their_order() -> None:
    scanner = MetricScanner([("b", r"b=(\d)"), ("a", r"a=(\d)"), ("b", r"beta (\d)")])
    assert scanner.scan("a=1 b=2 beta 3") == [("b", 2.0), ("a", 1.0), ("b", 3.0)]


def test_a_hostile_pattern_takes_no_time() -> None:
    began = time.process_time()
    assert scan(r"((a+)+)+$", "a" * 60_000 + "b") == []
    assert scan(r"(.*)(.*)(.*)(.*)x(\d)", "a" * 60_000) == []
    # A backtracking engine would need longer than the universe has.
    assert time.process_time() - began < 2


def test_a_lone_surrogate_harms_nothing() -> None:
    assert scan(r"m=(\d)", "\udcff m=1") == [1.0]


@pytest.mark.parametrize("regex", ["(?=x)", "(", "[z-a]", r"(a)\1"])
def test_a_pattern_that_is_not_re2s_is_refused_by_name(regex: str) -> None:
    with pytest.raises(MetricPatternError, match="the regular expression of m is not one"):
        MetricScanner([("m", regex)])


def test_the_nearest_miss_is_the_line_with_the_longest_beginning() -> None:
    lines = ["nothing here", "val_loss: n/a", "val_loss 0.5", "val_loss: 0.5 x"]
    misses = nearest_misses(r"val_loss: ([0-9.]+);", lines)
    assert [miss.line_number for miss in misses] == [4, 2, 3]
    nearest = misses[0]
    assert nearest.matched_pattern == "val_loss: ([0-9.]+)"
    assert nearest.unmatched_pattern == ";"
    assert nearest.matched_text == "val_loss: 0.5"
    assert nearest.captured is None


def test_a_capture_that_is_no_number_is_the_very_nearest_miss() -> None:
    (first, second) = nearest_misses(r"acc=(\S+)", ["ac 1", "acc=95%"])
    assert (first.line_number, first.captured, first.unmatched_pattern) == (2, "95%", "")
    assert second.matched_pattern == "ac"


def test_a_line_that_yields_a_value_is_no_miss() -> None:
    assert nearest_misses(r"acc=(\S+)", ["acc=1"]) == []


def test_a_beginning_that_says_nothing_is_no_near_miss() -> None:
    assert nearest_misses(r".*loss=(\d)", ["accuracy"]) == []


def test_repeated_lines_count_once_and_the_limit_holds() -> None:
    lines = ["loss 1", "loss 1", "loss 2", "loss 3"]
    misses = nearest_misses(r"loss=(\d)", lines, limit=2)
    assert [miss.line_number for miss in misses] == [1, 3]


@pytest.mark.parametrize("regex", [r"a[]x)(]b(c|d)\)", r"[^]]+=\[(\d)\]", "x" * 500, "((((a))))"])
def test_any_pattern_can_be_explained(regex: str) -> None:
    assert isinstance(nearest_misses(regex, ["a", "x=", "xxx"]), list)


def test_a_long_log_is_explained_in_a_moment() -> None:
    lines = [f"step {n} of many, with some text to look through" for n in range(30_000)]
    began = time.process_time()
    (miss,) = nearest_misses(r"step \d+ of many, (?:with|without) metric=(\d+)", lines, limit=1)
    assert miss.matched_pattern.startswith(r"step \d+ of many, (?:with|without) ")
    assert time.process_time() - began < 5
