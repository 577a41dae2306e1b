"""Images and labels from an `.npz` file, checked number by number; nothing is unpickled."""

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaces.errors import DataError

MAX_BYTES = 8 * 2**30  # of all arrays, uncompressed
MAX_LABEL = 2**53  # up to here floating-point numbers hold every whole number
MAX_TARGET = 1e30  # its square is still a number
NAMES = {  # ours, and the names that Keras' data sets use
    "train_images": ("train_images", "images", "x_train"),
    "train_labels": ("train_labels", "labels", "y_train"),
    "test_images": ("test_images", "x_test"),
    "test_labels": ("test_labels", "y_test"),
    "train_targets": ("train_targets", "targets"),
    "test_targets": ("test_targets",),
    "class_names": ("class_names",),
    "train_groups": ("train_groups", "groups"),
    "train_times": ("train_times", "times"),
    "train_folds": ("train_folds", "folds"),
}
LABELS = ("train_labels", "test_labels")
# What numpy raises of a file that is no array, holds objects or promises more than there is.
BROKEN = (ValueError, EOFError, OSError, MemoryError, SyntaxError, tokenize.TokenError)
Arrays = dict[str, NDArray[Any]]


def read_arrays(path: Path) -> Arrays:
    """Read the arrays that Athanor knows from an `.npz` file, by the names of `NAMES`' keys.

    Raises:
        DataError: the file is missing, broken, too large, or an array holds objects.
    """
    if not path.is_file():
        raise DataError(f"data must be an .npz file, but there is none at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > MAX_BYTES:
            raise DataError(
                f"{path} must hold at most {MAX_BYTES:,} bytes of arrays, but holds {total:,}"
            )
        with np.load(path, allow_pickle=False) as archive_arrays:
            stored = set(archive_arrays.files)
            arrays = {
                key: archive_arrays[alias]
                for key, aliases in NAMES.items()
                for alias in aliases
                if alias in stored
            }
    except (zipfile.BadZipFile, zlib.error):
        raise DataError(f"{path} must be a whole .npz file, but is broken or cut off") from None
    except BROKEN as failure:
        reason = str(failure).replace("\n", " ")
        raise DataError(f"{path} must hold plain arrays: {reason}") from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands out foreign members as bytes
            raise DataError(f"{path} must hold plain arrays, but its {key} are none")
    return arrays


def read_images(path: Path) -> tuple[NDArray[np.uint8], NDArray[Any] | None, tuple[str, ...]]:
    """Read images to predict: the test images of a file if it has any, else its images.

    With them come their labels (int64) or targets (float64), or None, and the names that labels
    are indices into, if the file has any.

    Raises:
        DataError: the file has no images, or its arrays break a rule.
    """
    arrays = with_numbers(read_arrays(path))
    part = "test" if "test_images" in arrays else "train"
    images = arrays.get(f"{part}_images")
    if images is None:
        raise DataError(f"{path} must have an array named images or test_images, but has neither")
    labels, targets = arrays.get(f"{part}_labels"), arrays.get(f"{part}_targets")
    checked = checked_images(images, name=f"{part} images")
    if targets is not None:
        return checked, checked_targets(targets, rows=len(checked), name=f"{part} targets"), ()
    if labels is None:
        return checked, None, ()
    numbers = checked_labels(labels, rows=len(checked), name=f"{part} labels")
    given = arrays.get("class_names")
    if given is None:
        return checked, numbers, ()
    names = checked_names(given)
    check_range(numbers, classes=len(names), name=f"{part} labels")
    return checked, numbers, names


def checked_images(images: NDArray[Any], *, name: str) -> NDArray[np.uint8]:
    """Return images as uint8 of (rows, height, width, channels).

    Whole numbers must lie in 0..255. Other numbers must be finite, and either lie in 0..1,
    which is scaled to 0..255, or be whole numbers in 0..255.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(
            f"{name} must have shape (rows, height, width) or (rows, height, width, 1 or 3), "
            f"but have {images.shape}"
        )
    if not images.size:
        raise DataError(f"{name} must not be empty, but have shape {images.shape}")
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if not np.issubdtype(images.dtype, np.number) or np.iscomplexobj(images):
        raise DataError(f"{name} must be numbers, but are {images.dtype}")
    return _as_bytes(images, name)


def _as_bytes(images: NDArray[Any], name: str) -> NDArray[np.uint8]:
    finite = np.isfinite(images)
    if not finite.all():
        first = int(np.argmin(finite.reshape(len(images), -1).all(axis=1)))
        count = int(finite.size - finite.sum())
        raise DataError(
            f"{name} must be finite, but {count} values are NaN or infinite, first in row {first}"
        )
    low, high = float(images.min()), float(images.max())
    if low < 0.0 or high > 255.0:
        raise DataError(
            f"{name} must lie in 0..255, or be divided to lie in 0..1, but lie in {low:g}..{high:g}"
        )
    if np.issubdtype(images.dtype, np.floating):
        if high <= 1.0:
            images = images * 255.0
        elif (images != np.rint(images)).any():
            raise DataError(f"{name} must lie in 0..1 or be whole numbers, but reach {high:g}")
        images = np.rint(images)
    return np.ascontiguousarray(images.astype(np.uint8))


def numbered(labels: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """Return names of classes as indices into all of them; what are no names as they are.

    Raises:
        DataError: a name is not among them.
    """
    if labels.dtype.kind != "U":
        return labels
    places = {name: number for number, name in enumerate(names)}
    found = np.array([places.get(name, -1) for name in labels.ravel().tolist()], dtype=np.int64)
    if (found < 0).any():
        raise DataError(
            f"labels must be among the {len(names)} names of classes, "
            f"but row {int(found.argmin())} has {str(labels.ravel()[found.argmin()])!r}"
        )
    return found.reshape(labels.shape)


def with_numbers(arrays: Arrays) -> Arrays:
    """Return a file's arrays, labels that are names as indices into `class_names`.

    Where the file states none, they are the names that the training labels have, in order.
    """
    labels = arrays.get("train_labels", arrays.get("test_labels"))
    if labels is None or labels.dtype.kind != "U":
        return arrays
    given = arrays.get("class_names")
    names = np.unique(labels) if given is None else given
    told = checked_names(names)
    parts = {k: numbered(v, told) for k, v in arrays.items() if k in LABELS}
    return {**arrays, **parts, "class_names": names}


def checked_labels(labels: NDArray[Any], *, rows: int, name: str) -> NDArray[np.int64]:
    """Return labels as int64 of (rows,); whole numbers from 0, one for each image."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != rows:
        raise DataError(f"{name} must be one for each of {rows} images, but have {labels.shape}")
    if not np.issubdtype(labels.dtype, np.number) or np.iscomplexobj(labels):
        raise DataError(f"{name} must be whole numbers, but are {labels.dtype}")
    if np.issubdtype(labels.dtype, np.floating):
        labels = labels.astype(np.float64)
    if not (np.isfinite(labels).all() and (np.abs(labels) < MAX_LABEL).all()):
        raise DataError(f"{name} must be whole numbers below {MAX_LABEL:g}, but some are not")
    whole = labels.astype(np.int64)
    if (whole != labels).any():
        raise DataError(f"{name} must be whole numbers, but some are not")
    if whole.min() < 0:
        row = int(whole.argmin())
        raise DataError(f"{name} must be at least 0, but row {row} has {whole[row]}")
    return whole


def checked_names(names: NDArray[Any]) -> tuple[str, ...]:
    """Return the names of classes."""
    if names.ndim != 1:
        raise DataError(f"class_names must be a list of names, but have shape {names.shape}")
    return tuple(str(name) for name in names)


def check_range(labels: NDArray[np.int64], *, classes: int, name: str) -> None:
    """Make sure that labels are those of so many classes."""
    wrong = labels >= classes
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{name} must lie in 0..{classes - 1} ({classes} classes), "
            f"but row {row} has {labels[row]}"
        )


