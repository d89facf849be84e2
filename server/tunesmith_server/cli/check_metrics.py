"""``tunesmith check-metrics``: a dry run of a metric's regular expression on a log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

import click

from tunesmith_server.cli.outcome import ExitStatus, Refusal

if TYPE_CHECKING:
    from tunesmith.runner import NearMiss

_SHOWN_MATCHES = 20


@click.command("check-metrics")
@click.option(
    "--regex", required=True, metavar="R", help="In RE2's syntax; group 1 is the metric's value."
)
@click.argument("file", type=click.File(encoding="utf-8", errors="replace"), default="-")
def check_metrics(*, regex: str, file: TextIO) -> None:
    """Show what a metric's regular expression finds in a log, and the nearest misses.

    FILE is a training script's output; without it, or with `-`, standard input is read. Exit
    status 1: no value was found.
    """
    from tunesmith.runner import MetricPatternError, MetricScanner, nearest_misses

    lines = file.read().splitlines()
    try:
        scanner = MetricScanner([("the metric", regex)])
        values = [
            (number, line, value)
            for number, line in enumerate(lines, start=1)
            for _, value in scanner.scan(line)
        ]
        misses = nearest_misses(regex, lines)
    except MetricPatternError as error:
        raise Refusal(f"--regex: {error}") from None
    _show_values(values, len(lines))
    if misses:
        click.echo("Nearest misses:")
        for miss in misses:
            _show_miss(miss)
    if not values:
        sys.exit(ExitStatus.FAILED)


def _show_values(values: list[tuple[int, str, float]], line_count: int) -> None:
    from tunesmith_server.cli.wording import plain

    click.echo(f"{len(values)} value(s) in {line_count} line(s).")
    left_out = len(values) - _SHOWN_MATCHES
    if left_out > 0:
        click.echo(f"  ({left_out} earlier ones left out)")
    for number, line, value in values[-_SHOWN_MATCHES:]:
        click.echo(f"  line {number}: {value!r}  in  {plain(line.strip())}")
    if values:
        click.echo(f"Last value, which would be the objective: {values[-1][2]!r}")


def _show_miss(miss: NearMiss) -> None:
    from tunesmith_server.cli.wording import plain

    click.echo(f"  line {miss.line_number}: {plain(miss.line.strip())}")
    if miss.captured is not None:
        click.echo(f"    the pattern is found, but captures {miss.captured!r}, which is no number")
        return
    click.echo(f"    found      {miss.matched_pattern}   as {miss.matched_text!r}")
    click.echo(f"    not found  {miss.unmatched_pattern}")
