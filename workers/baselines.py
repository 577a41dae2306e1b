"""Baselines of scikit-learn: a linear model, a perceptron with a hidden layer, an SVM.

They see pixels, standardised as one; images of more than 32 pixels a side are averaged down to
that. Rows are those of the trials, or a sample of them.
"""

import math
import time
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from search.baselines import MOST_ROWS, Baseline, BaselineName
from search.folds import strata, stratified_subset
from search.metrics import METRICS, Metric
from workers.pixels import as_tensor
from workers.rows import Rows

MAX_SIDE = 32
ITERATIONS = 60  # of the linear model's solver
EPOCHS = 20  # of the perceptron
HIDDEN = 128
JUDGED_AT_ONCE = 500  # rows


def measure_baseline(
    name: BaselineName, rows: Rows, *, seed: int, metric: Metric = METRICS["accuracy"]
) -> Baseline:
    """Train a simple model and judge it on the validation rows.

    A model that cannot be trained on these rows, or judged by the metric, is a baseline without a
    score.
    """
    begin = time.perf_counter()
    numbers = metric.task == "regression"
    chosen = stratified_subset(
        strata(rows.train_labels),
        np.arange(len(rows.train_labels)),
        size=min(MOST_ROWS, len(rows.train_labels)),
        seed=seed,
    )
    train = _pixels(rows.train_images[chosen])
    mean, spread = float(train.mean()), float(train.std()) or 1.0
    score, note = None, ""
    try:
        if name == "SVM" and not (metric.by_class or numbers):
            raise ValueError("an SVM gives no probabilities")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of solvers that were stopped on purpose
            make = _number_model if numbers else _model
            answers = rows.train_labels[chosen]
            model = make(name, seed=seed).fit((train - mean) / spread, answers)
            parts = []
            for start in range(0, len(rows.validation_labels), JUDGED_AT_ONCE):
                part = rows.validation_images[start : start + JUDGED_AT_ONCE]
                judged = (_pixels(part) - mean) / spread
                parts.append(_answers(model, judged, rows.classes, metric=metric))
        score = metric.score(rows.validation_labels, np.concatenate(parts))
    except ValueError as failure:  # of scikit-learn: one class alone, no number
        note = str(failure).splitlines()[0]
    if score is not None and not math.isfinite(score):
        score, note = None, f"its {metric.label} is no number on these rows"
    seconds = round(time.perf_counter() - begin, 3)
    return Baseline(name=name, score=score, rows=len(chosen), seconds=seconds, note=note)


def _answers(
    model: Any, pixels: NDArray[np.float32], classes: int, *, metric: Metric
) -> NDArray[Any]:
    """Return (rows, classes): all on the predicted class where that is all that counts.

    Where numbers are predicted, these (rows, 1).
    """
    if metric.task == "regression":
        numbers: NDArray[Any] = model.predict(pixels)[:, None].astype(np.float64)
        return numbers
    found = np.zeros((len(pixels), classes), dtype=np.float32)
    if metric.by_class:
        found[np.arange(len(pixels)), model.predict(pixels)] = 1.0
    else:
        found[:, model.classes_] = model.predict_proba(pixels)
    return found


def _model(name: BaselineName, *, seed: int) -> Any:
    """Return an untrained model; scikit-learn takes a second to be imported."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    if name == "linear":
        return LogisticRegression(C=0.03, max_iter=ITERATIONS)
    if name == "MLP":
        return MLPClassifier((HIDDEN,), batch_size=64, max_iter=EPOCHS, random_state=seed)
    return SVC(C=10.0)  # a Gaussian kernel as wide as the pixels' variance suggests


def _number_model(name: BaselineName, *, seed: int) -> Any:
    """Return an untrained model of numbers, which it sees standardised."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    models = {
        "linear": lambda: Ridge(alpha=100.0),
        "MLP": lambda: MLPRegressor(
            hidden_layer_sizes=(HIDDEN,), batch_size=64, max_iter=EPOCHS, random_state=seed
        ),
        "SVM": lambda: SVR(C=10.0),
    }
    return TransformedTargetRegressor(models[name](), transformer=StandardScaler())


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, pixels) float32 from 0 to 1 of images (n, height, width, channels)."""
    sides = [min(side, MAX_SIDE) for side in images.shape[1:3]]
    found = as_tensor(images).permute(0, 3, 1, 2).float() / 255.0
    if sides != list(images.shape[1:3]):
        found = torch.nn.functional.adaptive_avg_pool2d(found, (sides[0], sides[1]))
    flat: NDArray[np.float32] = found.flatten(1).numpy()
    return flat
