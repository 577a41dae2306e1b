"""How folds are made where the data say which rows validate."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.folds import strata
from search.grouping import Rows
from search.splits import Columns, dealt

PARTS = 9  # folds besides the given validation rows, with fewer rows 4
MANY_ROWS = 10_000
MOST_CROSSING = 0.5  # of the training rows, whose groups the validation rows have as well


def validation_first(
    columns: Columns, labels: NDArray[Any], validates: NDArray[np.bool_]
) -> tuple[Columns, str]:
    """Return columns whose first fold, which judges trials, is the given validation rows.

    The others are parts of the training rows. Their networks learn from the validation rows, too,
    so training rows of a group that these have as well judge nothing. Stated folds stay. Where rows
    have times, or most groups are on both sides, these part the given rows with the others.
    The second value says so.

    Args:
        columns: of the rows to learn from and to validate by.
        labels: (rows,) classes or numbers.
        validates: (rows,) which rows are given to validate by.
    """
    if columns.folds is not None:
        return columns, ""
    if columns.times is not None:
        return columns, "the given validation rows are parted with the others, by their times"
    others = np.flatnonzero(~validates)
    numbers = np.zeros(len(labels), dtype=np.int64)
    groups = columns.groups
    if groups is not None:
        crossing = np.isin(groups[others], groups[validates])
        if crossing.mean() > MOST_CROSSING:
            return columns, (
                f"the given validation rows are parted with the others, by their groups: "
                f"{crossing.mean():.0%} of the training rows are of groups that they have as well"
            )
        numbers[others[crossing]] = -1
        others = others[~crossing]
    numbers[others] = 1 + _parts(labels[others], None if groups is None else groups[others])
    return replace(columns, folds=numbers), ""


def _parts(labels: NDArray[Any], groups: Rows | None) -> Rows:
    kinds = strata(labels)
    parts = PARTS if len(kinds) >= MANY_ROWS else 4
    parts = max(2, min(parts, int(np.bincount(kinds).max())))
    return dealt(kinds, groups, parts=parts, seed=0)
