"""Images that are arrays already: `.npz` files, folders of `.npy` files, folders of IDX files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.splits import Columns
from spaces.errors import DataError
from workers.idx import read_idx_file
from workers.image_data import ImageData, with_derived_test
from workers.listing import GIVEN
from workers.npz import (
    BROKEN,
    NAMES,
    Arrays,
    check_range,
    checked_folds,
    checked_groups,
    checked_images,
    checked_labels,
    checked_names,
    checked_targets,
    checked_times,
    read_arrays,
    with_numbers,
)

IDX_FILES = {
    "train_images": ("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    "train_labels": ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte"),
    "test_images": ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"),
    "test_labels": ("t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"),
}


def load_npz(path: Path) -> ImageData:
    """Load an `.npz` file; `DataError` states the first rule that it breaks."""
    return _of_arrays(read_arrays(path), path, name=path.stem)


def load_npy(folder: Path) -> ImageData:
    """Load a folder of `.npy` files, called as the arrays of an `.npz` file are.

    Images of bytes are mapped, not read: where the folder brings test images, too, they may be more
    than fit into memory.

    Raises:
        DataError: a file is broken or holds objects, or the arrays break a rule.
    """
    arrays: Arrays = {}
    for key, aliases in NAMES.items():
        path = next((folder / f"{alias}.npy" for alias in aliases if _has(folder, alias)), None)
        if path is None:
            continue
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except BROKEN as failure:
            line = str(failure).replace("\n", " ")
            raise DataError(f"{path} must hold a plain array: {line}") from None
        arrays[key] = np.asarray(mapped)
    return _of_arrays(arrays, folder, name=folder.name)


def _has(folder: Path, alias: str) -> bool:
    return (folder / f"{alias}.npy").is_file()


def is_npy_folder(folder: Path) -> bool:
    """Whether a folder holds images as `.npy`."""
    return any(_has(folder, alias) for alias in NAMES["train_images"])


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds images in the form of MNIST."""
    return _idx_path(folder, "train_images") is not None


def load_idx(folder: Path) -> ImageData:
    """Load a folder of the four files of MNIST's form, compressed or not.

    Raises:
        DataError: a file is missing or broken.
    """
    arrays: Arrays = {}
    for key, names in IDX_FILES.items():
        path = _idx_path(folder, key)
        if path is None:
            raise DataError(f"{folder} must hold {names[0]}, compressed or not, but does not")
        arrays[key] = read_idx_file(path)
    return _of_arrays(arrays, folder, name=folder.name)


def _idx_path(folder: Path, key: str) -> Path | None:
    names = [f"{name}{ending}" for name in IDX_FILES[key] for ending in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _of_arrays(arrays: Arrays, path: Path, *, name: str) -> ImageData:
    arrays = with_numbers(arrays)
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
        return with_derived_test(name, images, labels, names, columns)
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
        check_range(test_labels, classes=len(names), name="test labels")
    return ImageData(
        name=name,
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
        names = checked_names(given)
        check_range(labels, classes=len(names), name="training labels")
        return names
    if len(present) != int(present[-1]) + 1:
        missing = int((present != np.arange(len(present))).argmax())
        raise DataError(
            f"labels must be 0..{len(present) - 1} for {len(present)} classes without "
            f"class_names, but reach {present[-1]} and {missing} does not occur"
        )
    return tuple(str(label) for label in present)
