"""The GPU's kernels without a GPU: as C on the CPU, and compiled for GPUs by NVRTC."""

import ctypes
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.core.gp.problems import problem
from tests.core.gpu.host_device import COMPILER, HostDevice
from tests.project.repository import ROOT
from tunesmith_core.gp.likelihood import mismatches, scaled
from tunesmith_core.gp.numba_backend import NumbaBackend
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.gp.warping import warp
from tunesmith_core.gpu import blocked
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.gpu.cupy_device import OPTIONS
from tunesmith_core.gpu.device import constants, source
from tunesmith_core.gpu.together import (
    BEST,
    COUNT,
    OBSERVED,
    SPREAD,
    VARIANCE,
    Likelihoods,
    Predictors,
    Row,
    padded,
)
from tunesmith_core.space.scaling import F64

KERNEL = re.compile(r"^KERNEL (\w+)\((.*?)\) \{\n(.*?)^\}", flags=re.DOTALL | re.MULTILINE)
SHARED = re.compile(r"^INLINE \w+ \*?(\w+)\(.*?\) \{\n(.*?)^\}", flags=re.DOTALL | re.MULTILINE)
CUPYS = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy 14 adds of its own; both concern single precision and functions that say nothing, of which there are none."""

ARCHITECTURES = [
    pytest.param("sm_80", marks=pytest.mark.long),  # each takes seconds
    "sm_90",
    pytest.param("sm_100", marks=pytest.mark.long),
]


def kernels() -> dict[str, str]:
    """Give the body of each kernel, by its name."""
    return {name: body for name, _, body in KERNEL.findall(source())}


def factor_of(n: int, seed: int) -> F64:
    """Give the lower factor (n, n) of a covariance, with rubbish above its diagonal."""
    rng = np.random.default_rng([seed, n])
    half: F64 = rng.standard_normal((n, n))
    covariance: F64 = half @ half.T + n * np.eye(n)
    lower = np.linalg.cholesky(covariance)
    return np.asarray(lower + np.triu(np.full((n, n), 7.0), 1), dtype=np.float64)


def all_work(device: HostDevice) -> Iterator[F64]:
    """Have every kernel used on sizes that fill no tile."""
    backend = GpuBackend(device)
    given = problem((140, 11, 3), seed=1)
    u = scaled(given.layout, given.x, warp(given.x, given.values.a, given.values.b), given.values)
    mismatch = mismatches(given.layout, given.values)
    z = np.ascontiguousarray(u[:, :9]) + 0.1
    covariance, _ = backend.covariance(u, mismatch, 0.1)
    yield covariance.copy()
    inverted = backend.precision(covariance)
    assert inverted is not None
    yield inverted[0].copy()
    alpha = inverted[0] @ given.y
    back = np.random.default_rng(2).standard_normal((140, 9))
    yield from backend.candidate_sums(u, z, mismatch, alpha=alpha, back=back)
    sums = backend.pair_sums(u, mismatch, inverted[0], None, alpha=alpha, scale=1.5)
    yield from (sums.spread, sums.moment)
    yield from all_work_of_many(backend)


def all_work_of_many(backend: GpuBackend) -> Iterator[F64]:
    """Have every kernel for many models used on sizes that fill no tile."""
    given = [problem(shape, seed=2) for shape in ((140, 11, 3), (90, 2, 0), (131, 5, 1))]
    layouts, thetas = [each.layout for each in given], [each.theta for each in given]
    priors = [prior_of(each, PriorSettings()) for each in layouts]
    points, values = [each.x for each in given], [each.y for each in given]
    likelihoods = Likelihoods(backend, layouts, priors, points, values)
    for which in ([0, 1, 2], [0, 2]):
        found = likelihoods.negative_log_posteriors(which, [thetas[index] for index in which])
        yield from (gradient for _, gradient in found)
    rows = [Row(layout, 11) for layout in layouts]
    models = np.stack([row.filled(theta) for row, theta in zip(rows, thetas, strict=True)])
    for row, model, layout in zip(rows, models, layouts, strict=True):
        row.move(model, ~layout.categorical)
    models[:, OBSERVED], models[:, COUNT] = [137, 90, 131], [140, 90, 131]
    predictors = Predictors(backend, padded(points), padded(values), models)
    yield predictors.explained().alpha
    models[:, VARIANCE], models[:, BEST], models[:, SPREAD] = 1.0, -1.0, 0.01
    predictors.aim(models)
    z = np.random.default_rng(4).random((3, 9, 11))
    yield predictors.scores(z)
    yield predictors.climbed(z[:, :2], rounds=9, tolerance=1e-4)


@pytest.mark.usefixtures("compiler")
def test_the_order_of_work_items_makes_no_difference() -> None:
    forwards, backwards = HostDevice(), HostDevice(backwards=True)
    for one, other in zip(all_work(forwards), all_work(backwards), strict=True):
        assert np.array_equal(one, other)
    assert set(forwards.launched) == set(kernels())


@pytest.mark.usefixtures("warm", "compiler")
def test_sums_go_over_all_segments() -> None:
    n = constants()["SEGMENT"] + 37
    rng = np.random.default_rng(3)
    u, mismatch = rng.random((9, n)), np.where(np.arange(9) == 4, 0.5, 0.0)
    u[4] = np.floor(3 * u[4])
    half, alpha = rng.standard_normal((n, n)), rng.standard_normal((n,))
    cpu, gpu = NumbaBackend(), GpuBackend(HostDevice())
    results = []
    for backend in (cpu, gpu):
        _, slope = backend.covariance(u, mismatch, 0.1)
        results.append(backend.pair_sums(u, mismatch, half + half.T, slope, alpha=alpha, scale=1.5))
    one, other = results
    assert one.trace == pytest.approx(other.trace)
    np.testing.assert_allclose(one.spread, other.spread, rtol=1e-9)
    np.testing.assert_allclose(one.moment, other.moment, rtol=1e-9, atol=1e-9)


#: Has every kernel used, compiled so that each address is checked.
CHECKED = """
from tests.core.gpu import host_device, test_gpu_kernels
host_device.FLAGS += ("-fsanitize=address",)
for _ in test_gpu_kernels.all_work(host_device.HostDevice()):
    pass
