"""Which rows are the test set where the data bring none."""

from collections.abc import Sequence

import numpy as np

from search.grouping import Rows, deal_groups, with_duplicates
from search.splits import Columns, last_by_time
from spaces.errors import DataError

TEST_SHARE = 0.3  # of the rows
DERIVED = "derived: 30 % of the rows, stratified, seed 0"
GROUPED = "derived: 30 % of the rows, no group or equal images parted, stratified, seed 0"
LATEST = "derived: the latest 30 % of the rows"


def derived_test(hashes: Sequence[bytes], labels: Rows, columns: Columns) -> tuple[Rows, Rows, str]:
    """Return the rows to learn from, those of the test, and how they were chosen.

    The test has the latest ones where there are times; else classes in equal shares, as far as
    groups, which are not parted, nor are equal images, let them be.

    Args:
        hashes: of the images, as `image_hashes` makes them.
        labels: (rows,) classes, or ranges of numbers.

    Raises:
        DataError: the rows cannot be parted so.
    """
    groups, _ = with_duplicates(columns.groups, hashes)
    if columns.times is not None:
        late = last_by_time(columns.times, share=TEST_SHARE)
        train, test = np.flatnonzero(~late), np.flatnonzero(late)
        if groups is not None:
            train = train[~np.isin(groups[train], groups[test])]
        if not len(train):
            raise DataError("no row is left to learn from before the latest 30 %")
        return train, test, LATEST
    if groups is not None:
        parts = deal_groups(labels, groups, shares=(1.0 - TEST_SHARE, TEST_SHARE), seed=0)
        return np.flatnonzero(parts == 0), np.flatnonzero(parts == 1), GROUPED
    return *_stratified(labels), DERIVED


def check_learnt(labels: Rows, class_names: Sequence[str], *, train: Rows, test: Rows) -> None:
    """Raise `DataError` if a class of the test rows is not among those that are learnt from."""
    missing = np.setdiff1d(labels[test], labels[train])
    if len(missing):
        raise DataError(
            f"each class must have images to learn from, but {class_names[missing[0]]!r} "
            "has only others (stated parts, times or groups leave it none)"
        )


def _stratified(labels: Rows) -> tuple[Rows, Rows]:
    from sklearn.model_selection import train_test_split

    counts = np.bincount(labels)
    occurring = counts[counts > 0]
    if occurring.min() < 2:
        rare = int(np.flatnonzero(counts == occurring.min())[0])
        raise DataError(f"each class must have at least 2 rows to be split, but class {rare} has 1")
    rows = np.arange(len(labels))
    try:
        train, test = train_test_split(rows, test_size=TEST_SHARE, stratify=labels, random_state=0)
    except ValueError as failure:
        raise DataError(
            f"{len(rows)} rows cannot be split into training and test: {failure}"
        ) from None
    return np.sort(train), np.sort(test)