def checked_targets(targets: NDArray[Any], *, rows: int, name: str) -> NDArray[np.float64]:
    """Return numbers to be predicted as float64 of (rows,), one for each image."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    _check_column(targets, rows=rows, name=name)
    if not np.issubdtype(targets.dtype, np.number) or np.iscomplexobj(targets):
        raise DataError(f"{name} must be numbers, but are {targets.dtype}")
    found = targets.astype(np.float64)
    wrong = ~(np.abs(found) < MAX_TARGET)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{name} must be finite and below {MAX_TARGET:g}, but row {row} has {found[row]}"
        )
    return found


def checked_groups(groups: NDArray[Any], *, rows: int) -> NDArray[np.int64]:
    """Return a number for each row's group; groups may be numbers or names."""
    _check_column(groups, rows=rows, name="groups")
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def checked_times(times: NDArray[Any], *, rows: int) -> NDArray[np.float64]:
    """Return times as numbers; they may be numbers or numpy's dates."""
    _check_column(times, rows=rows, name="times")
    if np.issubdtype(times.dtype, np.datetime64):
        missing = np.isnat(times)
        times = times.astype("datetime64[us]").astype(np.int64)
    elif np.issubdtype(times.dtype, np.number) and not np.iscomplexobj(times):
        missing = ~np.isfinite(times)
    else:
        raise DataError(f"times must be numbers or dates, but are {times.dtype}")
    if missing.any():
        raise DataError(f"times must all be there, but row {int(missing.argmax())} has none")
    return times.astype(np.float64)


def checked_folds(folds: NDArray[Any], *, rows: int) -> NDArray[np.int64]:
    """Return fold numbers as int64."""
    _check_column(folds, rows=rows, name="folds")
    if not np.issubdtype(folds.dtype, np.integer):
        raise DataError(f"folds must be whole numbers, but are {folds.dtype}")
    return folds.astype(np.int64)


def _check_column(column: NDArray[Any], *, rows: int, name: str) -> None:
    if column.shape != (rows,) or column.dtype.kind == "O":
        raise DataError(
            f"{name} must be one for each of {rows} images, "
            f"but have shape {column.shape} of {column.dtype}"
        )
