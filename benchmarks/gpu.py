"""How fast the model is on this machine's GPU: each part beside its floor, fits, asks, memory, many small ones at once.

One command, no network, at most eight minutes, with nothing needed but what `pip install 'tunesmith[gpu]'` brings:

    python -m benchmarks.gpu [--device 0] [--minutes 8] [--report FILE]

The references are the CPU's compiled kernels on one core, and BoTorch over GPyTorch on the same card where both
are installed. Floors are what the card reached in plain products and copies in the same run. A table of
the bars comes last. Without a GPU it says why, and ends.
"""

from __future__ import annotations

import argparse
import gc
import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.card.botorch_peer import give_back, peer
from benchmarks.card.card import DATA_SHEET, Card, Speed, Watch, open_card, speed_of
from benchmarks.card.parts import likelihood_floor_s, likelihood_of, observations, parts
from benchmarks.card.together import SAME, asked
from benchmarks.shared.report import save
from tunesmith_core import warmup
from tunesmith_core.devices import CROSSOVER, OneBackend
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.numba_backend import NumbaBackend
from tunesmith_core.gpu.device import DeviceError
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space.ranges import Configuration, Continuous, SearchSpace
from tunesmith_core.threads import on_one_thread

ALWAYS = 10**9
"""As ``growth``: the model is fitted anew at every ask."""

MORE = 64
"""Observations that come one by one while asks are measured."""

GIB = 2**30
LIKELIHOOD_S, LIKELIHOOD_FLOORS = 0.1, 2.0
MIDDLE_S, LARGE_S = 0.05, 1.0
MEMORY_GIB = 4
AGREEMENT = 1e-8
TIMES_FASTER = 3.0
TOGETHER = 10.0
"""The bars; the last: so much less than the CPU, one after the other, do many small models take at once."""

SAME_SHARE = 0.95
HOST_S = 0.4e-3
"""Of the orchestration, for each ask of many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Hold what is measured; smaller for tests of the benchmark itself.

    Attributes:
        large: Observations of the large model.
        middle: Of the middle one.
        d: Dimensions of both.
        crossing: Numbers of observations at which both devices are measured.
        agreeing: Observations with which results are compared.
        repeated: Observations with which suggestions are computed twice.
        jobs: Searches that are asked at once.
        small: Observations of each of them.
        small_d: Their dimensions.
        product: See `card.speed_of`.
        copied: The same.
    """

    large: int = 10_000
    middle: int = 2_000
    d: int = 20
    crossing: tuple[int, ...] = (50, 100, 150, 200, 300, 500, 1000)
    agreeing: int = 1000
    repeated: int = 150
    jobs: int = 64
    small: int = 200
    small_d: int = 10
    product: int = 8192
    copied: int = 2**27


@dataclass(slots=True, kw_only=True)
class Findings:
    """Collect rows of the last table, and everything for the report."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    content: dict[str, object] = field(default_factory=dict)

    def bar(self, what: str, measured: str, bar: str, *, is_met: bool | None) -> None:
        """Add a row: whether a bar is met, None if that can't be said."""
        verdict = {True: "met", False: "missed", None: "not measured"}[is_met]
        self.rows.append((what, measured, bar, verdict))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", type=int, default=0, help="which GPU, from 0 on")
    parser.add_argument("--minutes", type=float, default=8.0, help="what is left out then is said")
    parser.add_argument("--report", type=Path, help="a file for all times, as JSON")
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # who ends it early sees what there was by then
        sys.stdout.reconfigure(line_buffering=True)
    try:
        card = open_card(arguments.device)
    except DeviceError as error:
        print(f"nothing is measured: {error}")
        sys.exit(0)
    warmup.warm_up()
    with card.device.active():
        findings = run(card, Sizes(), until=time.monotonic() + 60 * arguments.minutes)
        # Within: a card that broke down lets nobody leave without an error.
        if arguments.report is not None:
            save(arguments.report, **card.names, **findings.content)


