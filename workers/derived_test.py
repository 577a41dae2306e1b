"""Which rows are the test set where the data bring none."""

from collections.abc import Sequence

import numpy as np

from search.grouping import Rows, with_duplicates
from search.splits import Columns, last_by_time
from spaces.errors import DataError

TEST_SHARE = 0.3  # of the rows
DERIVED = "derived: 30 % of the rows by their content, stratified"
GROUPED = "derived: 30 % of the rows by their content, stratified, no group or equal images parted"
LATEST = "derived: the latest 30 % of the rows"


def derived_test(
    hashes: Sequence[bytes],
    labels: Rows,
    columns: Columns,
    *,
    contents: Sequence[bytes] | None = None,
    class_names: Sequence[str] = (),
) -> tuple[Rows, Rows, str]:
    """Return the rows to learn from, those of the test, and how they were chosen.

    The test has the latest ones where there are times; else classes in equal shares, as far as
    groups, which are not parted, nor are equal images, let them be. Which rows it has depends on
    their content, not on their order: more rows change few of them.

    Args:
        hashes: of the images, as `image_hashes` makes them.
        labels: (rows,) classes, or ranges of numbers.
        contents: hashes that choose rows, if not those of the images: of their files, which are the
            same in whatever size the images are decoded.
        class_names: of the labels, if they have any.

    Raises:
        DataError: the rows cannot be parted so.
    """
    groups, _ = with_duplicates(columns.groups, hashes)
    contents = hashes if contents is None else contents
    if columns.times is not None:
        late = last_by_time(columns.times, share=TEST_SHARE)
        train, test = np.flatnonzero(~late), np.flatnonzero(late)
        if groups is not None:
            train = train[~np.isin(groups[train], groups[test])]
        if not len(train):
            raise DataError("no row is left to learn from before the latest 30 %")
        return train, test, LATEST
    if groups is not None:
        train, test = _by_content(contents, labels, groups)
        if not len(test):
            raise DataError("each class must have two groups to be split, but all have one")
        return train, test, GROUPED
    counts = np.bincount(labels)
    if 1 in counts:
        rare = int(np.flatnonzero(counts == 1)[0])
        named = repr(class_names[rare]) if class_names else f"range {rare}"
        raise DataError(f"each class must have at least 2 rows to be split, but {named} has 1")
    return *_by_content(contents, labels, np.arange(len(labels))), DERIVED


def check_learnt(labels: Rows, class_names: Sequence[str], *, train: Rows, test: Rows) -> None:
    """Raise `DataError` if a class of the test rows is not among those that are learnt from."""
    missing = np.setdiff1d(labels[test], labels[train])
    if len(missing):
        raise DataError(
            f"each class must have images to learn from, but {class_names[missing[0]]!r} "
            "has only others (stated parts, times or groups leave it none)"
        )


def _by_content(contents: Sequence[bytes], labels: Rows, groups: Rows) -> tuple[Rows, Rows]:
    """Return the rows to learn from and those of the test: of each class the first groups.

    They are in the order of their contents' hashes, and one that would bring more rows too many
    than are lacking is passed over. So whichever rows are added, taken away or moved, the others
    stay on their side, but for those at the border. A group counts for its most frequent class; a
    class with two groups or more is on both sides.
    """
    group_of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    order = np.empty(len(contents), dtype=np.int64)
    order[sorted(range(len(contents)), key=lambda row: contents[row])] = np.arange(len(contents))
    first = np.full(len(sizes), len(contents))
    np.minimum.at(first, group_of_row, order)
    kinds = _most_frequent(labels, group_of_row)
    in_test = np.zeros(len(sizes), dtype=bool)
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        own = own[np.argsort(first[own])]
        lacking = TEST_SHARE * float(sizes[own].sum())
        for group in own:
            if sizes[group] < 2.0 * lacking:
                in_test[group] = True
                lacking -= float(sizes[group])
        if len(own) > 1 and not in_test[own].any():
            in_test[own[sizes[own].argmin()]] = True
    chosen = in_test[group_of_row]
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _most_frequent(labels: Rows, group_of_row: Rows) -> Rows:
    """Return the class (groups,) that each group has most often, of equal ones the first."""
    span = int(labels.max()) + 1
    pairs, counts = np.unique(group_of_row * span + labels, return_counts=True)
    groups, kinds = np.divmod(pairs, span)
    order = np.lexsort((kinds, -counts, groups))
    _, first = np.unique(groups[order], return_index=True)
    found: Rows = kinds[order][first]
    return found
