"""Bytes in, lines out."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tunesmith.runner.lines import LINE_MAX, LineSplitter


def split(*chunks: bytes) -> list[str]:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.finish()


def test_lines_end_in_every_usual_way() -> None:
    assert split(b"a\nb\r\nc\rd") == ["a", "b", "c", "d"]


def test_empty_lines_are_kept_and_bare_returns_make_none() -> None:
    assert split(b"a\n\n\rb\n") == ["a", "", "b"]


def test_a_line_end_may_be_torn_apart() -> None:
    assert split(b"a\r", b"\nb\r", b"c\n", b"\n") == ["a", "b", "c", ""]


def test_a_character_may_be_torn_apart() -> None:
    assert split(b"caf\xc3", b"\xa9\n") == ["café"]


def test_a_line_at_the_limit_is_whole_and_one_beyond_says_that_it_was_cut() -> None:
    whole, cut, after = split("é".encode() * LINE_MAX + b"\n", b"x" * (LINE_MAX + 1), b"\nafter")
    assert whole == "é" * LINE_MAX
    assert len(cut) == LINE_MAX
    assert cut.endswith("[line cut by the runner at 65536 characters]")
    assert after == "after"


def test_memory_is_bounded_however_long_a_line_is() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        assert splitter.feed(b"x" * 65_536) == []
    assert len(splitter._partial) <= 4 * LINE_MAX
    (line,) = splitter.feed(b"\n")
    assert len(line) == LINE_MAX


@given(st.lists(st.text(alphabet="ab\r\n", max_size=8).map(str.encode), max_size=8))
def test_where_the_chunks_end_makes_no_difference(chunks: list[bytes]) -> None:
    text = b"".join(chunks)
    assert split(*chunks) == split(text)
    assert "".join(split(text)) == re.sub(r"[\r\n]", "", text.decode())
