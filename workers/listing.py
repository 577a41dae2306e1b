"""What a source of image files consists of, before any image is decoded."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.splits import Columns

GIVEN = "given with the data"
TRAIN, VALIDATION, TEST = 0, 1, 2  # the values of `Listing.parts`
PART_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
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


def stamp(entries: list[tuple[str, int, int]]) -> str:
    """SHA-256 (hex) of files' paths, sizes in bytes and times of change in nanoseconds."""
    digest = hashlib.sha256()
    for path, size, changed in entries:
        digest.update(f"{path}\0{size}\0{changed}\n".encode())
    return digest.hexdigest()
