"""What a replay has found: as text for people, and as JSON for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tunesmith_core.stopping.halving import Verdict
from tunesmith_core.stopping.replay import Best, Report, Spending, Stop
from tunesmith_server.cli import wording

#: So many stopped trials are shown to people.
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Say what was replayed, and how.

    Attributes:
        metric: The metric's name; empty: nothing says.
        rule: The rule's name.
        rule_terms: Its numbers in words, a line for each definition that has its own.
        order: In which order values came, in words.
        slots: So many trials at a time; None: as they came.
        notes: What else is to be known of the record.
    """

    metric: str
    rule: str
    rule_terms: Sequence[str]
    order: str
    slots: int | None
    notes: Sequence[str] = ()


def text(setting: Setting, report: Report) -> str:
    """Lay a report out for people."""
    lines = [
        f"Record: {_of_record(setting, report)}",
        *(f"Rule: {setting.rule}{terms}" for terms in setting.rule_terms),
        f"Order: {setting.order}",
        "",
        f"Stopped: {_stopped(report)}",
        wording.table(("", "IN ALL", "WITH THE RULE", "SAVED"), list(_spendings(report))),
        "",
        f"Best without the rule: {_best(report.best)}",
        f"Best with the rule: {_best(report.best_with)}{_regret(report)}",
        *_of_the_best(report),
        *_shown_stops(report),
        "",
        *_more(report),
        *setting.notes,
    ]
    return "\n".join(lines)


def _of_record(setting: Setting, report: Report) -> str:
    goal = "maximize" if report.maximise else "minimize"
    metric = f" of {wording.plain(setting.metric)}" if setting.metric else ""
    values = f"{wording.counted(round(report.values.total), 'value')}{metric} to {goal}"
    others = [
        f"{count} {what}"
        for count, what in ((report.failed, "failed"), (report.cut, "stopped early"))
        if count
    ]
    aside = f" ({', '.join(others)})" if others else ""
    return f"{_trials(report.trials)}{aside}, {values}"


def _trials(count: int) -> str:
    return wording.counted(count, "trial")


def _stopped(report: Report) -> str:
    rungs = Counter(stop.finding.rung for stop in report.stops if isinstance(stop.finding, Verdict))
    places = [
        f"{rungs[rung]} {f'at rung {rung}' if rung else 'beyond the full resource'}"
        for rung in sorted(rungs)
    ]
    return f"{len(report.stops)} of {_trials(report.trials)}" + (
        f": {', '.join(places)}" if places else ""
    )


def _spendings(report: Report) -> Iterator[tuple[str, str, str, str]]:
    yield _spending("values", report.values, lambda count: f"{count:.0f}")
    if report.seconds is not None:
        yield _spending("time of all trials", report.seconds, wording.span)
    if report.span_s is not None and report.span_s != report.seconds:
        yield _spending("time to the last end", report.span_s, wording.span)


def _spending(
    label: str, spending: Spending, shown: Callable[[float], str]
) -> tuple[str, str, str, str]:
    share = f" ({spending.saved / spending.total:.0%})" if spending.total > 0 else ""
    return label, shown(spending.total), shown(spending.spent), f"{shown(spending.saved)}{share}"


def _best(best: Best | None) -> str:
    if best is None:
        return "none"
    return f"{wording.number(best.value)}, trial {wording.plain(best.trial)}"


def _regret(report: Report) -> str:
    regret = report.regret
    if regret is None:
        return ""
    return f", worse by {regret:.3g}" if regret else ", the same"


def _of_the_best(report: Report) -> Iterator[str]:
    stop = report.best_stop
    late = report.best_late_stop
    if stop is not None:
        yield f"The best trial would have been stopped: {stop.finding}."
    elif late is not None:
        yield f"The best trial would have been stopped, and keeps its result: {late.finding}."
    elif report.best is not None:
        yield "The best trial would have gone on to its end."
    if report.top > 1:
        yield (
            f"Of the top 10 %, {_trials(report.top)}, {report.top_stopped} would have been stopped."
        )


