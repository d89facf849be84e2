"""``tunesmith replay``: a stopping rule over recorded curves, before it is turned on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tunesmith_server.cli.outcome import (
    Refusal,
    reports_errors,
    server_option,
)

if TYPE_CHECKING:
    from tunesmith_core.stopping.curves import Curve
    from tunesmith_core.stopping.judges import FellBehind, Judge
    from tunesmith_server.cli.curve_rows import Record

_HALVING: Final = "halving"
_MEDIAN: Final = "median"

#: No trial makes more steps.
_MOST: Final = 10**12

#: With fewer trials it says nothing that they all ran at once.
_FEW: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """Hold a rule and its numbers as the command line has them; None: by default."""

    rule: str
    min_resource: int | None
    max_resource: int | None
    eta: float | None


def _is_number(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    # NaN lies in any range, since it is on neither side of a bound.
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no number")
    return value


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--job", "name", metavar="NAME", help="Replay a tuning job that has ended.")
@click.option(
    "--rule", type=click.Choice([_HALVING, _MEDIAN]), required=True, help="Which rule to replay."
)
@click.option(
    "--min-resource",
    metavar="N",
    type=click.IntRange(min=1, max=_MOST),
    help="Where halving has its first rung; by default the record's MinResource, or at a thirtieth "
    "of the full resource.",
)
@click.option(
    "--max-resource",
    metavar="N",
    type=click.IntRange(min=1, max=_MOST),
    help="Halving's full resource; by default the record's MaxResource, or the longest in it.",
)
@click.option(
    "--eta",
    metavar="X",
    type=click.FloatRange(min=1.1, max=1000),
    callback=_is_number,
    help="Of so many, one goes on from a rung of halving; by default 4, as a server has it.",
)
@click.option(
    "--goal",
    type=click.Choice(["minimize", "maximize"]),
    help="Which way the metric is better, where the record does not say.",
)
@click.option(
    "--metric",
    metavar="NAME",
    help="The metric, or the column of its values, if not the objective.",
)
@click.option("--in-order", is_flag=True, help="Trial after trial, whatever the times.")
@click.option(
    "--parallel",
    metavar="N",
    type=click.IntRange(min=1),
    help="So many trials at a time, each begun when one ends or is stopped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@server_option
@reports_errors
@click.pass_context
def replay_command(
    context: click.Context,
    *,
    file: Path | None,
    name: str | None,
    rule: str,
    min_resource: int | None,
    max_resource: int | None,
    eta: float | None,
    goal: str | None,
    metric: str | None,
    in_order: bool,
    parallel: int | None,
    as_json: bool,
    server: str,
) -> None:
    """Show what a stopping rule would have stopped, saved and cost in recorded curves.

    FILE is what `tunesmith jobs export NAME --curves` prints, or CSV or JSON Lines with a row for
    each value: trial, value and, if known, step, time or elapsed; `-` is standard input. The tuning
    job itself, on a server, is named with --job.
    """
    from tunesmith_core.stopping.replay import replay
    from tunesmith_server.cli import replay_report

    terms = _Terms(rule=rule, min_resource=min_resource, max_resource=max_resource, eta=eta)
    _refuse_contradictions(
        terms,
        has_file=file is not None,
        has_job=name is not None,
        has_server=context.get_parameter_source("server") is not click.core.ParameterSource.DEFAULT,
        has_two_orders=in_order and parallel is not None,
    )
    record = _record(file, name, server, metric)
    if terms.rule == _HALVING:
        terms = _completed(terms, record.min_resource)
    maximise = record.maximise if goal is None else goal == "maximize"
    if maximise is None:
        raise click.UsageError(
            "the record does not say which way the metric is better: "
            "say --goal minimize or --goal maximize"
        )
    slots = 1 if in_order else parallel
    if slots is None and not record.has_times:
        slots = 1
    curves, judges, rule_terms = _judges(record.curves, terms, maximise=maximise)
    report = replay(curves, judges, maximise=maximise, slots=slots)
    setting = replay_report.Setting(
        metric=record.metric,
        rule=rule,
        rule_terms=rule_terms,
        order=_order(slots, is_asked=in_order or parallel is not None),
        slots=slots,
        notes=(*_notes(record, slots), *(_on_schedules(record.curves) if rule == _HALVING else ())),
    )
    if as_json:
        click.echo(json.dumps(replay_report.as_json(setting, report), indent=2))
    else:
        click.echo(replay_report.text(setting, report))


def _refuse_contradictions(
    terms: _Terms, *, has_file: bool, has_job: bool, has_server: bool, has_two_orders: bool
) -> None:
    """Refuse options that don't go together.

    Raises:
        click.UsageError: There are such.
    """
    if has_file == has_job:
        raise click.UsageError("name a FILE, or a tuning job with --job NAME: one of them")
    if has_server and not has_job:
        raise click.UsageError("--server goes with --job; a FILE is read without a server")
    if has_two_orders:
        raise click.UsageError("--in-order is --parallel 1: leave one of them out")
    numbers = (terms.min_resource, terms.max_resource, terms.eta)
    if terms.rule == _MEDIAN and any(each is not None for each in numbers):
        raise click.UsageError(
            "--min-resource, --max-resource and --eta are numbers of --rule halving; the median "
            "rule has none"
        )
    if terms.min_resource and terms.max_resource and terms.min_resource > terms.max_resource:
        raise click.UsageError(
            f"--min-resource {terms.min_resource} is above --max-resource {terms.max_resource}: "
            "no trial would ever be judged; give at most that"
        )


def _completed(terms: _Terms, recorded: int | None) -> _Terms:
    """Take the first rung from the record, if nobody says where it is.

    Raises:
        click.UsageError: It lies beyond the full resource that was asked for.
    """
    if terms.min_resource is not None or recorded is None:
        return terms
    if terms.max_resource is not None and recorded > terms.max_resource:
        raise click.UsageError(
            f"the tuning job's MinResource, {recorded}, is above --max-resource "
            f"{terms.max_resource}: say --min-resource"
        )
    return replace(terms, min_resource=recorded)


def _record(file: Path | None, name: str | None, server: str, metric: str | None) -> Record:
    if file is not None:
        from tunesmith_server.cli.curve_file import read_curves

        return read_curves(file, metric=metric)
    from tunesmith import connect
    from tunesmith_server.cli.job_curves import job_record

    with connect(server) as client:
        return job_record(client, name or "", metric=metric)


def _judges(
    curves: Sequence[Curve], terms: _Terms, *, maximise: bool
) -> tuple[Sequence[Curve], dict[str | None, Judge[FellBehind]], Sequence[str]]:
    """Make a judge for each definition.

    Returns:
        The curves as they are judged, the judges, and the rule's numbers in words.
    """
    from tunesmith_core.stopping.judges import HalvingJudge, MedianJudge
    from tunesmith_core.stopping.rungs import ETA
    from tunesmith_server.cli.wording import counted

    definitions = list(dict.fromkeys(curve.definition for curve in curves))
    if terms.rule == _MEDIAN:
        return curves, {each: MedianJudge(maximise=maximise) for each in definitions}, [""]
    eta = ETA if terms.eta is None else terms.eta
    judges: dict[str | None, Judge[FellBehind]] = {}
    in_words = []
    for definition in definitions:
        full = terms.max_resource or _longest(curves, definition)
        try:
            judge = HalvingJudge(
                maximise=maximise, min_resource=terms.min_resource, max_resource=full, eta=eta
            )
        except ValueError as error:
            raise Refusal(str(error)) from None
        judges[definition] = judge
        levels = ", ".join(f"{level}" for level in judge.levels)
        plural = "s" if len(judge.levels) > 1 else ""
        rungs = f"rung{plural} at {levels} of" if levels else "no rung below"
        of_which = f" for {definition}" if len(definitions) > 1 else ""
        in_words.append(f"{of_which}, one of {eta:g} goes on; {rungs} {counted(full, 'step')}")
    if terms.max_resource is not None:
        # As a server has it: nobody is to go on beyond the full resource.
        most = terms.max_resource
        curves = [replace(curve, full=min(curve.full or most, most)) for curve in curves]
    return curves, judges, in_words


def _longest(curves: Sequence[Curve], definition: str | None) -> int:
    # One that says how long it was to run may have gone on beyond that.
    return max(curve.full or curve.steps[-1] for curve in curves if curve.definition == definition)


def _order(slots: int | None, *, is_asked: bool) -> str:
    if slots is None:
        return "as the values came"
    if slots > 1:
        return f"{slots} trials at a time, in the order of the record"
    if is_asked:
        return "trial after trial"
    return "trial after trial, since the record does not say when they ran"


def _notes(record: Record, slots: int | None) -> Iterator[str]:
    from tunesmith_server.cli.wording import plain

    if record.without_value:
        yield f"Trials without a value of the metric, left out: {record.without_value}."
    if record.unused:
        yield f"Columns that say nothing here: {plain(', '.join(record.unused))}."
    if record.is_export or not record.has_times:
        return
    yield "When a trial began is not known: its time counts from its first value on."
    last_began = max(curve.began_s or 0.0 for curve in record.curves)
    first_ended = min((curve.began_s or 0.0) + curve.lasted_s for curve in record.curves)
    if slots is None and len(record.curves) >= _FEW and last_began < first_ended:
        yield (
            "All trials seem to have run at once. If the times count from each trial's own "
            "beginning, call their column elapsed."
        )


def _on_schedules(curves: Sequence[Curve]) -> Iterator[str]:
    """Say that trials of different lengths may have had schedules of their own."""
    from tunesmith_core.stopping.curves import Ending

    lasts = [curve.steps[-1] for curve in curves if curve.ending is Ending.COMPLETED]
    if not lasts or min(lasts) == max(lasts) or any(curve.full is not None for curve in curves):
        return
    yield (
        f"Completed trials end at {min(lasts)} to {max(lasts)} steps. If each was to end there, say "
        "so in a column full: rungs are then shares of a trial's own steps."
    )
