"""Who trains and who judges: one split for all models of a job.

The split is computed once and stored with a hash and the fingerprint of the data, so that every
worker can make sure of both before it starts.
"""

import hashlib
import io
import os
import uuid
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from search.durable import sync
from search.numbers import is_numbers
from spaces.errors import DataError, StoreError

RANGE_ROWS, MOST_RANGES = 20, 10  # of numbers, by which rows are parted as by classes
JUDGING_FOLD = 0  # trials and races are judged on it, networks of the ensemble on the others
ALL_ROWS = -1  # in place of a fold's number: trained on every row, judged on none


@dataclass(frozen=True, eq=False)
class Fold:
    """One way to part the rows: where to train, where to judge.

    Attributes:
        number: its place among the folds, from 0.
        train_rows, validation_rows: row ids, ascending; no row is in both.
    """

    number: int
    train_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]


def times(repeats: int) -> str:
    """Return how often rows are parted, in words that follow the folds; nothing for once."""
    return "" if repeats == 1 else f", {repeats} times"


@dataclass(frozen=True, eq=False)
class Folds:
    """All folds of a job. Every row of the data is a validation row of at most one of them.

    Where the rows are parted repeatedly, that holds for each parting.

    Attributes:
        seed: what the rows were shuffled with.
        data_fingerprint: of the data that the row ids belong to.
        groups: (rows,) of rows that are right or wrong together, stated ones and equal images; None
            where all rows stand for themselves. They are no part of the hash.
        parts: into how many the rows were parted at a time, of which the judging fold may have
            several; None: as many as there are folds.
        repeats: how often.
    """

    folds: tuple[Fold, ...]
    seed: int
    data_fingerprint: str
    groups: NDArray[np.int64] | None = None
    parts: int | None = None
    repeats: int = 1

    @property
    def parted_into(self) -> int:
        """Into how many parts the rows were parted at a time."""
        return self.parts or len(self.folds)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over the row ids of all folds and the data's fingerprint."""
        digest = hashlib.sha256(self.data_fingerprint.encode())
        for fold in self.folds:
            for rows in (fold.train_rows, fold.validation_rows):
                # The length keeps a row from passing unnoticed from one part into the next.
                digest.update(f"|{len(rows)}|".encode())
                digest.update(rows.astype("<i8").tobytes())
        return digest.hexdigest()

    def check(self, data_fingerprint: str) -> None:
        """Raise `DataError` if these folds were made for other data."""
        if data_fingerprint != self.data_fingerprint:
            raise DataError(
                f"the data must be those that the folds were made for ({self.data_fingerprint}), "
                f"but got {data_fingerprint}"
            )

    def save(self, path: Path) -> None:
        """Write to `path` (.npz) at once: a reader sees the old file or the new, never a part."""
        arrays: dict[str, NDArray[Any]] = {
            "folds": np.array(len(self.folds), dtype=np.int64),
            "seed": np.array(self.seed, dtype=np.int64),
            "data_fingerprint": np.array(self.data_fingerprint),
            "hash": np.array(self.hash),
            "parts": np.array(self.parted_into, dtype=np.int64),
            "repeats": np.array(self.repeats, dtype=np.int64),
        }
        for number, fold in enumerate(self.folds):
            arrays[f"train_{number}"] = fold.train_rows
            arrays[f"validation_{number}"] = fold.validation_rows
        if self.groups is not None:
            arrays["groups"] = self.groups
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; `StoreError` if it is missing, damaged or was altered."""
        arrays = read_arrays(path)
        try:
            folds = tuple(
                Fold(number, arrays[f"train_{number}"], arrays[f"validation_{number}"])
                for number in range(int(arrays["folds"]))
            )
            seed, fingerprint = int(arrays["seed"]), str(arrays["data_fingerprint"])
            expected = str(arrays["hash"])
            parted = {name: int(arrays[name]) for name in ("parts", "repeats")}
        except (KeyError, TypeError, ValueError) as failure:
            raise StoreError(f"{path} must hold folds, but got {failure!r}") from failure
        groups = arrays.get("groups")
        loaded = cls(folds=folds, seed=seed, data_fingerprint=fingerprint, groups=groups, **parted)
        if loaded.hash != expected:
            raise StoreError(f"the folds in {path} must hash to {expected}, but got {loaded.hash}")
        return loaded


def stratified_folds(
    labels: NDArray[np.integer[Any]], *, k: int, seed: int, data_fingerprint: str
) -> Folds:
    """Part all rows into `k` folds that hold equal shares of each class, up to one row.

    A class with fewer rows than that is in as many folds as it has rows.

    Args:
        labels: (rows,) integers.
        seed: 0 to 2³² - 1.

    Raises:
        DataError: if k < 2, or no class has `k` rows.
    """
    from sklearn.model_selection import StratifiedKFold  # takes most of a second to load

    if k < 2:
        raise DataError(f"the number of folds must be at least 2, but got {k}")
    most = int(class_sizes(labels).max())
    if most < k:
        raise DataError(
            "some class must have at least one row for the judging fold and each of "
            f"{k - 1} others, but the most frequent one has {most}"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        split = list(StratifiedKFold(k, shuffle=True, random_state=seed).split(labels, labels))
    folds = tuple(
        Fold(number, np.sort(train).astype(np.int64), np.sort(validation).astype(np.int64))
        for number, (train, validation) in enumerate(split)
    )
    return Folds(folds=folds, seed=seed, data_fingerprint=data_fingerprint)


def strata(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the classes (rows,) whose shares are kept when rows are parted.

    Numbers are put into ranges of about as many rows each, as many as there are rows for.
    """
    if not is_numbers(labels):
        return labels.astype(np.int64)
    ranges = int(np.clip(len(labels) // RANGE_ROWS, 1, MOST_RANGES))
    borders = np.quantile(labels, np.arange(1, ranges) / ranges)
    found = np.unique(np.searchsorted(borders, labels, side="right"), return_inverse=True)[1]
    counts = np.bincount(found)
    while len(counts) > 1 and counts.min() < RANGE_ROWS // 2:  # where many numbers are equal
        least = int(counts.argmin())
        into = least + 1 if least == 0 else least - 1
        found[found == least] = into
        found = np.unique(found, return_inverse=True)[1]
        counts = np.bincount(found)
    return found.astype(np.int64)


def class_sizes(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return how many rows each class has that occurs, in the order of the classes.

    Raises:
        DataError: the labels are no row of integers, or none.
    """
    if labels.ndim != 1 or not len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            "labels must be a non-empty row of integers, "
            f"but got shape {labels.shape} of {labels.dtype}"
        )
    sizes: NDArray[np.int64] = np.unique(labels, return_counts=True)[1]
    return sizes


def stratified_subset(
    labels: NDArray[np.integer[Any]], rows: NDArray[np.int64], *, size: int, seed: int
) -> NDArray[np.int64]:
    """Return `size` of `rows`, ascending, with each class's share kept as nearly as possible.

    Every class keeps at least one row; with fewer rows than classes, the largest classes do.
    A smaller subset with the same seed lies within a larger one. All rows if there are not more
    than `size`. Seats are shared out by Sainte-Laguë's method (Annales scientifiques de l'École
    Normale Supérieure 27, 1910): the r-th row of a class of n comes at (r + 1/2) / n.

    Args:
        labels: (all rows,) integers, indexed by row id.
        rows: ids of the rows to choose from, each once.
    """
    if size < 1:
        raise ValueError(f"the size of a subset must be at least 1, but got {size}")
    if size >= len(rows):
        return np.sort(rows)
    shuffled = np.random.default_rng(seed).permutation(np.sort(rows))
    _, kind, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    rank = np.empty(len(shuffled), dtype=np.int64)  # of each row within its class
    starts = np.cumsum(counts) - counts
    rank[np.argsort(kind, kind="stable")] = np.arange(len(shuffled)) - np.repeat(starts, counts)
    # First rows come before all others, those of the largest classes first.
    turn = np.where(rank == 0, -counts[kind], (rank + 0.5) / counts[kind])
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:size]])


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz without pickled objects, whole or not at all; the directory must exist."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz; `StoreError` if it is missing, damaged or holds objects."""
    try:
        with zipfile.ZipFile(path) as archive:
            # A member that is read whole has its checksum verified, which `np.load(path)` skips
            # when a damaged header announces fewer bytes.
            return {
                name.removesuffix(".npy"): np.load(
                    io.BytesIO(archive.read(name)), allow_pickle=False
                )
                for name in archive.namelist()
            }
    except Exception as failure:  # damage shows as nearly anything, MemoryError included
        reason = " ".join(str(failure).split())
        raise StoreError(
            f"{path} must be a readable .npz file, but got {type(failure).__name__}: {reason}"
        ) from failure
