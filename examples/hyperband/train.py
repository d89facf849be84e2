"""Train a small network by stochastic gradient descent, and print its loss after each epoch."""

from __future__ import annotations

import json
import math
import os
import random

POINTS = 150


def main() -> None:
    """Fit a wave with one hidden layer, in nothing but Python."""
    parameters = json.loads(os.environ["SM_HPS"])
    rate, hidden = parameters["rate"], parameters["hidden"]
    draw = random.Random(0)  # noqa: S311 - data to fit, no secret
    data = [(x, math.sin(3 * x)) for x in (draw.uniform(-2, 2) for _ in range(POINTS))]
    inner = [[draw.gauss(0, 1), draw.gauss(0, 1)] for _ in range(hidden)]
    outer = [draw.gauss(0, 0.1) for _ in range(hidden)]
    for epoch in range(1, parameters["epochs"] + 1):
        loss = 0.0
        for x, y in data:
            active = [math.tanh(w * x + b) for w, b in inner]
            error = sum(v * a for v, a in zip(outer, active, strict=True)) - y
            loss += error * error / POINTS
            for unit, a in enumerate(active):
                slope = rate * error * outer[unit] * (1 - a * a)
                outer[unit] -= rate * error * a
                inner[unit][0] -= slope * x
                inner[unit][1] -= slope
        if not math.isfinite(loss):
            raise SystemExit(f"the loss is {loss} after epoch {epoch}")
        print(f"epoch={epoch} loss={loss:.6f}", flush=True)


if __name__ == "__main__":
    main()
