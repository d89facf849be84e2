"""The benchmark of the GPU, on kernels compiled as C: the one run on a card must not be its first."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.card.card import Card, Speed, Watch
from benchmarks.card.parts import likelihood_floor_s
from tests.core.gpu.host_device import HAS_GPU, HostDevice
from tests.project.repository import ROOT
from tunesmith_core.gpu.backend import GpuBackend

pytestmark = [pytest.mark.usefixtures("warm", "compiler"), pytest.mark.timeout(120)]

SIZES = gpu.Sizes(
    large=34,
    middle=10,
    d=2,
    crossing=(8,),
    agreeing=30,
    repeated=12,
    jobs=9,
    small=12,
    small_d=2,
    product=16,
    copied=1000,
)


def nothing() -> None:
    pass


def card() -> Card:
    device = HostDevice()
    return Card(
        backend=GpuBackend(device),
        device=device,
        names={"card": "none"},
        synchronise=nothing,
        used_bytes=lambda: 2**30,
        free=nothing,
    )


def test_everything_is_measured_and_the_table_comes_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "Watch", lambda *_, **__: Watch(nothing, least=1, most=1))
    findings = gpu.run(card(), SIZES, until=time.monotonic() + 1000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "card: none"
    table = [line for line in lines if line.startswith("|")]
    assert lines[-len(table) :] == table
    verdicts = [row[-1] for row in findings.rows]
    assert len(table) == len(verdicts) + 2
    assert set(verdicts) <= {"met", "missed", "not measured"}
    by_name = {row[0]: row for row in findings.rows}
    assert by_name["the same history on the same card"][-1] == "met"
    assert by_name["likelihood and gradient beside the CPU's, n = 30"][-1] == "met"
    assert by_name["memory of arrays, n = 34"][1:] == ("1.00 GiB", "< 4 GiB", "met")
    assert (
        by_name["suggestions of 9 at once beside one after the other, within 0.0005 of a range"][-1]
        == "met"
    )
    assert sum(name.startswith("9 jobs, n = 12, d = 2, one ask each, ") for name in by_name) == 3
    assert len(findings.content["parts"]) == 9  # type: ignore[arg-type]


def test_what_fails_is_said_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError("full")

    names = [
        "speed_of",
        *(
            f"measure_{each}"
            for each in ("likelihood", "asks", "together", "crossover", "agreement", "parts")
        ),
    ]
    for name in names:
        monkeypatch.setattr(gpu, name, full)
    findings = gpu.run(card(), SIZES, until=time.monotonic() + 1000)
    assert capsys.readouterr().out.count("failed: MemoryError: full") == len(names)
    assert [row[-1] for row in findings.rows] == ["missed"] * len(names) + ["not measured"]


def test_a_card_that_breaks_down_leaves_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    findings = gpu.run(replace(card(), free=broken), SIZES, until=time.monotonic() + 1000)
    assert capsys.readouterr().out.splitlines()[-1].startswith("| measure_peer | failed |")
    assert [row[-1] for row in findings.rows] == ["missed"] * 7


def test_what_there_is_no_time_for_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.run(card(), SIZES, until=time.monotonic() - 1)
    assert "no time left for measure_likelihood" in capsys.readouterr().out


def test_the_floor_of_a_likelihood_counts_flops_and_bytes() -> None:
    infinite = np.inf
    speed = Speed(product=2.0, plain=infinite, memory=infinite, launch_s=0.0)
    assert likelihood_floor_s(speed, 10, 3) == 500
    speed = Speed(product=infinite, plain=infinite, memory=8.0, launch_s=0.0)
    assert likelihood_floor_s(speed, 10, 3) == 400
    speed = Speed(product=infinite, plain=1.0, memory=infinite, launch_s=0.0)
    assert likelihood_floor_s(speed, 10, 3) == 100 * (9 + 52 + 9 + 51 + 12)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU, and a run takes minutes")
def test_without_a_gpu_it_says_why() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=100,
    )
    assert done.stdout.startswith("nothing is measured: ")
