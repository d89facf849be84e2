"""List the tasks, in two halves.

The tuning half is for development: whatever is chosen in the optimiser may be chosen by it. The
reporting half is looked at for the results only. No function and no data set is in both. The
functions by formula are moved, so that no optimum lies in the middle of its ranges.

In neither half, because they are kept for the acceptance of the whole: BBOB functions 1, 3, 8, 10,
15 and 21; the tables vehicle, credit, protein and parkinsons; support vectors on digits; support
vectors and gradient boosting on diabetes; the perceptron on wine.
"""

from __future__ import annotations

from benchmarks.optimizer.space import Parameter, Scaling, choice, real, whole
from benchmarks.optimizer.tasks.task import Half, Kind, Source, Task


def tasks() -> tuple[Task, ...]:
    """Give all tasks, the tuning half first."""
    return (*_tuning(), *_reporting())


def by_name(name: str) -> Task:
    """Give one task.

    Raises:
        KeyError: There is none of that name.
    """
    return {task.name: task for task in tasks()}[name]


def _tuning() -> tuple[Task, ...]:
    half = Half.TUNING
    return (
        _bbob(6, 5, Kind.SMOOTH, half),
        _bbob(13, 10, Kind.SMOOTH, half),
        _bbob(14, 20, Kind.SMOOTH, half),
        _formula("branin", Kind.SMOOTH, half, (real("x0", -5, 10), real("x1", 0, 15))),
        _model(
            "svc-breast-cancer",
            Kind.SMOOTH,
            half,
            (real("C", 1e-2, 1e3, log=True), real("gamma", 1e-5, 10, log=True)),
        ),
        _model(
            "kernel-ridge-diabetes",
            Kind.SMOOTH,
            half,
            (
                real("alpha", 1e-4, 10, log=True),
                real("gamma", 1e-4, 1, log=True),
                *(real(f"weight{number}", 1e-2, 1, log=True) for number in range(10)),
            ),
        ),
        _bbob(16, 3, Kind.MULTIMODAL, half),
        _bbob(20, 6, Kind.MULTIMODAL, half),
        _bbob(24, 10, Kind.MULTIMODAL, half),
        _formula("ackley", Kind.MULTIMODAL, half, _cube(8, -15, 15)),
        _formula("michalewicz", Kind.MULTIMODAL, half, _cube(5, 0, 3.141592653589793)),
        _formula("hartmann", Kind.MULTIMODAL, half, _cube(6, 0, 1)),
        _formula(
            "catalogue30",
            Kind.MIXED,
            half,
            (
                choice("item", *(f"item{number:02}" for number in range(30))),
                choice("grade", "a", "b", "c", "d"),
                *_cube(3, 0, 1),
            ),
        ),
        _formula(
            "stepped-levy",
            Kind.MIXED,
            half,
            (
                *(whole(f"n{number}", -10, 10) for number in range(4)),
                *(choice(f"level{number}", "i", "ii", "iii", "iv", "v") for number in range(2)),
                *_cube(2, -10, 10),
            ),
        ),
        _model(
            "boosting-breast-cancer",
            Kind.MIXED,
            half,
            (
                real("learning_rate", 1e-3, 1, log=True),
                whole("n_estimators", 2, 40, log=True),
                whole("max_depth", 1, 8),
                whole("min_samples_leaf", 1, 50, log=True),
                real("subsample", 0.2, 1),
                choice("max_features", "sqrt", "log2", "all"),
            ),
        ),
        _model(
            "mlp-breast-cancer",
            Kind.MIXED,
            half,
            (
                whole("hidden", 2, 64, log=True),
                real("alpha", 1e-6, 1, Scaling.AUTO),
                real("learning_rate_init", 1e-4, 0.3, log=True),
                real("momentum", 0.1, 0.999, Scaling.REVERSE_LOGARITHMIC),
                whole("batch_size", 8, 128, log=True),
                choice("activation", "relu", "tanh", "logistic", "identity"),
                choice("solver", "sgd", "adam"),
            ),
        ),
        _model(
            "forest-diabetes",
            Kind.MIXED,
            half,
            (
                whole("max_depth", 1, 20, Scaling.AUTO),
                whole("min_samples_leaf", 1, 60, Scaling.AUTO),
                whole("min_samples_split", 2, 60, Scaling.AUTO),
                real("max_features", 0.1, 1),
                real("max_samples", 0.1, 1),
                choice("criterion", "squared_error", "friedman_mse", "poisson"),
            ),
        ),
        _model(
            "svc-iris",
            Kind.MIXED,
            half,
            (
                choice("kernel", "linear", "poly", "rbf", "sigmoid"),
                real("C", 1e-3, 1e3, log=True),
                real("gamma", 1e-4, 10, log=True),
                whole("degree", 1, 5),
                real("coef0", -1, 1),
            ),
        ),
        _formula(
            "workshop12",
            Kind.MIXED,
            half,
            (
                choice("supplier", *(f"supplier{number:02}" for number in range(12))),
                choice("process", "cast", "mill", "forge", "print", "weld", "press"),
                choice("finish", "raw", "paint", "anodise"),
                whole("pieces", 1, 40),
                whole("shifts", 1, 8),
                real("speed", 1e-3, 1, log=True),
                real("heat", 0, 1),
                real("pressure", 0, 1),
            ),
        ),
        _model(
            "boosting-iris",
            Kind.MIXED,
            half,
            (
                real("learning_rate", 1e-3, 1, log=True),
                whole("n_estimators", 2, 30, log=True),
                whole("max_depth", 1, 8),
                whole("min_samples_leaf", 1, 40, log=True),
                real("subsample", 0.2, 1),
                choice("max_features", "sqrt", "log2", "all"),
            ),
        ),
        _model(
            "forest-made-up",
            Kind.MIXED,
            half,
            (
                whole("n_estimators", 2, 30, log=True),
                whole("max_depth", 1, 20),
                whole("min_samples_leaf", 1, 30, log=True),
                real("max_features", 0.05, 1, log=True),
                choice("criterion", "gini", "entropy"),
                choice("bootstrap", "yes", "no"),
            ),
        ),
        _model(
            "neighbours-made-up",
            Kind.MIXED,
            half,
            (
                whole("components", 1, 20),
                whole("n_neighbors", 1, 100, log=True),
                real("p", 1, 5),
                choice("weights", "uniform", "distance"),
                choice("whiten", "yes", "no"),
            ),
        ),
        _model(
            "sgd-breast-cancer",
            Kind.MIXED,
            half,
            (
                choice("loss", "hinge", "log_loss", "modified_huber", "squared_hinge"),
                choice("penalty", "l2", "l1", "elasticnet"),
                choice("learning_rate", "constant", "invscaling", "adaptive"),
                real("alpha", 1e-7, 1e-1, log=True),
                real("eta0", 1e-5, 1, log=True),
                real("l1_ratio", 0, 1),
                real("power_t", 0.1, 0.9),
            ),
        ),
        _table("hpobench-car", half),
        _table("hpobench-australian", half),
        _table("hpobench-phoneme", half),
        _table("hpolib-naval", half),
        _table("nasbench201-cifar10", half),
        _formula("noisy-hartmann", Kind.NOISY, half, _cube(6, 0, 1), noise=0.1),
    )