def run(card: Card, sizes: Sizes, *, until: float) -> Findings:
    """Measure everything, as far as time allows, and print it."""
    watch, findings = Watch(card.synchronise), Findings()
    print(*(f"{name}: {value}" for name, value in card.names.items()), sep="\n")
    try:
        speed = speed_of(card, watch, product=sizes.product, copied=sizes.copied)
    except Exception as error:  # noqa: BLE001 - the rest counts without floors of this card too
        print(f"speed_of failed: {type(error).__name__}: {error}; floors are by the data sheet")
        findings.bar("speed_of", "failed", "", is_met=False)
        speed = DATA_SHEET
    print(
        f"product {speed.product / 1e12:.3g} Tflop/s, memory {speed.memory / 1e12:.3g} TB/s, "
        f"launch {1e6 * speed.launch_s:.3g} us"
    )
    sections: list[Callable[[Card, Speed, Watch, Sizes, Findings], None]] = [
        measure_likelihood,
        measure_asks,
        measure_together,
        measure_crossover,
        measure_agreement,
        measure_parts,
        measure_peer,
    ]
    for section in sections:
        if time.monotonic() >= until:
            print(f"no time left for {section.__name__}")
            continue
        try:
            _clear(card)
            section(card, speed, watch, sizes, findings)
        except Exception as error:  # noqa: BLE001 - a card is not always at hand: the rest counts
            print(f"{section.__name__} failed: {type(error).__name__}: {error}")
            findings.bar(section.__name__, "failed", "", is_met=False)
    findings.content["seconds"] = watch.taken
    print("\n| what | measured | bar | verdict |\n|---|---|---|---|")
    for row in findings.rows:
        print(f"| {' | '.join(row)} |")
    return findings


def measure_likelihood(
    card: Card, speed: Speed, watch: Watch, sizes: Sizes, findings: Findings
) -> None:
    """Measure likelihoods with their gradients beside the floor."""
    for n in (sizes.middle, sizes.large):
        likelihood, theta = likelihood_of(card.backend, n, sizes.d)
        took = watch.median_s(f"likelihood {n}", partial(likelihood.negative_log_posterior, theta))
        floor = likelihood_floor_s(speed, n, sizes.d)
        print(
            f"likelihood, n = {n}: {1e3 * took:.2f} ms, floor {1e3 * floor:.2f} ms, "
            f"{took / floor:.2f} times"
        )
    findings.bar(
        f"likelihood with gradient, n = {sizes.large:,}, d = {sizes.d}",
        f"{1e3 * took:.1f} ms, {took / floor:.2f} times its floor",
        f"< {1e3 * LIKELIHOOD_S:.0f} ms, at most {LIKELIHOOD_FLOORS:g} times its floor",
        is_met=took < LIKELIHOOD_S and took <= LIKELIHOOD_FLOORS * floor,
    )


def measure_asks(card: Card, speed: Speed, watch: Watch, sizes: Sizes, findings: Findings) -> None:
    """Measure a fit that goes on from the last one, and an ask, and the memory that they take."""
    del speed
    for n, bar_s in ((sizes.middle, MIDDLE_S), (sizes.large, LARGE_S)):
        _clear(card)
        took = watch.median_s(f"fit and ask {n}", asking(card.backend, n, sizes.d))
        print(f"fit and ask, n = {n}: {1e3 * took:.1f} ms")
        findings.bar(
            f"warm-started fit and ask, n = {n:,}, d = {sizes.d}",
            f"{1e3 * took:.0f} ms",
            f"< {1e3 * bar_s:.0f} ms",
            is_met=took < bar_s,
        )
        findings.content[f"fit and ask {n}"] = took
        used = card.used_bytes()
    findings.bar(
        f"memory of arrays, n = {sizes.large:,}",
        f"{used / GIB:.2f} GiB",
        f"< {MEMORY_GIB} GiB",
        is_met=used < MEMORY_GIB * GIB,
    )


