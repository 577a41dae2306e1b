"""Image data by name or path, as uint8 arrays that stay in memory."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.folds import strata
from search.job import FILE_SUFFIX, NAMED_SOURCES
from search.metrics import Task
from search.numbers import is_numbers
from search.splits import Columns
from spaces.errors import DataError
from spaces.values import nearest
from workers.derived_test import derived_test
from workers.fashion_mnist import CLASS_NAMES, load_fashion_mnist
from workers.npz import (
    Arrays,
    checked_folds,
    checked_groups,
    checked_images,
    checked_labels,
    checked_targets,
    checked_times,
    read_arrays,
)

NO_COLUMNS = Columns()
GIVEN = "given with the data"
DIGITS_MAX = 16  # scikit-learn's digits are whole numbers from 0 to 16


@dataclass(frozen=True)
class ImageData:
    """Labelled images, parted into training and test.

    Attributes:
        train_images, test_images: uint8 of (rows, height, width, channels).
        train_labels, test_labels: int64 of (rows,), indices into `class_names`; or float64 of
            (rows,), numbers to be predicted, and there are no names.
        test_split: where the test rows come from.
        columns: what is known of the training rows besides.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[Any]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[Any]
    class_names: tuple[str, ...]
    test_split: str
    columns: Columns = NO_COLUMNS

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
    def test_fingerprint(self) -> str:
        """SHA-256 (hex) of the test rows."""
        return fingerprint(self.test_images, self.test_labels)


def fingerprint(images: NDArray[np.uint8], labels: NDArray[Any]) -> str:
    """Return the SHA-256 (hex) of rows: their shape, pixels and labels."""
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    kind = "<f8" if is_numbers(labels) else "<i8"
    digest.update(np.ascontiguousarray(labels, dtype=kind).data)
    return digest.hexdigest()


def load_data(
    source: str, *, cache: Path, progress: Callable[[str], None] = lambda _: None
) -> ImageData:
    """Load images by the name of a data set or the path of an `.npz` file.

    Args:
        cache: where data sets that had to be fetched are kept.
        progress: told what is being done where it takes longer than a moment.

    Raises:
        DataError: the source is unknown, missing or breaks a rule that the message states.
    """
    if source == "fashion-mnist":
        return _fashion_mnist(cache, progress)
    if source == "digits":
        return _digits()
    if source.endswith(FILE_SUFFIX):
        return _npz(Path(source))
    raise DataError(
        f"data must be a known name or the path of an .npz file, but got {source!r}; "
        f"{nearest(source, list(NAMED_SOURCES))}"
    )


def _fashion_mnist(cache: Path, progress: Callable[[str], None]) -> ImageData:
    train_images, train_labels, test_images, test_labels = load_fashion_mnist(
        cache, progress=progress
    )
    return ImageData(
        name="fashion-mnist",
        train_images=train_images[..., None],
        train_labels=train_labels.astype(np.int64),
        test_images=test_images[..., None],
        test_labels=test_labels.astype(np.int64),
        class_names=CLASS_NAMES,
        test_split=GIVEN,
    )


def _digits() -> ImageData:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / DIGITS_MAX)).astype(np.uint8)[..., None]
    names = tuple(str(digit) for digit in range(10))
    return _with_derived_test("digits", images, digits.target.astype(np.int64), names)


def _npz(path: Path) -> ImageData:
    arrays = read_arrays(path)
    kind = _kind(arrays, path)
    if "train_images" not in arrays:
        raise DataError(f"{path} must have images, but has only {', '.join(sorted(arrays))}")
    images = checked_images(arrays["train_images"], name="training images")
    labels = _answers(arrays, "train", kind=kind, rows=len(images))
    names: tuple[str, ...] = ()
    if kind == "labels":
        names = _class_names(labels, arrays.get("class_names"))
    elif len(np.unique(labels)) < 2:
        raise DataError(f"targets must have at least 2 values, but all are {labels[0]}")
    columns = _columns(arrays, rows=len(images))
    if "test_images" not in arrays:
        return _with_derived_test(path.stem, images, labels, names, columns)
    if f"test_{kind}" not in arrays:
        raise DataError(f"{path} must have test {kind} if it has test images, but has none")
    test_images = checked_images(arrays["test_images"], name="test images")
    test_labels = _answers(arrays, "test", kind=kind, rows=len(test_images))
    if test_images.shape[1:] != images.shape[1:]:
        raise DataError(
            f"test images must have the shape of training images {images.shape[1:]}, "
            f"but have {test_images.shape[1:]}"
        )
    if kind == "labels":
        _check_range(test_labels, classes=len(names), name="test labels")
    return ImageData(
        name=path.stem,
        train_images=images,
        train_labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=names,
        test_split=GIVEN,
        columns=columns,
    )


def _kind(arrays: Arrays, path: Path) -> str:
    """Return what a file has of its images: labels, or targets."""
    found = [kind for kind in ("labels", "targets") if f"train_{kind}" in arrays]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path} must have labels or targets, but has both")
    known = ", ".join(sorted(arrays)) or "no array of a known name"
    raise DataError(f"{path} must have images and labels (or targets), but has {known}")


def _answers(arrays: Arrays, part: str, *, kind: str, rows: int) -> NDArray[Any]:
    name = f"{'training' if part == 'train' else part} {kind}"
    check = checked_labels if kind == "labels" else checked_targets
    answers: NDArray[Any] = check(arrays[f"{part}_{kind}"], rows=rows, name=name)
    return answers


def _columns(arrays: Arrays, *, rows: int) -> Columns:
    """Return what a file knows of its training rows besides images and labels."""
    groups, times, folds = (arrays.get(f"train_{name}") for name in ("groups", "times", "folds"))
    return Columns(
        groups=None if groups is None else checked_groups(groups, rows=rows),
        times=None if times is None else checked_times(times, rows=rows),
        folds=None if folds is None else checked_folds(folds, rows=rows),
    )


def _class_names(labels: NDArray[np.int64], given: NDArray[Any] | None) -> tuple[str, ...]:
    """Return a name for each class; without given names, the classes are 0 to the largest label."""
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(f"labels must have at least 2 classes, but only {present[0]} occurs")
    if given is not None:
        if given.ndim != 1:
            raise DataError(f"class_names must be a list of names, but have shape {given.shape}")
        _check_range(labels, classes=len(given), name="training labels")
        return tuple(str(name) for name in given)
    if len(present) != int(present[-1]) + 1:
        missing = int((present != np.arange(len(present))).argmax())
        raise DataError(
            f"labels must be 0..{len(present) - 1} for {len(present)} classes without "
            f"class_names, but reach {present[-1]} and {missing} does not occur"
        )
    return tuple(str(label) for label in present)


def _check_range(labels: NDArray[np.int64], *, classes: int, name: str) -> None:
    wrong = labels >= classes
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{name} must lie in 0..{classes - 1} ({classes} classes), "
            f"but row {row} has {labels[row]}"
        )


def _with_derived_test(
    name: str,
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    class_names: tuple[str, ...],
    columns: Columns = NO_COLUMNS,
) -> ImageData:
    """Part rows that bring no test split."""
    train, test, how = derived_test(images, strata(labels), columns)
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
