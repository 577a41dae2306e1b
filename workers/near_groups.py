"""Which nearly equal images are kept together: not those of classes that would be one group.

Being nearly equal is not transitive. Where a class consists of images that are all alike (glyphs,
a fixed camera), pairs chain into one group of most of it, which can be on one side of a split
alone.
"""

import numpy as np

from search.grouping import Rows, image_hashes, joined
from workers.decoding_run import Decoded
from workers.listing import Listing

MOST_OF_A_CLASS = 0.5  # of its rows: no more may be in one group of nearly equal images
NAMED = 3  # classes that a note names


def chained_classes(pairs: Rows, labels: Rows, rows: Rows) -> Rows:
    """Return the classes of which most rows would be in one group.

    Args:
        pairs: (n, 2) rows that are nearly equal.
        labels: of all rows, classes from 0.
        rows: those that are counted.
    """
    groups = joined(None, pairs, count=len(labels))
    if groups is None:
        return np.empty(0, dtype=np.int64)
    span = int(groups.max()) + 1
    found, sizes = np.unique(labels[rows] * span + groups[rows], return_counts=True)
    classes = found // span
    totals = np.bincount(labels[rows], minlength=labels.max() + 1)
    return np.unique(classes[(sizes > 1) & (sizes > MOST_OF_A_CLASS * totals[classes])])


def without_classes(pairs: Rows, labels: Rows, classes: Rows, decoded: Decoded) -> Rows:
    """Return pairs but those of chains with an image of some classes; equal images stay paired."""
    groups = joined(None, pairs, count=len(labels))
    if groups is None or not len(classes):
        return pairs
    dropped = np.isin(groups[pairs[:, 0]], groups[np.isin(labels, classes)])
    rows, places = np.unique(pairs[dropped], return_inverse=True)
    hashes = np.array(image_hashes(decoded.images, rows), dtype="S16")[places.reshape(-1, 2)]
    dropped[dropped] = hashes[:, 0] != hashes[:, 1]
    kept: Rows = pairs[~dropped]
    return kept


def chained_note(listing: Listing, classes: Rows) -> str:
    """Say what became of the nearly equal images of some classes."""
    if not listing.class_names:
        return "images of many rows are nearly equal: only equal ones are kept together"
    names = ", ".join(repr(listing.class_names[each]) for each in classes[:NAMED])
    more = f" and {len(classes) - NAMED:,} more classes" if len(classes) > NAMED else ""
    return (
        f"nearly equal images of {names}{more} chain into groups of too much of a class: "
        "of these, only equal images are kept together"
    )
