"""The sample of the judging fold on which every trial is trained and judged."""

import numpy as np
from numpy.typing import NDArray

from search.folds import JUDGING_FOLD, Folds, strata, stratified_subset
from search.plan import Plan
from workers.data import ImageData


def search_rows(
    data: ImageData, folds: Folds, plan: Plan, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids of the rows to train on, and to be judged on.

    Args:
        seed: the job's.
    """
    fold, labels = folds.folds[JUDGING_FOLD], strata(data.train_labels)
    return (
        stratified_subset(labels, fold.train_rows, size=plan.search_rows, seed=seed),
        stratified_subset(labels, fold.validation_rows, size=plan.validation_rows, seed=seed),
    )
