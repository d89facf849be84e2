r"""Metrics read out of a trial's output by regular expressions, line by line.

The engine is RE2: time is linear in the line, so no pattern may hang a runner. Rules, where
SageMaker's documentation is silent or vague:

- The value is what group 1 captured; without a group, the whole match.
- Each definition yields at most one value per line: that of its first match.
- What captured nothing, or no number, is ignored. Numbers are what Python's ``float`` reads, NaN
  and infinities included, but not ``1_000``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import re2

# A set of all beginnings of one pattern needs more than one pattern's default of 8 MiB.
_SET_MAX_MEM: Final = 256 * 1024 * 1024
_LINES_CONSIDERED: Final = 20_000
_LINE_SHOWN: Final = 500
_QUANTIFIERS: Final = frozenset("*+?{")


class MetricPatternError(ValueError):
    """Report a regular expression that RE2 does not take; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """Say how near a line came to yielding a value.

    Attributes:
        line_number: From 1.
        line: The line, at most its first 500 characters.
        matched_pattern: The longest beginning of the pattern that is found in the line.
        unmatched_pattern: What follows in the pattern and is not found; empty if all is found.
        matched_text: What ``matched_pattern`` found.
        captured: What was captured instead of a number; ``None`` unless the whole pattern was
            found.
    """

    line_number: int
    line: str
    matched_pattern: str
    unmatched_pattern: str
    matched_text: str
    captured: str | None


class MetricScanner:
    """Find the values of a training job's metrics in its lines."""

    def __init__(self, definitions: Iterable[tuple[str, str]]) -> None:
        """Compile the definitions.

        Args:
            definitions: Pairs of metric name and regular expression; a name may come twice.

        Raises:
            MetricPatternError: A regular expression is not RE2's.
        """
        self._patterns = [(name, _compile(regex, name)) for name, regex in definitions]

    def scan(self, line: str) -> list[tuple[str, float]]:
        """Give the values in a line as pairs of name and value, in the definitions' order."""
        encoded = line.encode("utf-8", errors="replace")
        values: list[tuple[str, float]] = []
        for name, pattern in self._patterns:
            found = pattern.search(encoded)
            value = None if found is None else _number(_captured(found))
            if value is not None:
                values.append((name, value))
        return values


def nearest_misses(regex: str, lines: Iterable[str], limit: int = 3) -> list[NearMiss]:
    """Explain why a regular expression yielded no value: which lines came nearest.

    Lines in which the whole pattern is found but captured no number come first, then those in
    which the longest beginning of the pattern is found; within that, in the order of the lines.
    Lines that yield a value are no misses. At most the first 20 000 different lines are looked
    at.

    Raises:
        MetricPatternError: The regular expression is not RE2's.
    """
    whole = _compile(regex, "the pattern")
    beginnings = _beginnings(regex)
    prefixes = _prefix_set([compiled for _, compiled in beginnings])
    misses: list[tuple[int, NearMiss]] = []
    for number, line in _distinct(lines):
        encoded = line.encode("utf-8", errors="replace")
        found = whole.search(encoded)
        if found is not None:
            if _number(_captured(found)) is None:
                miss = _miss(number, line, found, regex, "", captured=_captured(found))
                misses.append((len(regex) + 1, miss))
            continue
        matching = prefixes.Match(encoded) if beginnings else []
        if matching:
            end, compiled = beginnings[max(matching)]
            found = re2.search(compiled, encoded, _options())
            misses.append(
                (end, _miss(number, line, found, regex[:end], regex[end:], captured=None))
            )
    misses.sort(key=lambda ranked: -ranked[0])
    return [miss for _, miss in misses[:limit]]


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options


def _compile(regex: str, name: str) -> re2._Regexp:
    try:
        return re2.compile(regex, _options())
    except re2.error as error:
        said = error.args[0] if error.args else ""
        said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise MetricPatternError(
            f"the regular expression of {name} is not one that RE2 takes: {said}"
        ) from error


def _captured(found: re2._Match) -> str:
    group = found.group(1) if found.re.groups else found.group()
    return (group or b"").decode("utf-8", errors="replace")


def _number(captured: str) -> float | None:
    if "_" in captured:
        return None
    try:
        return float(captured)
    except ValueError:
        return None


def _distinct(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if line in seen:
            continue
        if len(seen) == _LINES_CONSIDERED:
            return
        seen.add(line)
        yield number, line


def _miss(
    number: int, line: str, found: re2._Match, matched: str, rest: str, *, captured: str | None
) -> NearMiss:
    return NearMiss(
        line_number=number,
        line=line[:_LINE_SHOWN],
        matched_pattern=matched,
        unmatched_pattern=rest,
        matched_text=found.group().decode("utf-8", errors="replace")[:_LINE_SHOWN],
        captured=captured,
    )


def _beginnings(regex: str) -> list[tuple[int, str]]:
    """Give the beginnings of a pattern that say something, shortest first.

    Each as where it ends and its compilable form, with its open groups closed. One that also
    matches the empty text is found in every line, and says nothing.
    """
    beginnings: list[tuple[int, str]] = []
    for end, depth in _cuts(regex):
        compilable = regex[:end] + ")" * depth
        try:
            pattern = re2.compile(compilable, _options())
        except re2.error:
            continue
        if pattern.search(b"") is None:
            beginnings.append((end, compilable))
    return beginnings


def _cuts(regex: str) -> Iterable[tuple[int, int]]:
    """Give the places between the atoms of a pattern, with the number of groups open there."""
    depth = 0
    in_class = False
    position = 0
    while position < len(regex):
        character = regex[position]
        position += 2 if character == "\\" else 1
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            # A bracket right after the opening, or after its negation, is a member.
            negated = regex[position : position + 1] == "^"
            position += negated
            position += regex[position : position + 1] == "]"
        else:
            depth += (character == "(") - (character == ")")
        is_quantified = regex[position : position + 1] in _QUANTIFIERS
        if not in_class and character not in "(|" and not is_quantified:
            yield min(position, len(regex)), depth


def _prefix_set(patterns: Sequence[str]) -> re2._re2.Set:
    options = _options()
    options.max_mem = _SET_MAX_MEM
    patterns_set = re2.Set.SearchSet(options)
    for pattern in patterns:
        patterns_set.Add(pattern)
    patterns_set.Compile()
    return patterns_set