def measure_together(
    card: Card, speed: Speed, watch: Watch, sizes: Sizes, findings: Findings
) -> None:
    """Measure one ask each of many searches at once, beside the CPU's one after the other."""
    del speed
    jobs, n = sizes.jobs, sizes.small
    found = asked(card, watch, jobs=jobs, n=n, d=sizes.small_d)
    for kind, took in found.together_s.items():
        alone = found.alone_s[kind]
        bar = jobs * alone / TOGETHER
        print(
            f"{jobs} asks, n = {n}, {kind}: {1e3 * took:.1f} ms together on the card, "
            f"{1e3 * alone:.2f} ms each on the CPU, {jobs * alone / took:.1f} times"
        )
        findings.bar(
            f"{jobs} jobs, n = {n}, d = {sizes.small_d}, one ask each, {kind}",
            f"{1e3 * took:.1f} ms",
            f"< {1e3 * bar:.1f} ms, {jobs} times the CPU's {1e3 * alone:.2f} ms by {TOGETHER:g}",
            is_met=took < bar,
        )
    findings.content["asks together"] = [found.together_s, found.alone_s, found.host_s]
    findings.bar(
        f"the orchestration's part of {jobs} asks, no fit due",
        f"{1e3 * found.host_s:.1f} ms, {1e3 * found.host_s / jobs:.2f} ms each",
        f"< {1e3 * HOST_S:g} ms each",
        is_met=found.host_s < HOST_S * jobs,
    )
    findings.bar(
        f"suggestions of {jobs} at once beside one after the other, within {SAME:g} of a range",
        f"{100 * found.same:.0f} %",
        f"at least {100 * SAME_SHARE:.0f} %",
        is_met=found.same >= SAME_SHARE,
    )


def measure_crossover(
    card: Card, speed: Speed, watch: Watch, sizes: Sizes, findings: Findings
) -> None:
    """Measure both devices with few observations: from where on is the GPU faster?"""
    del speed
    cpu, faster = NumbaBackend(), []
    print(f"{'n':>6} {'likelihood':>24} {'fit and ask':>24}   (CPU, GPU)")
    for n in sizes.crossing:
        took = []
        for backend in (cpu, card.backend):
            likelihood, theta = likelihood_of(backend, n, 10)
            with on_one_thread():
                took.append(
                    watch.median_s(
                        f"likelihood {n} on {backend.name}",
                        partial(likelihood.negative_log_posterior, theta),
                    )
                )
            took.append(
                watch.median_s(f"fit and ask {n} on {backend.name}", asking(backend, n, 10))
            )
        cpu_s, cpu_ask_s, gpu_s, gpu_ask_s = took
        faster.append(gpu_s < cpu_s)
        print(
            f"{n:6} {1e3 * cpu_s:9.2f} ms {1e3 * gpu_s:8.2f} ms"
            f" {1e3 * cpu_ask_s:9.1f} ms {1e3 * gpu_ask_s:8.1f} ms"
        )
    after = [n for number, n in enumerate(sizes.crossing) if all(faster[number:])]
    measured = f"from n = {after[0]} on" if after else f"above n = {sizes.crossing[-1]}"
    print(f"the GPU's likelihood is faster {measured}; CROSSOVER is {CROSSOVER}")
    findings.content["crossover"] = after[0] if after else None
    findings.bar(
        "crossover of the likelihood",
        measured,
        f"CROSSOVER, {CROSSOVER}",
        is_met=bool(after) and after[0] <= CROSSOVER,
    )


