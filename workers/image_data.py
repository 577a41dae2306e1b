"""Labelled images, parted into training and test: what every source becomes."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.folds import strata
from search.grouping import image_hashes
from search.metrics import Task
from search.numbers import is_numbers
from search.row_sketch import RowSketch
from search.splits import Columns
from workers.decoded import Kept
from workers.derived_test import check_learnt, derived_test

NO_COLUMNS = Columns()


@dataclass(frozen=True)
class ImageData:
    """Labelled images, parted into training and test.

    Attributes:
        train_images, test_images: uint8 of (rows, height, width, channels).
        train_labels, test_labels: int64 of (rows,), indices into `class_names`; or float64 of
            (rows,), numbers to be predicted, and there are no names.
        test_split: where the test rows come from.
        columns: what is known of the training rows besides.
        decoded: where they lie in the cache, if they were image files.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[Any]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[Any]
    class_names: tuple[str, ...]
    test_split: str
    columns: Columns = NO_COLUMNS
    decoded: Kept | None = None

    @property
    def classes(self) -> int:
        """Number of classes, and of a network's outputs; 1 where a number is predicted."""
        return len(self.class_names) or 1

    @property
    def task(self) -> Task:
        """What is to be predicted."""
        return "classification" if self.class_names else "regression"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    @cached_property
    def train_fingerprint(self) -> str:
        """SHA-256 (hex) of the training rows: equal rows, equal fingerprint."""
        return fingerprint(self.train_images, self.train_labels)

    @cached_property
    def test_rows(self) -> RowSketch:
        """The test rows by their content: of image files, that of the files themselves."""
        if self.decoded is None:
            return sketch_of(self.test_images)
        return RowSketch.of(map(bytes, self.decoded.digests[self.decoded.train :]))


def fingerprint(images: NDArray[np.uint8], labels: NDArray[Any]) -> str:
    """Return the SHA-256 (hex) of rows: their shape, pixels and labels."""
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    kind = "<f8" if is_numbers(labels) else "<i8"
    digest.update(np.ascontiguousarray(labels, dtype=kind).data)
    return digest.hexdigest()


def sketch_of(images: NDArray[np.uint8]) -> RowSketch:
    """Describe images (rows, height, width, channels) by their pixels."""
    return RowSketch.of(image_hashes(images))


def with_derived_test(
    name: str,
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    class_names: tuple[str, ...],
    columns: Columns = NO_COLUMNS,
) -> ImageData:
    """Part rows that bring no test split; `DataError` if they cannot be."""
    train, test, how = derived_test(
        image_hashes(images), strata(labels), columns, class_names=class_names
    )
    if class_names:
        check_learnt(labels, class_names, train=train, test=test)
    return ImageData(
        name=name,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=class_names,
        test_split=how,
        columns=columns.of(train),
    )
