"""How rows are parted into folds: by class, by group, by time, or as somebody has said."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from search.folds import JUDGING_FOLD, Fold, Folds, stratified_folds
from search.grouping import Rows, deal_groups
from search.seeds import derived_seed
from spaces.errors import DataError


@dataclass(frozen=True, eq=False)
class Columns:
    """What is known of each training row besides its label; None: nothing.

    Attributes:
        groups: (rows,) rows of one group (a patient, a video) are never parted.
        times: (rows,) a model is judged on later rows than those that it learns from.
        folds: (rows,) the fold that judges each row; -1: none, it is always learnt from.
    """

    groups: Rows | None = None
    times: NDArray[np.float64] | None = None
    folds: Rows | None = None

    def of(self, rows: Rows) -> Self:
        """Return the columns of some of the rows."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return type(self)(**{k: None if v is None else v[rows] for k, v in values.items()})


def make_folds(
    labels: NDArray[np.integer[Any]],
    columns: Columns,
    *,
    k: int,
    seed: int,
    data_fingerprint: str,
) -> tuple[Folds, str]:
    """Part the rows; return the folds, and how it was done if it was not by class alone.

    Stated folds come before times, these before groups. By time there are as many folds as
    asked for, each judged by a later block of rows than it learns from: the first one, the
    judging fold, by the last block.

    Args:
        labels: (rows,) classes.
        k: folds, unless they are stated.

    Raises:
        DataError: the rows cannot be parted so.
    """
    if columns.folds is not None:
        folds, note = _stated(columns.folds), "folds are those that the data state"
    elif columns.times is not None:
        folds = _by_time(columns.times, columns.groups, k=k)
        note = "rows have times: each fold learns from earlier rows than those that judge it"
    elif columns.groups is not None:
        numbers = deal_groups(labels, columns.groups, shares=[1.0 / k] * k, seed=seed)
        folds, note = _from_numbers(numbers, k), "rows of one group are never parted"
    else:
        return stratified_folds(labels, k=k, seed=seed, data_fingerprint=data_fingerprint), ""
    return Folds(folds=tuple(folds), seed=seed, data_fingerprint=data_fingerprint), note


def with_larger_judging_fold(folds: Folds, *, parts: int) -> Folds:
    """Return the folds with so many parts in the judging fold: its own and the last ones.

    Trials and races are compared on more rows then; a network that learns in another fold loses
    none for that.

    Args:
        folds: by class or by group, at least so many.
    """
    if parts == 1:
        return folds
    judging, *others = folds.folds
    kept, taken = others[: 1 - parts], others[1 - parts :]
    validation = [fold.validation_rows for fold in (judging, *taken)]
    judged = np.sort(np.concatenate(validation))
    learnt = np.setdiff1d(judging.train_rows, judged)
    return replace(folds, folds=(Fold(JUDGING_FOLD, learnt, judged), *kept))


def repeated(
    folds: Folds,
    labels: NDArray[np.integer[Any]],
    groups: Rows | None,
    *,
    count: int,
    repeats: int,
) -> Folds:
    """Return the judging fold, and so many others of each of several partings of the other rows.

    The first parting is the one given. The rows of the judging fold, which chose the finalists,
    judge no network in any other, either.

    Args:
        folds: by class or by group.
        count: folds of each parting.
    """
    judging = folds.folds[JUDGING_FOLD]
    parts = [fold.validation_rows for fold in folds.folds[JUDGING_FOLD + 1 :]]
    others = np.sort(np.concatenate(parts))
    chosen = parts[:count]
    for repeat in range(1, repeats):
        seed = derived_seed(folds.seed, "repeat", repeat)
        own = None if groups is None else groups[others]
        numbers = dealt(labels[others], own, parts=len(parts), seed=seed)
        chosen += [others[numbers == part] for part in range(count)]
    every = np.arange(len(labels))
    more = [
        Fold(number, np.setdiff1d(every, part), part)
        for number, part in enumerate(chosen, start=JUDGING_FOLD + 1)
    ]
    return replace(folds, folds=(judging, *more))


def dealt(labels: NDArray[np.integer[Any]], groups: Rows | None, *, parts: int, seed: int) -> Rows:
    """Return the number of a part (rows,) for each row, by class and by group.

    Raises:
        DataError: there are too few rows or groups.
    """
    if groups is not None:
        return deal_groups(labels, groups, shares=[1.0 / parts] * parts, seed=seed)
    numbers = np.empty(len(labels), dtype=np.int64)
    split = stratified_folds(labels, k=parts, seed=seed, data_fingerprint="")
    for fold in split.folds:
        numbers[fold.validation_rows] = fold.number
    return numbers


def last_by_time(times: NDArray[np.float64], *, share: float) -> NDArray[np.bool_]:
    """Return which rows (rows,) are the last ones, at least such a share; equal times together."""
    border = np.sort(times)[-max(1, round(share * len(times)))]
    late: NDArray[np.bool_] = times >= border
    return late


def most_folds_by_time(times: NDArray[np.float64]) -> int:
    """Return how many folds there may be: each is judged by a block of times, the first by none."""
    return len(np.unique(times)) - 1


def crossing(groups: Rows, folds: Folds) -> int:
    """Return how many groups are learnt from where they judge."""
    both = [np.intersect1d(groups[f.train_rows], groups[f.validation_rows]) for f in folds.folds]
    return len(np.unique(np.concatenate(both)))


def _stated(numbers: Rows) -> list[Fold]:
    found = np.unique(numbers[numbers >= 0])
    if len(found) < 2 or int(found[-1]) != len(found) - 1 or numbers.min() < -1:
        raise DataError(
            "folds must be numbered from 0 without a gap, at least two of them, -1 for rows that "
            f"judge nothing, but {len(found)} go from {numbers.min()} to {numbers.max()}"
        )
    return _from_numbers(numbers, len(found))


def _from_numbers(numbers: Rows, k: int) -> list[Fold]:
    return [
        Fold(number, np.flatnonzero(numbers != number), np.flatnonzero(numbers == number))
        for number in range(k)
    ]


def _by_time(times: NDArray[np.float64], groups: Rows | None, *, k: int) -> list[Fold]:
    """Part by blocks of about as many rows each, equal times together."""
    values, counts = np.unique(times, return_counts=True)
    if len(values) < k + 1:
        raise DataError(
            f"{k} folds by time need {k + 1} different times, but there are {len(values)}"
        )
    before = np.cumsum(counts) - counts
    block = (before * (k + 1)) // len(times)
    for place in range(1, len(block)):  # no block may be empty, whatever many rows share a time
        block[place] = min(max(block[place], block[place - 1]), block[place - 1] + 1)
        block[place] = max(block[place], k + 1 - (len(block) - place))
    of_row = block[np.searchsorted(values, times)]
    folds = []
    for number, judged in enumerate(range(k, 0, -1)):
        validation, train = np.flatnonzero(of_row == judged), np.flatnonzero(of_row < judged)
        if groups is not None:
            train = train[~np.isin(groups[train], groups[validation])]
        if not len(train):
            raise DataError(f"no row is left to learn from before block {judged} of the times")
        folds.append(Fold(number, train, validation))
    return folds
