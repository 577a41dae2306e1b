"""Rows that must stay together, and how they are dealt out to parts of given sizes."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaces.errors import DataError

Rows = NDArray[np.int64]
TIE = 1e-9  # differences below this are rounding


def deal_groups(
    labels: NDArray[np.integer[Any]], groups: Rows, *, shares: Sequence[float], seed: int
) -> Rows:
    """Return a part's number (rows,) for each row, such that no group is in two parts.

    Groups are dealt out one after the other, the largest first, each to the part that is then
    filled least with the group's classes and with rows at all, both counting the same (what is
    half in counts half: so squared errors are least); in a tie, by chance.

    Args:
        labels, groups: (rows,).
        shares: of the rows that each part should have; their sum is 1.

    Raises:
        DataError: some part would be empty.
    """
    found, unit, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    kinds = np.unique(labels, return_inverse=True)[1]
    wanted = np.asarray(shares)[:, None] * np.bincount(kinds)  # rows of each class in each part
    sizes_wanted = wanted.sum(1)
    filled_by_class, filled = np.zeros_like(wanted), np.zeros(len(shares))
    random = np.random.default_rng(seed)
    members, ends = np.argsort(unit, kind="stable"), np.cumsum(sizes)
    numbers = np.empty(len(labels), dtype=np.int64)
    order = random.permutation(len(found))
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        rows = members[ends[group] - sizes[group] : ends[group]]
        own = kinds[rows]
        more_by_class = np.bincount(own)[own] / wanted[:, own]
        more = len(rows) / sizes_wanted
        fullness = (filled_by_class[:, own] + more_by_class / 2.0).mean(1) + filled + more / 2.0
        equal = np.flatnonzero(fullness <= fullness.min() + TIE)
        part = int(equal[random.integers(len(equal))])
        numbers[rows] = part
        np.add.at(filled_by_class[part], own, 1.0 / wanted[part, own])
        filled[part] += more[part]
    empty = len(shares) - len(np.unique(numbers))
    if empty:
        raise DataError(
            f"{len(found)} groups must fill {len(shares)} parts, but {empty} would be empty"
        )
    return numbers


def with_duplicates(groups: Rows | None, hashes: Sequence[bytes]) -> tuple[Rows | None, int]:
    """Return groups in which equal images are together, and how many images are copies.

    Args:
        groups: (rows,) that were stated, which stay together; they are merged where an image is
            in two of them.
        hashes: of the images, as `image_hashes` makes them.
    """
    first: dict[bytes, int] = {}
    same = np.empty(len(hashes), dtype=np.int64)
    for row, digest in enumerate(hashes):
        same[row] = first.setdefault(digest, row)
    copies = len(hashes) - len(first)
    if not copies:
        return groups, 0
    return (same if groups is None else merged(groups, same)), copies


def image_hashes(images: NDArray[np.uint8], rows: Rows | None = None) -> list[bytes]:
    """Return what is equal for equal images (rows, height, width, channels) alone; of all or some.

    Images are read one after the other, so they may be more than fit into memory.
    """
    chosen = range(len(images)) if rows is None else rows
    return [
        hashlib.blake2b(np.ascontiguousarray(images[row]).data, digest_size=16).digest()
        for row in chosen
    ]


def joined(groups: Rows | None, pairs: Rows, *, count: int) -> Rows | None:
    """Return groups (count,) in which the rows of each pair (n, 2) are together, too."""
    if not len(pairs):
        return groups
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs)), pairs.T), shape=(count, count))
    together = connected_components(edges, directed=False)[1].astype(np.int64)
    return together if groups is None else merged(groups, together)


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


def groups_by_class(labels: NDArray[np.integer[Any]], groups: Rows) -> Rows:
    """Return in how many groups each class occurs that occurs at all, in the classes' order."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    return np.unique(pairs[0], return_counts=True)[1]
