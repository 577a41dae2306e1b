"""How rows are parted into folds: by class, by group, by time, or as somebody has said."""

import hashlib
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from search.folds import Fold, Folds, stratified_folds
from spaces.errors import DataError

Rows = NDArray[np.int64]


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
        numbers = by_group(labels, columns.groups, k=k, seed=seed)
        folds, note = _from_numbers(numbers, k), "rows of one group are never parted"
    else:
        return stratified_folds(labels, k=k, seed=seed, data_fingerprint=data_fingerprint), ""
    return Folds(folds=tuple(folds), seed=seed, data_fingerprint=data_fingerprint), note


def by_group(
    labels: NDArray[np.integer[Any]], groups: Rows, *, k: int, seed: int
) -> NDArray[np.int64]:
    """Return a fold's number (rows,) for each row, such that no group is in two of them.

    Groups of several rows are dealt out first, the largest first, each to the fold that lacks most
    of its rows' classes; single rows then fill the folds up.

    Raises:
        DataError: there are fewer groups than folds.
    """
    found, unit, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(found) < k:
        raise DataError(f"{k} folds need at least {k} groups, but there are {len(found)}")
    classes, kinds = np.unique(labels, return_inverse=True)
    random = np.random.default_rng(seed)
    lacking = np.tile(np.bincount(kinds, minlength=len(classes)) / k, (k, 1))
    numbers = np.full(len(labels), -1, dtype=np.int64)
    members = np.argsort(unit, kind="stable")
    ends = np.cumsum(sizes)
    order = random.permutation(len(found))
    for group in sorted(order, key=lambda each: -sizes[each]):
        if sizes[group] == 1:
            break
        rows = members[ends[group] - sizes[group] : ends[group]]
        wanted = np.bincount(kinds[rows], minlength=len(classes))
        share = wanted / np.maximum(lacking.sum(0), 1e-9)
        fold = int(np.argmax((lacking * share).sum(1)))
        numbers[rows] = fold
        lacking[fold] -= wanted
    _deal_singles(numbers, kinds, lacking, random=random)
    return numbers


def _deal_singles(
    numbers: NDArray[np.int64],
    kinds: NDArray[np.intp],
    lacking: NDArray[np.float64],
    *,
    random: np.random.Generator,
) -> None:
    """Deal the rows that are in no fold yet to the folds that lack most of their class."""
    for kind in range(lacking.shape[1]):
        rows = random.permutation(np.flatnonzero((numbers < 0) & (kinds == kind)))
        need = lacking[:, kind].copy()
        seats = np.empty(len(rows), dtype=np.int64)
        for place in range(len(rows)):
            seats[place] = int(np.argmax(need))
            need[seats[place]] -= 1.0
        numbers[rows] = seats


def with_duplicates(groups: Rows | None, images: NDArray[np.uint8]) -> tuple[Rows | None, int]:
    """Return groups in which equal images are together, and how many images are copies.

    Args:
        groups: (rows,) that were stated, which stay together; they are merged where an image is
            in two of them.
        images: (rows, height, width, channels).
    """
    first: dict[bytes, int] = {}
    same = np.empty(len(images), dtype=np.int64)
    for row, image in enumerate(images):
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        same[row] = first.setdefault(digest, row)
    copies = len(images) - len(first)
    if not copies:
        return groups, 0
    return (same if groups is None else merged(groups, same)), copies


def merged(one: Rows, other: Rows) -> Rows:
    """Return groups (rows,) in which rows are together that are so in either of two groupings."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = np.unique(one, return_inverse=True)[1]
    second = np.unique(other, return_inverse=True)[1] + first.max() + 1
    count = int(second.max()) + 1
    edges = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    _, parts = connected_components(edges, directed=False)
    together: Rows = parts[first].astype(np.int64)
    return together


def last_by_time(times: NDArray[np.float64], *, share: float) -> NDArray[np.bool_]:
    """Return which rows (rows,) are the last ones, at least such a share; equal times together."""
    border = np.sort(times)[-max(1, round(share * len(times)))]
    late: NDArray[np.bool_] = times >= border
    return late


def _stated(numbers: Rows) -> list[Fold]:
    k = int(numbers.max()) + 1
    empty = [number for number in range(k) if not (numbers == number).any()]
    if k < 2 or empty or numbers.min() < -1:
        raise DataError(
            "folds must be numbered from 0 without a gap, at least two of them, -1 for rows that "
            f"judge nothing, but go from {numbers.min()} to {numbers.max()}"
            + (f" and lack {empty[0]}" if empty else "")
        )
    return _from_numbers(numbers, k)


def _from_numbers(numbers: Rows, k: int) -> list[Fold]:
    return [
        Fold(number, np.flatnonzero(numbers != number), np.flatnonzero(numbers == number))
        for number in range(k)
    ]


def _by_time(times: NDArray[np.float64], groups: Rows | None, *, k: int) -> list[Fold]:
    borders = np.quantile(times, np.arange(1, k + 1) / (k + 1), method="higher")
    block = np.searchsorted(borders, times, side="right")
    if len(np.unique(block)) < k + 1:
        raise DataError(
            f"there must be {k + 1} different times with rows for {k} folds by time, "
            f"but {len(np.unique(times))} different ones share the rows"
        )
    folds = []
    for number, judged in enumerate(range(k, 0, -1)):
        validation, train = np.flatnonzero(block == judged), np.flatnonzero(block < judged)
        if groups is not None:
            train = train[~np.isin(groups[train], groups[validation])]
        if not len(train):
            raise DataError(f"no row is left to learn from before block {judged} of the times")
        folds.append(Fold(number, train, validation))
    return folds
