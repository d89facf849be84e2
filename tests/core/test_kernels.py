"""Habits of kernels: each has an oracle, is warmed up, and keeps what NaN and infinity mean."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import tunesmith_core
from tests.core import naive
from tunesmith_core import jit
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space import Categorical, Continuous, Integer, Parameter, Scaling, SearchSpace

CORE = Path(tunesmith_core.__path__[0])
TESTS = Path(__file__).parent
DECORATORS = {"kernel", "reassociating_kernel"}

ORACLES = {
    "exp_negative": naive.exp,
    "squared_distances": naive.squared_distances,
    "matern52": naive.matern52,
    "matern52_slope": naive.matern52_slope,
    "pull": naive.pull,
    "log_h": naive.log_h,
    "log_news": naive.log_news,
    "scores": naive.scores,
    "score": naive.score,
    "climb": naive.summit,
    "forget": naive.ignorance,
    "learn": naive.bfgs,
    "direct": naive.uphill,
}
"""The slow, obvious version of each kernel."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Give the core's modules, by their dotted names."""
    for path in sorted(CORE.rglob("*.py")):
        parts = path.relative_to(CORE.parent).with_suffix("").parts
        yield ".".join(parts), ast.parse(path.read_bytes())


def decorators(function: ast.FunctionDef) -> set[str]:
    return {node.id for node in function.decorator_list if isinstance(node, ast.Name)}


def kernels() -> dict[str, tuple[str, ast.FunctionDef]]:
    """Give the module and the definition of each kernel, by its name."""
    return {
        node.name: (module, node)
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and decorators(node) & DECORATORS
    }


def called_by(function: ast.FunctionDef) -> set[str]:
    """Give the plain names that a function calls."""
    return {
        node.func.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def signatures() -> dict[str, int]:
    """Count what each kernel has been compiled for, or loaded from the disk, so far."""
    return {
        name: len(getattr(import_module(module), name).signatures)
        for name, (module, _) in kernels().items()
    }


def test_the_search_finds_kernels_of_both_kinds() -> None:
    kinds = {name: decorators(node) & DECORATORS for name, (_, node) in kernels().items()}
    assert kinds["squared_distances"] == {"kernel"}
    assert kinds["pull"] == {"reassociating_kernel"}


def test_every_kernel_has_an_oracle_that_the_tests_use() -> None:
    assert set(ORACLES) == set(kernels())
    trees = [ast.parse(path.read_bytes()) for path in TESTS.rglob("test_*.py")]
    attributes = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "naive"
    }
    for oracle in ORACLES.values():
        assert oracle.__module__ == naive.__name__
        assert oracle.__name__ in attributes


def test_every_kernel_says_what_it_does() -> None:
    undocumented = [name for name, (_, node) in kernels().items() if not ast.get_docstring(node)]
    assert undocumented == []


@pytest.mark.usefixtures("warm")
def test_warming_up_compiles_every_kernel() -> None:
    reached = {name for name, count in signatures().items() if count}
    # A caller that was loaded from the disk brings along what it calls.
    found = kernels()
    waiting = list(reached)
    while waiting:
        for name in called_by(found[waiting.pop()][1]) & (set(found) - reached):
            reached.add(name)
            waiting.append(name)
    assert reached == set(found)


@pytest.mark.usefixtures("warm")
def test_nothing_is_compiled_after_warming_up() -> None:
    before = signatures()
    reals = tuple(Continuous(name=f"x{j}", lo=0, hi=1) for j in range(3))
    kind = Categorical(name="kind", values=("a", "b", "c"))
    depth = Integer(name="depth", lo=1, hi=64, scaling=Scaling.LOGARITHMIC)
    spaces: list[tuple[Parameter, ...]] = [reals[:1], (kind, depth), reals, (*reals, kind, depth)]
    for parameters in spaces:
        optimizer = Optimizer(SearchSpace(parameters), seed=1)
        for number in range(10):
            optimizer.tell(optimizer.ask()[0], None if number == 3 else float(number % 4))
        optimizer.ask(3)
    changed = {name for name, count in signatures().items() if count != before[name]}
    assert changed == set()


@pytest.mark.usefixtures("warm")
def test_no_kernel_may_assume_that_there_are_no_nans_or_infinities() -> None:
    assert {"reassoc", "contract"} == jit.REASSOCIATED
    for name, (module, node) in kernels().items():
        options = getattr(import_module(module), name).targetoptions
        flags = options["fastmath"]
        assert flags == (
            set(jit.REASSOCIATED) if "reassociating_kernel" in decorators(node) else False
        )
        assert options["nogil"] is True
        assert not options.get("parallel")


def imports(tree: ast.Module) -> set[str]:
    """Give the packages that a module imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("package", ["numba", "llvmlite"])
def test_one_module_says_how_kernels_are_compiled(package: str) -> None:
    assert [name for name, tree in modules() if package in imports(tree)] == ["tunesmith_core.jit"]


def test_no_module_imports_the_gpus_array_library_by_itself() -> None:
    assert [name for name, tree in modules() if imports(tree) & {"cupy", "cupyx"}] == []


@pytest.mark.usefixtures("warm")
def test_kernels_compute_with_infinities_and_nans() -> None:
    from tunesmith_core.gp import _covariance_numba as covariance

    q = np.zeros((2, 2))
    q[0, 1] = q[1, 0] = np.inf
    spread, moment = np.empty(1), np.empty((1, 2))
    covariance.pull(np.array([[0.0, 1.0]]), np.zeros(1), q, spread, moment)
    assert spread[0] == np.inf
    assert moment.tolist() == [[-np.inf, np.inf]]
    q[0, 1] = np.nan
    covariance.pull(np.array([[0.0, 1.0]]), np.zeros(1), q, spread, moment)
    assert np.isnan(spread[0])