def _shown_stops(report: Report) -> Iterator[str]:
    if not report.stops:
        return
    # Those that the rule cost most come first.
    dearest = sorted(report.stops, key=lambda stop: stop.place or math.inf)
    yield ""
    if len(dearest) > _SHOWN:
        yield f"Of the stopped trials the {_SHOWN} that would have ended best; --json has all:"
    headers = ("TRIAL", "STOPPED AT", "RANK", "VALUE", "LIMIT", "REACHED", "PLACE", "SAVED")
    yield wording.table(headers, [_row(stop) for stop in dearest[:_SHOWN]])


def _row(stop: Stop) -> tuple[str, ...]:
    finding = stop.finding
    rung = finding.rung if isinstance(finding, Verdict) else 0
    is_beyond = stop.has_done_all
    saved = wording.counted(stop.values_saved, "value")
    if stop.seconds_saved is not None:
        saved += f", {wording.span(stop.seconds_saved)}"
    return (
        wording.plain(stop.curve.trial),
        f"{f'rung {rung}, ' if rung else ''}{finding.resource}",
        "" if is_beyond else f"{finding.rank} of {finding.entries}",
        wording.number(finding.value),
        "" if is_beyond else wording.number(finding.threshold),
        wording.number(stop.reached),
        "" if stop.place is None else f"{stop.place}",
        saved,
    )


def _more(report: Report) -> Iterator[str]:
    if report.values.saved or (report.seconds is not None and report.seconds.saved):
        yield (
            f"What is saved would have been enough for about {report.more} more such trials under "
            "the rule. They are not simulated: they might have found better."
        )
    if report.cut:
        yield (
            f"{_trials(report.cut)} stopped early in the record: their curves are short, what they "
            "would have reached is not known, and they have no place."
        )


def as_json(setting: Setting, report: Report) -> dict[str, object]:
    """Give a report for programs.

    What is not known is left out. A number that is not finite is its name, such as ``NaN``.
    """
    members: dict[str, object] = {
        "MetricName": setting.metric or None,
        "ObjectiveType": "Maximize" if report.maximise else "Minimize",
        "Rule": setting.rule,
        "RuleTerms": [f"{setting.rule}{terms}" for terms in setting.rule_terms],
        "ParallelTrials": setting.slots,
        "Notes": list(setting.notes) or None,
        "Trials": report.trials,
        "TrialsFailed": report.failed,
        "TrialsStoppedInRecord": report.cut,
        "Values": _json_spending(report.values),
        "Seconds": _json_spending(report.seconds),
        "SecondsToLastEnd": _json_spending(report.span_s),
        "Best": _json_best(report.best),
        "BestWithRule": _json_best(report.best_with),
        "Regret": None if report.regret is None else _json_number(report.regret),
        "BestIsStopped": report.best_stop is not None,
        "TopTrials": report.top,
        "TopTrialsStopped": report.top_stopped,
        "MoreTrials": report.more,
        "Stopped": [_json_stop(stop) for stop in report.stops],
    }
    return _without_absent(members)


def _without_absent(members: dict[str, object]) -> dict[str, object]:
    return {name: member for name, member in members.items() if member is not None}


def _json_spending(spending: Spending | None) -> dict[str, float] | None:
    if spending is None:
        return None
    return {"Total": spending.total, "Spent": spending.spent, "Saved": spending.saved}


def _json_best(best: Best | None) -> dict[str, object] | None:
    return None if best is None else {"Trial": best.trial, "Value": best.value}


def _json_stop(stop: Stop) -> dict[str, object]:
    finding = stop.finding
    is_beyond = stop.has_done_all
    return _without_absent(
        {
            "Trial": stop.curve.trial,
            "Step": finding.resource,
            "Rung": finding.rung if isinstance(finding, Verdict) else None,
            "Value": _json_number(finding.value),
            "Rank": None if is_beyond else finding.rank,
            "Entries": None if is_beyond else finding.entries,
            "Threshold": None if is_beyond else _json_number(finding.threshold),
            "Reason": str(finding),
            "Reached": _json_number(stop.reached),
            "Place": stop.place,
            "StatusInRecord": stop.curve.ending.value,
            "ValuesSaved": stop.values_saved,
            "SecondsSaved": stop.seconds_saved,
        }
    )


def _json_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