def _reporting() -> tuple[Task, ...]:
    half = Half.REPORTING
    return (
        _bbob(9, 5, Kind.SMOOTH, half, slow_peers=True),
        _bbob(12, 20, Kind.SMOOTH, half),
        _formula("zakharov", Kind.SMOOTH, half, _cube(8, -5, 10)),
        _model(
            "svc-wine",
            Kind.SMOOTH,
            half,
            (real("C", 1e-2, 1e3, log=True), real("gamma", 1e-5, 10, log=True)),
            slow_peers=True,
        ),
        _bbob(17, 5, Kind.MULTIMODAL, half),
        _bbob(22, 4, Kind.MULTIMODAL, half, slow_peers=True),
        _formula("griewank", Kind.MULTIMODAL, half, _cube(6, -50, 50)),
        _formula("rastrigin", Kind.MULTIMODAL, half, _cube(4, -5.12, 5.12), slow_peers=True),
        _formula(
            "recipe30",
            Kind.MIXED,
            half,
            (
                choice("base", *(f"base{number:02}" for number in range(30))),
                choice("method", "bake", "boil", "fry", "steam", "raw"),
                whole("portions", 1, 20),
                whole("minutes", 1, 200, log=True),
                real("salt", 1e-4, 1e-1, log=True),
                real("heat", 0, 1),
                real("water", 0, 1),
            ),
        ),
        _model(
            "forest-digits",
            Kind.MIXED,
            half,
            (
                whole("n_estimators", 2, 30, log=True),
                whole("max_depth", 1, 20),
                whole("min_samples_leaf", 1, 30, log=True),
                real("max_features", 0.02, 1, log=True),
                choice("criterion", "gini", "entropy"),
                choice("bootstrap", "yes", "no"),
            ),
            slow_peers=True,
        ),
        _model(
            "boosting-wine",
            Kind.MIXED,
            half,
            (
                real("learning_rate", 1e-3, 1, log=True),
                whole("n_estimators", 2, 30, log=True),
                whole("max_depth", 1, 8),
                whole("min_samples_leaf", 1, 40, log=True),
                real("subsample", 0.2, 1),
                choice("max_features", "sqrt", "log2", "all"),
            ),
            slow_peers=True,
        ),
        _model(
            "sgd-digits",
            Kind.MIXED,
            half,
            (
                choice("loss", "hinge", "log_loss", "modified_huber", "squared_hinge"),
                choice("penalty", "l2", "l1", "elasticnet"),
                choice("learning_rate", "constant", "invscaling", "adaptive"),
                real("alpha", 1e-7, 1e-1, log=True),
                real("eta0", 1e-5, 1, log=True),
                real("l1_ratio", 0, 1),
                real("power_t", 0.1, 0.9),
            ),
        ),
        _table("hpobench-segment", half, slow_peers=True),
        _table("hpobench-kc1", half),
        _table("hpolib-slice", half, slow_peers=True),
        _formula("noisy-styblinski-tang", Kind.NOISY, half, _cube(5, -5, 5), noise=4.0),
    )


