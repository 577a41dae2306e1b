"""What a source of image files consists of, before any image is decoded."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.splits import Columns
from spaces.errors import DataError

GIVEN = "given with the data"
TRAIN, VALIDATION, TEST = 0, 1, 2  # the values of `Listing.parts`
NAMED = 5  # empty classes that a note names
PART_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}


@dataclass(frozen=True, eq=False)
class Listing:
    """The rows of a source in a fixed order.

    Attributes:
        name: of the data set.
        reader: how another process opens its images (`workers.readers`), as JSON.
        rows: what each image is called: a path below the folder, or a number.
        labels: int64 of (rows,), indices into `class_names`; or float64, numbers to be predicted.
        parts: (rows,) TRAIN, VALIDATION or TEST; None: not stated.
        columns: of all rows.
        stamp: changes if any of the source's files does.
        notes: what was left out or decided, for people.
    """

    name: str
    reader: dict[str, Any]
    rows: list[str]
    labels: NDArray[Any]
    class_names: tuple[str, ...]
    parts: NDArray[np.int8] | None
    stamp: str
    columns: Columns = field(default_factory=Columns)
    notes: tuple[str, ...] = ()

    def key(self, settings: dict[str, Any]) -> str:
        """SHA-256 (hex) of the source's state, of what is stated and of how images are read."""
        columns = self.columns
        arrays = (self.labels, self.parts, columns.groups, columns.times, columns.folds)
        stated = [None if each is None else str(each.dtype) for each in arrays]
        told = [self.name, self.reader, self.stamp, list(self.class_names), list(self.notes)]
        digest = hashlib.sha256(json.dumps([*told, stated, settings], sort_keys=True).encode())
        for array in arrays:
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def without_empty_classes(listing: Listing) -> Listing:
    """Leave out classes of which no image is listed, and say so."""
    found = np.unique(listing.labels)
    if len(found) == len(listing.class_names) or not listing.class_names:
        return listing
    if len(found) < 2:
        raise DataError(
            f"images must be of at least 2 classes, but all of {listing.name} are of "
            f"{listing.class_names[found[0]]!r}"
        )
    empty = [each for row, each in enumerate(listing.class_names) if row not in set(found)]
    named = ", ".join(map(repr, empty[:NAMED])) + (", …" if len(empty) > NAMED else "")
    return replace(
        listing,
        labels=np.searchsorted(found, listing.labels).astype(np.int64),
        class_names=tuple(listing.class_names[each] for each in found),
        notes=(*listing.notes, f"{len(empty):,} classes without an image are left out: {named}"),
    )


def stamp(entries: list[tuple[str, int, int]]) -> str:
    """SHA-256 (hex) of files' paths, sizes in bytes and times of change in nanoseconds."""
    digest = hashlib.sha256()
    for path, size, changed in entries:
        digest.update(f"{path}\0{size}\0{changed}\n".encode())
    return digest.hexdigest()
