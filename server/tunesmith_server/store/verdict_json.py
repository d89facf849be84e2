"""Verdicts as JSON in a training job's row, and back."""

from __future__ import annotations

import json
import math

from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict


def from_verdict(verdict: StoppingVerdict) -> str:
    """Write what a training job was stopped early by."""
    return json.dumps(
        {
            "rule": verdict.rule.value,
            "resource": verdict.resource,
            "value": from_number(verdict.value),
            "rung": verdict.rung,
            "rank": verdict.rank,
            "entries": verdict.entries,
            "threshold": None if verdict.threshold is None else from_number(verdict.threshold),
        }
    )


def to_verdict(text: str) -> StoppingVerdict:
    """Read what a training job was stopped early by."""
    read = json.loads(text)
    threshold = read["threshold"]
    return StoppingVerdict(
        rule=StoppingRule(read["rule"]),
        resource=read["resource"],
        value=float(read["value"]),
        rung=read["rung"],
        rank=read["rank"],
        entries=read["entries"],
        threshold=None if threshold is None else float(threshold),
    )


def from_number(value: float) -> float | str:
    """Give a number as JSON can hold it: one that is not finite as the string that `float` reads."""
    return value if math.isfinite(value) else repr(value)
