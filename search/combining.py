"""How finalists' predictions become one: by a weighted mean, or by a stack of its members.

What is fitted to rows flatters itself on them. Where a combination is judged, each fold's rows are
therefore combined by what was fitted to the other folds' rows (cross-fitting).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.ensemble import Ensemble
from search.folds import strata
from search.joint_costs import JointCosts
from search.metrics import METRICS, Metric, Targets
from search.predictions import OutOfFoldPredictions
from search.selection import FREE, greedy_selection
from search.splits import dealt
from search.stacking import Stack, clearly_better, fitted_stack
from spaces.errors import DataError

Predictions = Mapping[str, OutOfFoldPredictions]
Parts = Sequence[NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class CrossFitted:
    """What models say together of rows that have not chosen how they are combined.

    Attributes:
        rows: (n,) their ids, each once.
        probabilities: (n, classes or 1).
        targets: (n,).
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[Any]
    targets: Targets


@dataclass(frozen=True, slots=True)
class Combining:
    """A way to combine models.

    Attributes:
        costs: what the models may cost together.
        stacked: the members that the selection takes are stacked, if they are more than one.
    """

    seed: int
    metric: Metric = METRICS["accuracy"]
    costs: JointCosts = FREE
    stacked: bool = False

    def mean(self, predictions: Predictions) -> Ensemble:
        """Return the weighted mean that is best on all rows that the models have predicted."""
        return greedy_selection(
            predictions=predictions, metric=self.metric, seed=self.seed, costs=self.costs
        )

    def fit(self, predictions: Predictions) -> Ensemble | Stack:
        """Return the combination that is best on all rows that the models have predicted."""
        ensemble = self.mean(predictions)
        if self.stacked and len(ensemble.members) > 1:
            return fitted_stack(predictions, ensemble.members, seed=self.seed)
        return ensemble

    def cross_fitted(
        self,
        predictions: Predictions,
        parts: Parts,
        *,
        groups: NDArray[np.int64] | None = None,
    ) -> CrossFitted:
        """Return what the models say together of the rows that they have left out.

        Part after part, each by what was fitted to the others; a row that several parts have
        counts once. A single part is halved. With one model, or one row, there is nothing to fit:
        that is the plain mean.

        Args:
            groups: of all rows, those that are right or wrong together, and so are in one half.
        """
        first = next(iter(predictions.values()))
        found, parts = [], _apart(parts)
        if len(parts) == 1 < len(predictions):
            parts = _halves(parts[0], first.targets, groups, seed=self.seed)
        for part in parts:
            others = [rows for rows in parts if rows is not part]
            said = {name: each.probabilities[part] for name, each in predictions.items()}
            if len(predictions) == 1 or not others:
                means = np.mean([said[name] for name in said if self.costs.allow(name)], axis=0)
            else:
                kept = {n: _only(each, np.concatenate(others)) for n, each in predictions.items()}
                means = self.fit(kept).combine(said)
            found.append(means.astype(first.probabilities.dtype))
        rows = np.concatenate(list(parts))
        return CrossFitted(rows, np.concatenate(found), first.targets[rows])


@dataclass(frozen=True, slots=True)
class StackComparison:
    """What a stack and the mean score on rows that neither was fitted to.

    Attributes:
        used: the stack is clearly better.
    """

    score: float
    mean_score: float
    used: bool


def compare_stack(
    predictions: Predictions,
    parts: Parts,
    combining: Combining,
    *,
    groups: NDArray[np.int64] | None = None,
) -> StackComparison | None:
    """Return how a stack of the models does beside their mean; None where there is none.

    That is, where the selection takes a single model, or no rows are left to judge them.

    Args:
        groups: of all rows, those that are right or wrong together.
    """
    if len(combining.mean(predictions).members) < 2 or len(_apart(parts)) < 2:
        return None
    metric, seed = combining.metric, combining.seed
    mean = combining.cross_fitted(predictions, parts, groups=groups)
    stacked = replace(combining, stacked=True).cross_fitted(predictions, parts, groups=groups)
    return StackComparison(
        score=metric.score(stacked.targets, stacked.probabilities),
        mean_score=metric.score(mean.targets, mean.probabilities),
        used=clearly_better(
            metric,
            mean.targets,
            stacked=stacked.probabilities,
            mean=mean.probabilities,
            seed=seed,
            groups=None if groups is None else groups[mean.rows],
        ),
    )


def _apart(parts: Parts) -> list[NDArray[np.int64]]:
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


def _halves(
    rows: NDArray[np.int64],
    targets: Targets,
    groups: NDArray[np.int64] | None,
    *,
    seed: int,
) -> list[NDArray[np.int64]]:
    """Part rows into halves by class and by group; all together where they are too few."""
    own = None if groups is None else groups[rows]
    try:
        numbers = dealt(strata(targets[rows]), own, parts=2, seed=seed)
    except DataError:
        return [rows]
    return [rows[numbers == number] for number in range(2)]
