"""Image data by name or path: every kind of source has a function that loads it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from search.sources import (
    AS_THEY_ARE,
    HUGGING_FACE,
    NAMED_SOURCES,
    TORCHVISION,
    ImageOptions,
    TorchvisionSource,
    is_path,
)
from spaces.errors import DataError
from spaces.values import nearest
from workers.array_sources import is_idx_folder, is_npy_folder, load_idx, load_npy, load_npz
from workers.decoded import Kept, kept
from workers.fashion_mnist import CLASS_NAMES, load_fashion_mnist
from workers.folders import list_folder
from workers.image_data import ImageData, fingerprint, with_derived_test
from workers.listing import GIVEN, Listing, without_empty_classes
from workers.table import TABLE_SUFFIXES, find_table, list_table
from workers.time_limit import TimeLimit

__all__ = ["GIVEN", "ImageData", "fingerprint", "list_source", "load_data", "of_kept"]

DIGITS_MAX = 16  # scikit-learn's digits are whole numbers from 0 to 16

Progress = Callable[[str], None]


def load_data(
    source: str,
    options: ImageOptions = AS_THEY_ARE,
    *,
    cache: Path,
    progress: Progress = lambda _: None,
    verify: bool = False,
    limit: TimeLimit | None = None,
) -> ImageData:
    """Load images by the name of a data set, or the path of a file or folder (docs/data.md).

    Image files are decoded once, into the cache.

    Args:
        options: how image files are read; arrays are taken as they are.
        cache: where data sets that had to be fetched or decoded are kept.
        progress: told what is being done where it takes longer than a moment.
        verify: whether the checksums of decoded images are checked.
        limit: of the time that decoding may take.

    Raises:
        DataError: the source is unknown, missing or breaks a rule that the message states, or
            decoding takes longer than it may.
    """
    if source in NAMED:
        return NAMED[source](cache, progress)
    if is_path(source):
        arrays = _arrays(Path(source))
        if arrays is not None:
            return arrays
    listing = without_empty_classes(list_source(source, cache=cache, progress=progress))
    found = kept(listing, options, cache=cache, progress=progress, verify=verify, limit=limit)
    return of_kept(listing, found)


def list_source(source: str, *, cache: Path, progress: Progress = lambda _: None) -> Listing:
    """List the rows of a source of image files.

    Raises:
        DataError: it is none, or breaks a rule.
    """
    if source.startswith(TORCHVISION):
        from workers.torchvision_source import list_torchvision

        return list_torchvision(TorchvisionSource.parse(source), cache=cache, progress=progress)
    if source.startswith(HUGGING_FACE):
        from workers.hugging_face_source import list_hugging_face

        return list_hugging_face(Path(source.removeprefix(HUGGING_FACE)))
    if not is_path(source):
        raise DataError(
            f"data must be a known name or the path of a file or folder, but got {source!r}; "
            f"{nearest(source, list(NAMED_SOURCES))}"
        )
    return _list_path(Path(source))


def _list_path(path: Path) -> Listing:
    if path.suffix.lower() in TABLE_SUFFIXES:
        return list_table(path)
    if not path.exists():
        raise DataError(f"data must be a file or folder, but there is none at {path}")
    if not path.is_dir():
        raise DataError(
            f"a data file must be .npz, .npy, .csv or .parquet, but got {path}; "
            "images lie in a folder"
        )
    table = find_table(path)
    return list_folder(path) if table is None else list_table(table)


def _arrays(path: Path) -> ImageData | None:
    """Load what is an array already; None if the path leads to image files."""
    if path.suffix.lower() == ".npz":
        return load_npz(path)
    if path.suffix.lower() == ".npy":
        if not path.is_file():
            raise DataError(f"data must be an .npy file, but there is none at {path}")
        path = path.parent
    if not path.is_dir():
        return None
    if is_npy_folder(path):
        return load_npy(path)
    return load_idx(path) if is_idx_folder(path) else None


def of_kept(listing: Listing, found: Kept) -> ImageData:
    """Return what lies in the cache as data; the images stay mapped."""
    train = found.train
    return ImageData(
        name=listing.name,
        train_images=found.images[:train],
        train_labels=found.labels[:train],
        test_images=found.images[train:],
        test_labels=found.labels[train:],
        class_names=found.class_names,
        test_split=found.test_split,
        columns=found.columns,
        decoded=found,
    )


def _fashion_mnist(cache: Path, progress: Progress) -> ImageData:
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


def _digits(cache: Path, progress: Progress) -> ImageData:
    from sklearn.datasets import load_digits

    del cache, progress  # they come with scikit-learn
    digits = load_digits()
    images = np.rint(digits.images * (255 / DIGITS_MAX)).astype(np.uint8)[..., None]
    names = tuple(str(digit) for digit in range(10))
    return with_derived_test("digits", images, digits.target.astype(np.int64), names)


NAMED: dict[str, Callable[[Path, Progress], ImageData]] = {
    "fashion-mnist": _fashion_mnist,
    "digits": _digits,
}
