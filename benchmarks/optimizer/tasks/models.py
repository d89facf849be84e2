"""Train small models of scikit-learn on the data sets that come with it.

The rows, the folds and the models' own seeds are fixed: the same configuration gives the same
value. An evaluation takes some tens of milliseconds on one core.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.optimizer.space import Configuration
from benchmarks.optimizer.tasks.task import Evaluation, Objective, Task

F64: TypeAlias = NDArray[np.float64]
#: An estimator: scikit-learn has no types.
_Estimator: TypeAlias = Any
#: The value of a configuration whose model did not train, or whose loss is no number.
WORST = 20.0


def model(task: Task) -> Objective:
    """Make the objective of a task whose source is a model."""
    name = str(task.settings["model"])
    build, data_set, rows, loss = _MODELS[name]
    x, y = _data(data_set, rows)
    folds = _folds(x, y, classes=loss is not _squared_error)

    def evaluate(configuration: Configuration, _seed: int) -> Evaluation:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                losses = [
                    loss(build(configuration), x[train], y[train], x[test], y[test])
                    for train, test in folds
                ]
            value = float(np.mean(losses))
        except (ValueError, FloatingPointError):
            value = math.nan
        value = min(value, WORST) if math.isfinite(value) else WORST
        return Evaluation(value=value, mean=value)

    return Objective(evaluate=evaluate)


def _svc(configuration: Configuration) -> _Estimator:
    svm = import_module("sklearn.svm")
    return svm.SVC(**configuration, random_state=0, max_iter=20_000)


class _WeightedKernelRidge:
    """Weigh each feature, then fit ridge regression with a Gaussian kernel."""

    def __init__(self, configuration: Configuration) -> None:
        kernel_ridge = import_module("sklearn.kernel_ridge")
        self._weights = np.array([float(configuration[f"weight{number}"]) for number in range(10)])
        self._inner = kernel_ridge.KernelRidge(
            kernel="rbf", alpha=float(configuration["alpha"]), gamma=float(configuration["gamma"])
        )

    def fit(self, x: F64, y: F64) -> None:
        """Fit."""
        self._inner.fit(x * self._weights, y)

    def predict(self, x: F64) -> F64:
        """Predict."""
        predicted: F64 = self._inner.predict(x * self._weights)
        return predicted


def _boosting(configuration: Configuration) -> _Estimator:
    ensemble = import_module("sklearn.ensemble")
    settings = dict(configuration)
    features = settings.pop("max_features")
    return ensemble.GradientBoostingClassifier(
        **settings, max_features=None if features == "all" else features, random_state=0
    )


def _mlp(configuration: Configuration) -> _Estimator:
    network = import_module("sklearn.neural_network")
    settings = dict(configuration)
    hidden = settings.pop("hidden")
    return network.MLPClassifier(
        **settings, hidden_layer_sizes=(hidden,), max_iter=8, random_state=0
    )


def _forest_regressor(configuration: Configuration) -> _Estimator:
    ensemble = import_module("sklearn.ensemble")
    return ensemble.RandomForestRegressor(**configuration, n_estimators=10, random_state=0)


def _forest_classifier(configuration: Configuration) -> _Estimator:
    ensemble = import_module("sklearn.ensemble")
    settings = dict(configuration)
    settings["bootstrap"] = settings["bootstrap"] == "yes"
    return ensemble.RandomForestClassifier(**settings, random_state=0)


def _sgd(configuration: Configuration) -> _Estimator:
    linear = import_module("sklearn.linear_model")
    return linear.SGDClassifier(**configuration, max_iter=5, tol=None, random_state=0)


def _neighbours(configuration: Configuration) -> _Estimator:
    """Cut the features to principal components, then ask the nearest neighbours."""
    settings = dict(configuration)
    components = import_module("sklearn.decomposition").PCA(
        settings.pop("components"), whiten=settings.pop("whiten") == "yes", random_state=0
    )
    neighbours = import_module("sklearn.neighbors").KNeighborsClassifier(**settings)
    return import_module("sklearn.pipeline").make_pipeline(components, neighbours)


def _log_loss(estimator: _Estimator, x: F64, y: F64, x_test: F64, y_test: F64) -> float:
    estimator.fit(x, y)
    chances = np.clip(estimator.predict_proba(x_test), 1e-4, 1)
    return -float(np.log(chances[np.arange(len(y_test)), y_test.astype(int)]).mean())


def _hinge_loss(estimator: _Estimator, x: F64, y: F64, x_test: F64, y_test: F64) -> float:
    estimator.fit(x, y)
    margins = estimator.decision_function(x_test)
    loss = import_module("sklearn.metrics").hinge_loss
    return float(loss(y_test, margins, labels=np.unique(y)))


def _error(estimator: _Estimator, x: F64, y: F64, x_test: F64, y_test: F64) -> float:
    estimator.fit(x, y)
    return float((estimator.predict(x_test) != y_test).mean())


def _squared_error(estimator: _Estimator, x: F64, y: F64, x_test: F64, y_test: F64) -> float:
    """Give the squared error, in units of the target's variance."""
    estimator.fit(x, y)
    return float(((estimator.predict(x_test) - y_test) ** 2).mean() / y.var())


def _data(name: str, rows: int) -> tuple[F64, F64]:
    """Load, shuffle, cut and standardise a data set."""
    data_sets = import_module("sklearn.datasets")
    if name == "made_up":
        data, target = data_sets.make_classification(
            n_samples=rows,
            n_features=20,
            n_informative=8,
            n_classes=4,
            flip_y=0.05,
            class_sep=1.5,
            random_state=0,
        )
    else:
        data, target = getattr(data_sets, f"load_{name}")(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(target))[:rows]
    x = data[chosen].astype(np.float64)
    spread = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1), target[chosen]


def _folds(x: F64, y: F64, *, classes: bool) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    selection = import_module("sklearn.model_selection")
    splitter = selection.StratifiedKFold if classes else selection.KFold
    return list(splitter(n_splits=3, shuffle=True, random_state=0).split(x, y))


_Build: TypeAlias = Callable[[Configuration], _Estimator]
_Loss: TypeAlias = Callable[[_Estimator, F64, F64, F64, F64], float]
_MODELS: dict[str, tuple[_Build, str, int, _Loss]] = {
    "boosting-breast-cancer": (_boosting, "breast_cancer", 300, _log_loss),
    "boosting-iris": (_boosting, "iris", 150, _log_loss),
    "boosting-wine": (_boosting, "wine", 178, _log_loss),
    "forest-diabetes": (_forest_regressor, "diabetes", 300, _squared_error),
    "forest-digits": (_forest_classifier, "digits", 500, _log_loss),
    "forest-made-up": (_forest_classifier, "made_up", 400, _log_loss),
    "kernel-ridge-diabetes": (_WeightedKernelRidge, "diabetes", 300, _squared_error),
    "mlp-breast-cancer": (_mlp, "breast_cancer", 300, _log_loss),
    "neighbours-made-up": (_neighbours, "made_up", 400, _error),
    "sgd-breast-cancer": (_sgd, "breast_cancer", 400, _error),
    "sgd-digits": (_sgd, "digits", 600, _error),
    "svc-breast-cancer": (_svc, "breast_cancer", 300, _hinge_loss),
    "svc-iris": (_svc, "iris", 150, _hinge_loss),
    "svc-wine": (_svc, "wine", 178, _hinge_loss),
}
