"""Which decoded rows are used, which are the test set, and which must stay together."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from search.duplicates import near_duplicates
from search.folds import strata
from search.grouping import Rows, image_hashes, joined
from search.splits import Columns
from spaces.errors import DataError
from workers.decoding_run import Decoded
from workers.derived_test import check_learnt, derived_test
from workers.given_validation import validation_first
from workers.listing import GIVEN, TEST, TRAIN, VALIDATION, Listing
from workers.near_groups import chained_classes, chained_note, without_classes

GIVEN_VALIDATION = "given with the data (its validation rows, as it has no others)"
EXAMPLES = 100  # that a report keeps of each kind
SAID_FROM = 5000  # images, from which comparing them takes longer than a moment


@dataclass(frozen=True, eq=False)
class Assignment:
    """The rows in their final order, the training rows first.

    Attributes:
        order: (rows,) of the listing, those that cannot be read left out.
        train: how many of them are learnt from.
        columns: of these.
        report: what was found, as JSON.
    """

    order: Rows
    train: int
    columns: Columns
    test_split: str
    report: dict[str, Any]


def assigned(listing: Listing, decoded: Decoded, progress: Callable[[str], None]) -> Assignment:
    """Part the rows of a listing.

    Raises:
        DataError: a class has no readable image, or rows cannot be parted.
    """
    whole = np.ones(len(listing.rows), dtype=bool)
    whole[list(decoded.failures)] = False
    usable = np.flatnonzero(whole)
    _check_classes(listing, usable)
    if len(usable) > SAID_FROM:
        progress(f"comparing {len(usable):,} images with each other")
    near = near_duplicates(decoded.images, rows=usable).pairs
    parted, notes = _kept_apart(listing, decoded, usable, near)
    train, test = parted.train, parted.test
    learnt = parted.columns.of(train)
    if listing.parts is not None and VALIDATION in listing.parts and TEST in listing.parts:
        learnt, said = validation_first(
            learnt, listing.labels[train], listing.parts[train] == VALIDATION
        )
        notes += [said] if said else []
    notes = [*listing.notes, *decoded.notes, *notes]
    return Assignment(
        order=np.concatenate([train, test]),
        train=len(train),
        columns=learnt,
        test_split=parted.how,
        report=_report(listing, decoded, near, notes, train=train, test=test),
    )


def _check_classes(listing: Listing, usable: Rows) -> None:
    found = np.unique(listing.labels[usable])
    missing = np.setdiff1d(np.arange(len(listing.class_names)), found)
    if len(missing):
        raise DataError(
            f"each class must have an image that can be read, "
            f"but {listing.class_names[missing[0]]!r} has none"
        )
    if len(found) < 2:
        what = "classes" if listing.class_names else "values to predict"
        raise DataError(f"images must have at least 2 {what}, but have 1")


@dataclass(frozen=True, eq=False)
class _Parted:
    """Rows to learn from, those of the test, and how they were chosen; columns of all rows."""

    train: Rows
    test: Rows
    how: str
    columns: Columns


def _kept_apart(
    listing: Listing, decoded: Decoded, usable: Rows, near: Rows
) -> tuple[_Parted, list[str]]:
    """Part rows, nearly equal ones kept together as far as all classes can be parted then.

    Returns what is to be said of it as well.
    """
    labels = np.zeros(len(listing.rows), dtype=np.int64)
    labels[usable] = strata(listing.labels[usable])
    counted = usable if listing.parts is None else usable[listing.parts[usable] == TRAIN]
    chained = chained_classes(near, labels, counted)
    pairs = without_classes(near, labels, chained, decoded)
    try:
        parted = _parted(listing, decoded, usable, pairs)
        lacking = _lacking(labels, parted)
    except DataError:
        parted, lacking = None, np.unique(labels[usable])
    more = np.union1d(chained, lacking)
    fewer = without_classes(near, labels, more, decoded)
    if parted is None or len(fewer) < len(pairs):
        again = _parted(listing, decoded, usable, fewer)
        if parted is None or len(_lacking(labels, again)) < len(lacking):
            parted, chained = again, np.intersect1d(more, labels[near])
    if listing.class_names:
        check_learnt(listing.labels, listing.class_names, train=parted.train, test=parted.test)
    return parted, [chained_note(listing, chained)] if len(chained) else []


def _lacking(labels: Rows, parted: _Parted) -> Rows:
    """Return the classes that are not both learnt and tested, or learnt from one group alone."""
    learnt, groups = labels[parted.train], parted.columns.groups
    groups = parted.train if groups is None else groups[parted.train]
    span = int(groups.max()) + 1
    classes, counts = np.unique(np.unique(learnt * span + groups) // span, return_counts=True)
    everywhere = np.intersect1d(classes[counts > 1], labels[parted.test])
    return np.setdiff1d(np.concatenate([learnt, labels[parted.test]]), everywhere)


def _parted(listing: Listing, decoded: Decoded, usable: Rows, near: Rows) -> _Parted:
    """Part rows, those of each pair of `near` and of each group kept together."""
    groups = joined(listing.columns.groups, near, count=len(listing.rows))
    columns = replace(listing.columns, groups=groups)
    if listing.parts is None or not (listing.parts != TRAIN).any():
        hashes = image_hashes(decoded.images, usable)
        labels = strata(listing.labels[usable])
        contents = list(map(bytes, decoded.digests[usable]))
        train, test, how = derived_test(
            hashes,
            labels,
            columns.of(usable),
            contents=contents,
            class_names=listing.class_names,
        )
        return _Parted(usable[train], usable[test], how, columns)
    parts = listing.parts[usable]
    kind = TEST if TEST in parts else VALIDATION
    train, test = usable[parts != kind], usable[parts == kind]
    if not len(train) or not len(test):
        raise DataError(f"{listing.name} must have readable images to learn from and to test by")
    if listing.class_names:
        own = listing.columns.folds is None  # then validation rows judge, and are not learnt from
        learnt, others = (usable[parts == TRAIN], usable[parts != TRAIN]) if own else (train, test)
        check_learnt(listing.labels, listing.class_names, train=learnt, test=others)
    return _Parted(train, test, GIVEN if kind == TEST else GIVEN_VALIDATION, columns)


def _report(
    listing: Listing, decoded: Decoded, near: Rows, notes: list[str], *, train: Rows, test: Rows
) -> dict[str, Any]:
    """Return what was found, as JSON; pairs of near duplicates are places in the final order."""
    place = np.full(len(listing.rows), -1, dtype=np.int64)
    place[np.concatenate([train, test])] = np.arange(len(train) + len(test))
    pairs = place[near]
    groups = listing.columns.groups
    shared = 0 if groups is None else len(np.intersect1d(groups[train], groups[test]))
    return {
        "listed": len(listing.rows),
        "notes": notes,
        "unreadable": dict(Counter(reason for reason, _ in decoded.failures.values())),
        "unreadable_examples": [
            [listing.rows[row], reason, details]
            for row, (reason, details) in list(decoded.failures.items())[:EXAMPLES]
        ],
        "near": np.sort(pairs[(pairs >= 0).all(axis=1)], axis=1).tolist(),
        "groups_across": shared,
    }