def measure_agreement(
    card: Card, speed: Speed, watch: Watch, sizes: Sizes, findings: Findings
) -> None:
    """Compare with the CPU, and with the same on the GPU once more."""
    del speed, watch
    results = []
    for backend in (NumbaBackend(), card.backend, card.backend):
        likelihood, theta = likelihood_of(backend, sizes.agreeing, sizes.d)
        results.append(likelihood.negative_log_posterior(theta))
    (value, gradient), (there, slopes), again = results
    error = max(
        abs(there / value - 1.0), float(np.abs(slopes - gradient).max() / np.abs(gradient).max())
    )
    is_same = there == again[0] and np.array_equal(slopes, again[1])
    asked = [told(card.backend, sizes.repeated, 5)[0].ask(2) for _ in range(2)]
    print(f"relative error beside the CPU {error:.1e}; the same bits again: {is_same}")
    findings.bar(
        f"likelihood and gradient beside the CPU's, n = {sizes.agreeing:,}",
        f"relative error {error:.0e}",
        f"< {AGREEMENT:g}",
        is_met=error < AGREEMENT,
    )
    findings.bar(
        "the same history on the same card",
        "the same bits" if is_same and asked[0] == asked[1] else "other bits",
        "the same bits",
        is_met=is_same and asked[0] == asked[1],
    )


def measure_parts(card: Card, speed: Speed, watch: Watch, sizes: Sizes, findings: Findings) -> None:
    """Measure each part of the large model beside its floor."""
    found = {}
    print(f"{f'part, n = {sizes.large}':34} {'took':>12} {'floor':>12} {'ratio':>7}")
    for part in parts(card, speed, watch, sizes.large, sizes.d):
        ratio = part.took_s / part.floor_s
        print(
            f"{part.name:34} {1e3 * part.took_s:9.3f} ms {1e3 * part.floor_s:9.3f} ms {ratio:7.2f}",
            flush=True,
        )
        found[part.name] = [part.took_s, part.floor_s]
    findings.content["parts"] = found


def measure_peer(card: Card, speed: Speed, watch: Watch, sizes: Sizes, findings: Findings) -> None:
    """Measure BoTorch over GPyTorch on the same card, if they are installed."""
    del speed
    what = f"beside BoTorch over GPyTorch, n = {sizes.large:,}"
    ours = findings.content.get(f"fit and ask {sizes.large}")
    _clear(card)
    try:
        call = peer(*observations(sizes.large + MORE, sizes.d), sizes.large)
        watch_once = Watch(card.synchronise, least=1, most=3, longest_s=20.0)
        theirs = watch_once.median_s("peer", call)
        give_back()
    except ImportError as error:
        print(f"no peer is measured: {error}")
        findings.bar(
            what, "it isn't installed", f"at least {TIMES_FASTER:g} times faster", is_met=None
        )
        return
    watch.taken |= watch_once.taken
    print(f"BoTorch, n = {sizes.large}: {theirs:.2f} s")
    ratio = theirs / ours if isinstance(ours, float) else None
    findings.bar(
        what,
        f"{theirs:.2f} s" + ("" if ratio is None else f", {ratio:.1f} times ours"),
        f"at least {TIMES_FASTER:g} times faster",
        is_met=None if ratio is None else ratio >= TIMES_FASTER,
    )


def _clear(card: Card) -> None:
    """Give back what models of the last section hold, some of which refer to themselves."""
    gc.collect()
    card.free()


def told(backend: Backend, n: int, d: int) -> tuple[Optimizer, list[Configuration]]:
    """Give an optimiser that knows n results, and configurations to tell it later."""
    space = SearchSpace(tuple(Continuous(name=f"x{j}", lo=0, hi=1) for j in range(d)))
    optimizer = Optimizer(space, seed=1, devices=OneBackend(backend))
    x, y = observations(n + MORE, d)
    configurations: list[Configuration] = [
        {f"x{j}": float(each) for j, each in enumerate(point)} for point in x
    ]
    for configuration, value in zip(configurations[:n], y[:n], strict=True):
        optimizer.tell(configuration, float(value))
    return optimizer, configurations[n:]


def asking(backend: Backend, n: int, d: int) -> Callable[[], object]:
    """Give what tells one more result, fits the model anew from the last fit, and asks."""
    optimizer, more = told(backend, n, d)
    left = iter(more)

    def tell_and_ask() -> None:
        optimizer.set_pending([])
        configuration = next(left)
        optimizer.tell(configuration, float(sum(map(float, configuration.values()))))
        optimizer.ask(growth=ALWAYS)

    return tell_and_ask


if __name__ == "__main__":
    main()
