"""Train a small network, print its loss after each epoch, and go on from the last checkpoint."""

from __future__ import annotations

import json
import math
import os
import pathlib
import random

POINTS = 150
STATE = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints", "state.json")


def main() -> None:
    """Fit a wave with one hidden layer, in nothing but Python."""
    parameters = json.loads(os.environ["SM_HPS"])
    draw = random.Random(0)  # noqa: S311 - data to fit, no secret
    data = [(x, math.sin(3 * x)) for x in (draw.uniform(-2, 2) for _ in range(POINTS))]
    done = 0
    inner = [[draw.gauss(0, 1), draw.gauss(0, 1)] for _ in range(parameters["hidden"])]
    outer = [draw.gauss(0, 0.1) for _ in range(parameters["hidden"])]
    if STATE.exists():
        done, inner, outer = json.loads(STATE.read_text())
        print(f"going on after epoch {done}")
    for epoch in range(done + 1, parameters["epochs"] + 1):
        loss = pass_over(data, inner, outer, rate=parameters["rate"])
        if not math.isfinite(loss):
            raise SystemExit(f"the loss is {loss} after epoch {epoch}")
        save(epoch, inner, outer)
        print(f"epoch={epoch} loss={loss:.6f}", flush=True)


def pass_over(
    data: list[tuple[float, float]], inner: list[list[float]], outer: list[float], *, rate: float
) -> float:
    """Adjust the weights at each point; gives the mean of the squared errors before."""
    loss = 0.0
    for x, y in data:
        active = [math.tanh(w * x + b) for w, b in inner]
        error = sum(v * a for v, a in zip(outer, active, strict=True)) - y
        loss += error * error / len(data)
        for unit, a in enumerate(active):
            slope = rate * error * outer[unit] * (1 - a * a)
            outer[unit] -= rate * error * a
            inner[unit][0] -= slope * x
            inner[unit][1] -= slope
    return loss


def save(epoch: int, inner: list[list[float]], outer: list[float]) -> None:
    """Write the checkpoint whole: whoever reads it finds this one, or the one before."""
    unfinished = STATE.with_suffix(".unfinished")
    unfinished.write_text(json.dumps([epoch, inner, outer]))
    unfinished.rename(STATE)


if __name__ == "__main__":
    main()
