"""What simulated trials do when nothing disturbs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Say what one attempt of a trial does.

    Attributes:
        values: The objective metric's values, one an epoch; may be NaN or infinite.
        epoch_s: How long an epoch takes.
        start_s: How long it takes to get ready, and then again to download its data.
        upload_s: How long its model takes to be stored.
        failure_reason: It fails for this reason after its last epoch; None: it completes.
        retryable: The failure is the host's.
        exceeds_runtime: It reaches its own time limit after its last epoch.
    """

    values: tuple[float, ...]
    epoch_s: float = 20.0
    start_s: float = 2.0
    upload_s: float = 1.0
    failure_reason: str | None = None
    retryable: bool = False
    exceeds_runtime: bool = False


#: Gives a trial's run for its configuration; draws what is random from the generator.
Program = Callable[[Mapping[str, str], np.random.Generator], Run]


def bowl(configuration: Mapping[str, str], rng: np.random.Generator) -> Run:
    """Train something whose loss falls with the epochs, least at a learning rate of 1e-3."""
    distance = math.log10(float(configuration.get("learning_rate", "1e-3"))) + 3
    depth = float(configuration.get("depth", "6"))
    final = 0.1 + distance**2 + 0.01 * (depth - 6) ** 2
    epochs = int(rng.integers(1, 6))
    noise = rng.normal(scale=0.01, size=epochs)
    values = tuple(float(final * (1 + 1 / (k + 1)) + noise[k]) for k in range(epochs))
    return Run(
        values=values,
        epoch_s=float(rng.exponential(30.0)),
        start_s=float(rng.exponential(2.0)),
        upload_s=float(rng.exponential(1.0)),
    )


def unreliable(
    program: Program, *, failures: float, retryable: float = 0.0, silent: float = 0.0
) -> Program:
    """Let a program fail, or say nothing of its objective, with these chances."""

    def run(configuration: Mapping[str, str], rng: np.random.Generator) -> Run:
        undisturbed = program(configuration, rng)
        fate = float(rng.random())
        if fate < failures:
            return Run(values=undisturbed.values[:1], failure_reason="AlgorithmError: Exit Code: 1")
        if fate < failures + retryable:
            reason = "InternalServerError: the disk is full"
            return Run(values=(), failure_reason=reason, retryable=True)
        if fate < failures + retryable + silent:
            return Run(values=())
        return undisturbed

    return run
