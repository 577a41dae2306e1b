"""What is better: metrics over predictions, as scores of which more is better.

Predictions are classes' probabilities (rows, classes), or numbers (rows, 1).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from search.predictions import mean_log_loss

MetricName = Literal[
    "accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc", "rmse", "mae", "r2"
]
Task = Literal["classification", "regression"]
Targets = NDArray[Any]  # (rows,) int64 classes, or float64 numbers
Counts = NDArray[Any]  # (classes, classes) rows of each class that are predicted as each, or shares
Score = Callable[[Targets, NDArray[np.floating]], float]

METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)


@dataclass(frozen=True, slots=True)
class Metric:
    """One way to score predictions (rows, classes or 1) against targets (rows,).

    Attributes:
        label: what a table calls the score.
        score: more is better; log-loss and errors are negated.
        task: for which it is.
        of_counts: the same of `confusion`'s counts, where the most probable class of each row
            is all that matters; else None.
    """

    name: MetricName
    label: str
    score: Score
    of_counts: Callable[[Counts], float] | None = None
    task: Task = "classification"

    def loss(self, targets: Targets, predictions: NDArray[np.floating]) -> float:
        """Return the loss that tells predictions of equal scores apart: less is better.

        That is the log-loss, or the squared error.
        """
        if self.task == "regression":
            return float(np.mean(_errors(targets, predictions) ** 2))
        return mean_log_loss(predictions, targets)

    def unit(self, targets: Targets) -> float:
        """Return by how much scores differ that differ much: the deviation of numbers, else 1."""
        return float(np.std(targets)) or 1.0 if self.name in ("rmse", "mae") else 1.0

    @property
    def highest(self) -> float:
        """The score of predictions that are all right and sure."""
        return 0.0 if self.name in ("log_loss", "rmse", "mae") else 1.0

    def gap_text(self, gap: float) -> str:
        """Write by how much scores differ: shares in points, others in their own unit."""
        return f"{100.0 * gap:.2f}" if self.highest == 1.0 else score_text(gap)

    @property
    def by_class(self) -> bool:
        """Whether it depends on the most probable class of each row alone."""
        return self.of_counts is not None

    @classmethod
    def counted(
        cls, name: MetricName, label: str, of_counts: Callable[[Counts], float]
    ) -> "Metric":
        """Return a metric of the most probable classes."""

        def score(targets: Targets, probabilities: NDArray[np.floating]) -> float:
            return of_counts(confusion(targets, probabilities))

        return cls(name, label, score, of_counts)


def accuracy(targets: Targets, probabilities: NDArray[np.floating]) -> float:
    """Return the share of rows whose most probable class is right."""
    return float(np.mean(probabilities.argmax(1) == targets))


def share_right(counts: Counts) -> float:
    """Return the share of rows whose most probable class is right."""
    return float(counts.trace() / counts.sum())


def mean_recall(counts: Counts) -> float:
    """Return the mean over the classes that occur of the share of their rows that is right."""
    rows = counts.sum(1)
    return float((counts.diagonal()[rows > 0] / rows[rows > 0]).mean())


def macro_f1(counts: Counts) -> float:
    """Return the mean of F1 over the classes that occur or are predicted."""
    either = counts.sum(0) + counts.sum(1)
    return float((2.0 * counts.diagonal()[either > 0] / either[either > 0]).mean())


def negative_log_loss(targets: Targets, probabilities: NDArray[np.floating]) -> float:
    """Return the mean of ln p(target) in nats."""
    return -mean_log_loss(probabilities, targets)


def roc_auc(targets: Targets, probabilities: NDArray[np.floating]) -> float:
    """Return the mean area under the ROC curve, each class that occurs against the others.

    With two classes that is the area of either. NaN if there is but one class.
    """
    areas = []
    for column in np.unique(targets):
        positive = targets == column
        count = int(positive.sum())
        if 0 < count < len(targets):
            ranks = _mean_ranks(probabilities[:, column])
            wins = ranks[positive].sum() - count * (count + 1) / 2.0
            areas.append(wins / (count * (len(targets) - count)))
    return float(np.mean(areas)) if areas else math.nan


def negative_rmse(targets: Targets, predictions: NDArray[np.floating]) -> float:
    """Return the root of the mean squared error, negated."""
    return -math.sqrt(float(np.mean(_errors(targets, predictions) ** 2)))


def negative_mae(targets: Targets, predictions: NDArray[np.floating]) -> float:
    """Return the mean absolute error, negated."""
    return -float(np.mean(np.abs(_errors(targets, predictions))))


def r2(targets: Targets, predictions: NDArray[np.floating]) -> float:
    """Return the share of the targets' variance that is explained; NaN if they have none."""
    variance = float(np.var(targets))
    return (
        1.0 - float(np.mean(_errors(targets, predictions) ** 2)) / variance
        if variance
        else math.nan
    )


def _errors(targets: Targets, predictions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return by how much predictions (rows, 1) are too large."""
    errors: NDArray[np.float64] = predictions[:, 0].astype(np.float64) - targets
    return errors


METRICS: dict[MetricName, Metric] = {
    metric.name: metric
    for metric in (
        Metric.counted("accuracy", "accuracy", share_right),
        Metric.counted("balanced_accuracy", "balanced accuracy", mean_recall),
        Metric.counted("macro_f1", "macro F1", macro_f1),
        Metric("log_loss", "negative log-loss", negative_log_loss),
        Metric("roc_auc", "ROC AUC", roc_auc),
        Metric("rmse", "negative RMSE", negative_rmse, task="regression"),
        Metric("mae", "negative MAE", negative_mae, task="regression"),
        Metric("r2", "R²", r2, task="regression"),
    )
}


def score_text(score: float) -> str:
    """Write a score for people: a share with four digits, others with five that count."""
    return f"{score:.4f}" if score == 0.0 or 1e-3 <= abs(score) <= 1.0 else f"{score:.5g}"


def confusion(targets: Targets, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return how many rows of each class (first axis) are predicted as each (second)."""
    return pair_counts(targets, probabilities.argmax(1), classes=probabilities.shape[1])


def pair_counts(
    targets: Targets, predicted: NDArray[np.int64], *, classes: int
) -> NDArray[np.int64]:
    """Return the same of the classes (rows,) that are predicted."""
    pairs = np.bincount(targets * classes + predicted, minlength=classes**2)
    return pairs.reshape(classes, classes)


def _mean_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ranks from 1, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts).astype(np.float64)
    means: NDArray[np.float64] = (ends - (counts - 1) / 2.0)[place]
    return means
