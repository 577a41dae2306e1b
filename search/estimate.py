"""What the model should score on the test set, said before that is opened.

The rows are those that the finalists' folds leave out: none of them chose a trial or a finalist.
Where weights are chosen on them, each fold's rows are combined with weights that the other folds'
rows have chosen (cross-fitting), so that no row flatters itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.metrics import Metric, Targets
from search.predictions import Z_95, OutOfFoldPredictions
from search.score_errors import standard_error
from search.selection import WITHIN, greedy_selection

Shares = Mapping[str, Sequence[float]] | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score that is expected of the test set.

    Attributes:
        interval: that should hold the test score in 95 of 100 cases; it knows how few rows there
            are, here and in the test, not that other trainings would have given other networks.
        lower: the model should be better, as the mean of networks is that were judged one by one,
            or as one that has learnt from more rows.
    """

    score: float
    interval: tuple[float, float]
    rows: int
    lower: bool


def estimate(
    predictions: Mapping[str, OutOfFoldPredictions],
    parts: Sequence[NDArray[np.int64]],
    *,
    metric: Metric,
    test_rows: int,
    lower: bool,
    seed: int,
    shares: Shares = None,
) -> Estimate:
    """Estimate the test score from out-of-fold predictions.

    Args:
        predictions: of each finalist.
        parts: the rows that each fold has left out; a row that several have counts once.
        shares: of each limit on the ensemble, what a finalist takes.
    """
    probabilities, targets = cross_fitted(
        predictions, parts, metric=metric, seed=seed, shares=shares
    )
    score = metric.score(targets, probabilities)
    error = standard_error(metric, targets, probabilities, seed=seed)
    reach = Z_95 * error * math.sqrt(1.0 + len(targets) / test_rows)
    return Estimate(
        score=score, interval=(score - reach, score + reach), rows=len(targets), lower=lower
    )


def cross_fitted(
    predictions: Mapping[str, OutOfFoldPredictions],
    parts: Sequence[NDArray[np.int64]],
    *,
    metric: Metric,
    seed: int,
    shares: Shares = None,
) -> tuple[NDArray[Any], Targets]:
    """Return probabilities (rows, classes) and targets (rows,), part after part.

    With one model, or one part, there is nothing to fit apart.
    """
    first = next(iter(predictions.values()))
    found, parts = [], _apart(parts)
    for part in parts:
        others = [rows for rows in parts if rows is not part]
        if len(predictions) == 1 or not others:
            allowed = [
                each.probabilities[part]
                for name, each in predictions.items()
                if shares is None or max(shares[name], default=0.0) <= WITHIN
            ]
            means = np.mean(allowed, axis=0)
        else:
            kept = {n: _only(each, np.concatenate(others)) for n, each in predictions.items()}
            ensemble = greedy_selection(predictions=kept, metric=metric, seed=seed, shares=shares)
            means = ensemble.combine({n: e.probabilities[part] for n, e in predictions.items()})
        found.append(means.astype(first.probabilities.dtype))
    rows = np.concatenate(list(parts))
    return np.concatenate(found), first.targets[rows]


def _apart(parts: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the parts without rows that are in an earlier one."""
    found, known = list[NDArray[np.int64]](), np.array([], dtype=np.int64)
    for part in parts:
        rows = np.setdiff1d(part, known)
        if len(rows):
            found.append(rows)
            known = np.concatenate([known, rows])
    return found


def _only(predictions: OutOfFoldPredictions, rows: NDArray[np.int64]) -> OutOfFoldPredictions:
    """Return the predictions of some rows."""
    empty = OutOfFoldPredictions.empty(predictions.targets, predictions.probabilities.shape[1])
    return empty.with_fold(rows, predictions.probabilities[rows])