def _cube(d: int, lo: float, hi: float) -> tuple[Parameter, ...]:
    return tuple(real(f"x{number}", lo, hi) for number in range(d))


def _bbob(function: int, d: int, kind: Kind, half: Half, *, slow_peers: bool = False) -> Task:
    return Task(
        name=f"bbob-f{function:02}-d{d}",
        kind=kind,
        half=half,
        source=Source.BBOB,
        space=_cube(d, -5, 5),
        settings={"function": function, "instance": 1},
        slow_peers=slow_peers,
    )


def _formula(
    name: str,
    kind: Kind,
    half: Half,
    space: tuple[Parameter, ...],
    *,
    noise: float = 0.0,
    slow_peers: bool = False,
) -> Task:
    return Task(
        name=f"{name}-d{len(space)}",
        kind=kind,
        half=half,
        source=Source.FORMULA,
        space=space,
        settings={"function": name.removeprefix("noisy-")},
        noise=noise,
        slow_peers=slow_peers,
    )


def _model(
    name: str, kind: Kind, half: Half, space: tuple[Parameter, ...], *, slow_peers: bool = False
) -> Task:
    return Task(
        name=f"{name}-d{len(space)}",
        kind=kind,
        half=half,
        source=Source.MODEL,
        space=space,
        settings={"model": name},
        slow_peers=slow_peers,
    )


def _table(name: str, half: Half, *, slow_peers: bool = False) -> Task:
    family = name.partition("-")[0]
    space = {"hpobench": _HPOBENCH, "hpolib": _HPOLIB, "nasbench201": _NASBENCH}[family]
    return Task(
        name=f"{name}-d{len(space)}",
        kind=Kind.NOISY,
        half=half,
        source=Source.TABLE,
        space=space,
        settings={"table": name},
        slow_peers=slow_peers,
    )


# The tables hold grids. An ordered one is searched by the place in it, as these are geometric.
_HPOBENCH = (
    whole("alpha", 0, 9),
    whole("batch_size", 0, 9),
    whole("depth", 0, 2),
    whole("learning_rate_init", 0, 9),
    whole("width", 0, 9),
)
_HPOLIB = (
    choice("activation_fn_1", "relu", "tanh"),
    choice("activation_fn_2", "relu", "tanh"),
    whole("batch_size", 0, 3),
    whole("dropout_1", 0, 2),
    whole("dropout_2", 0, 2),
    whole("init_lr", 0, 5),
    choice("lr_schedule", "cosine", "const"),
    whole("n_units_1", 0, 5),
    whole("n_units_2", 0, 5),
)
_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_NASBENCH = tuple(choice(f"Op{number}", *_OPERATIONS) for number in range(6))