print("all within bounds")
"""


@pytest.mark.usefixtures("compiler")
def test_no_kernel_reads_or_writes_beyond_its_arrays() -> None:
    where = [COMPILER, "-print-file-name=libasan.so"]
    library = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip(f"{COMPILER} brings no libasan.so: install GCC's address sanitizer")
    done = subprocess.run(
        [sys.executable, "-c", CHECKED],
        env={**os.environ, "LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout == "all within bounds\n", done.stderr[:2000]


def test_phases_of_a_kernel_are_apart_by_barriers() -> None:
    found = kernels()
    assert len(found) == source().count("\nKERNEL ")
    assert shared_phases() == {"promise"}
    for name, body in found.items():
        phases = re.findall(r"^ +(EACH|BARRIER|promise)\b", body, flags=re.MULTILINE)
        # What is shared by kernels begins with a phase, and ends with a barrier.
        flat = " ".join(phases).replace("promise", "EACH BARRIER").split()
        expected = [word for _ in range(flat.count("EACH")) for word in ("BARRIER", "EACH")][1:]
        assert flat == expected, name
        # A barrier inside a phase would be met by some threads only; rounds are the same for all.
        for barrier in re.finditer(r"^( +)BARRIER;", body, flags=re.MULTILINE):
            assert len(barrier[1]) == 4 or body[: barrier.start()].count("    for (int round") == 1
        assert body.count("BARRIER") == phases.count("BARRIER"), name


def shared_phases() -> set[str]:
    """Give the functions that kernels share phases by, each of which begins with one and ends with a barrier."""
    found = set()
    for name, body in SHARED.findall(source()):
        phases = re.findall(r"^    (EACH|BARRIER)\b", body, flags=re.MULTILINE)
        assert phases == ["EACH", "BARRIER"] * (len(phases) // 2), name
        assert body.count("BARRIER") == phases.count("BARRIER"), name
        if phases:
            found.add(name)
    return found


def test_every_kernel_says_its_floor() -> None:
    for name in kernels():
        comment = source().partition(f"\nKERNEL {name}(")[0].rpartition("\n\n")[2]
        assert "Floor: " in comment, name


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("n", [1, 31, 33, 64, 97, 200, 257, 600])
def test_blocked_inverses_are_inverses(n: int) -> None:
    device = HostDevice()
    factor = factor_of(n, seed=3)
    lower = np.tril(factor)
    blocked.invert_lower(device, factor)
    assert (factor == np.tril(factor)).all()
    assert np.abs(factor @ lower - np.eye(n)).max() < 1e-12
    blocked.gram_of_inverse(device, factor)
    assert np.array_equal(factor, factor.T)
    assert np.abs(factor @ (lower @ lower.T) - np.eye(n)).max() < 1e-11


class Counting(HostDevice):
    """Counts what products cost, and computes nothing."""

    flops = 0

    def launch(self, *_: object) -> None:
        pass

    def multiply(self, a: F64, b: F64, out: F64, *, alpha: float = 1.0, beta: float = 0.0) -> None:
        del b, alpha, beta
        self.flops += 2 * out.size * a.shape[-1]


@pytest.mark.usefixtures("compiler")
def test_blocked_inverses_cost_what_is_said() -> None:
    n = 4096
    factor, device = np.empty((n, n)), Counting()
    blocked.invert_lower(device, factor)
    assert device.flops == pytest.approx(0.42 * n**3, rel=0.02)
    device.flops = 0
    gram = n**3 / 3 + n**2 * blocked.PANEL
    blocked.gram_of_inverse(device, factor)
    assert device.flops == pytest.approx(gram, rel=0.05)
    device.flops = 0
    k = np.empty((n, 8))
    blocked.lower_product(device, factor, k, k)
    assert device.flops == pytest.approx(1.25 * n**2 * 8)


def nvrtc() -> ctypes.CDLL:
    """Load NVRTC from its wheel, or skip."""
    try:
        files = importlib.metadata.files("nvidia-cuda-nvrtc") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no NVRTC: pip install nvidia-cuda-nvrtc, which needs no GPU, on Linux")
    (library,) = [each for each in files if re.fullmatch(r"libnvrtc\.so\.\d+", each.name)]
    return ctypes.CDLL(str(library.locate()))


def compiled(library: ctypes.CDLL, text: str, architecture: str) -> tuple[bytes, str]:
    """Compile for a GPU: the binary, empty if that fails, and what the compiler says."""
    program = ctypes.c_void_p()
    assert not library.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None
    )
    options = [
        option.encode() for option in (*OPTIONS, *CUPYS, f"--gpu-architecture={architecture}")
    ]
    failed = library.nvrtcCompileProgram(
        program, len(options), (ctypes.c_char_p * len(options))(*options)
    )
    size = ctypes.c_size_t()
    assert not library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    assert not library.nvrtcGetProgramLog(program, log)
    binary = b""
    if not failed:
        assert not library.nvrtcGetCUBINSize(program, ctypes.byref(size))
        image = ctypes.create_string_buffer(size.value)
        assert not library.nvrtcGetCUBIN(program, image)
        binary = image.raw
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return binary, log.value.decode()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_for_gpus(architecture: str) -> None:
    binary, log = compiled(nvrtc(), source(), architecture)
    assert log == ""
    for name in kernels():
        assert f".text.{name}\0".encode() in binary


def test_a_fault_in_a_kernel_would_be_seen() -> None:
    text = source().replace("double r2[STRIP];", "double other[STRIP];", 1)
    binary, log = compiled(nvrtc(), text, "sm_90")
    assert not binary
    assert '"r2" is undefined' in log


def test_the_numbers_by_which_work_is_divided_are_read_from_the_source() -> None:
    assert set(constants()) >= {"COLUMNS", "STRIP", "GROUP", "SEGMENT", "BASE", "LANES"}
    assert set(constants()) >= {"HEAD", "ROWS", "PARTS", "FEW", "NARROW", "SUMS"}
    assert constants()["LANES"] == constants()["COLUMNS"]  # the backend launches so many threads
    # A head of a model has what `gpu.together` puts there.
    assert constants()["HEAD"] == SPREAD + 1
