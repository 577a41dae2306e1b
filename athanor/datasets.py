"""A data set object, such as torchvision's, becomes a source that every worker can open."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.sources import AS_THEY_ARE, ImageOptions
from spaces.errors import DataError
from workers.decoding import GREY_MODES, Shape, Unreadable, fitted
from workers.decoding_run import shape_for
from workers.files import new_folder

FILES = {"train": ("images", "labels"), "test": ("test_images", "test_labels")}


class Dataset(Protocol):
    """What has a length and gives (image, label) by number; torchvision's and torch's do.

    Images are PIL's, or arrays of (height, width) or (height, width, channels), or tensors of
    (channels, height, width), of bytes or of numbers from 0 to 1. Labels are whole numbers.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def write_dataset(
    folder: Path,
    train: Dataset,
    test: Dataset | None = None,
    *,
    options: ImageOptions = AS_THEY_ARE,
    overwrite: bool = False,
) -> Path:
    """Write a data set as a folder of `.npy` files, for `data:` or `--data`; return the folder.

    Args:
        test: the rows to test by; None: 30 % are kept for that when the folder is used.
        options: how sizes and channels are made equal.

    Raises:
        DataError: an image or label cannot be used, or the folder is there already.
    """
    if folder.exists() and not overwrite:
        raise DataError(f"a data set must be written to a new folder, but {folder} is there")
    parts = {"train": train} if test is None else {"train": train, "test": test}
    headers = [
        [image.height, image.width, image.mode in GREY_MODES]
        for name, part in parts.items()
        for image, _ in _rows(part, name)
    ]
    if not headers:
        raise DataError("a data set must have images, but has none")
    shape, _ = shape_for(headers, options)
    with new_folder(folder.absolute(), replace=overwrite) as staging:
        for name, part in parts.items():
            labels, file = _arrays(part, name, shape, staging)
            np.save(staging / f"{file}.npy", labels, allow_pickle=False)
        classes = getattr(train, "classes", None)
        if isinstance(classes, (list, tuple)) and all(isinstance(c, str) for c in classes):
            np.save(staging / "class_names.npy", np.array(classes), allow_pickle=False)
    return folder


def _arrays(part: Dataset, name: str, shape: Shape, folder: Path) -> tuple[NDArray[np.int64], str]:
    """Write a part's images; return its labels, and the name of their file."""
    images_name, labels_name = FILES[name]
    size = (len(part), shape.height, shape.width, shape.channels)
    images = np.lib.format.open_memmap(
        folder / f"{images_name}.npy", mode="w+", dtype=np.uint8, shape=size
    )
    labels = np.empty(len(part), dtype=np.int64)
    for row, (image, label) in enumerate(_rows(part, name)):
        try:
            images[row] = fitted(image, shape)
        except Unreadable as failure:
            raise DataError(f"image {row} of the {name} rows cannot be used: {failure}") from None
        labels[row] = label
    images.flush()
    return labels, labels_name


def _rows(part: Dataset, name: str) -> Iterator[tuple[Image.Image, int]]:
    for row in range(len(part)):
        image, label = part[row][:2]
        try:
            number = int(label)
        except (TypeError, ValueError):
            number = -1
        if number < 0 or number != label:
            raise DataError(f"label {row} of the {name} rows must be 0, 1, …, but is {label!r}")
        yield _picture(image, row, name), number


def _picture(image: Any, row: int, name: str) -> Image.Image:
    """Return an image of any of the kinds that data sets give as PIL's."""
    if isinstance(image, Image.Image):
        return image
    tensor = hasattr(image, "permute")
    array = np.asarray(image)
    if tensor and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if np.issubdtype(array.dtype, np.floating) and array.min() >= 0.0 and array.max() <= 1.0:
        array = np.rint(array * 255.0).astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise DataError(
            f"image {row} of the {name} rows must be PIL's, bytes, or numbers from 0 to 1, "
            f"but is {array.dtype} of {array.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(array))
