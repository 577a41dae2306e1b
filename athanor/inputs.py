"""What is to be predicted: image files, folders of them, patterns, arrays, a data set's test rows.

Files are decoded by all cores, into a file that is gone afterwards; what cannot be read is skipped.
"""

import glob
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.row_sketch import RowSketch
from search.sources import (
    LEAST_SIDE,
    MAX_SIDE,
    NAMED_SOURCES,
    SCHEMES,
    ImageOptions,
    absolute,
)
from spaces.errors import DataError, InputError
from workers.data import load_data
from workers.decode_pool import DecodePool
from workers.decoding import Shape
from workers.decoding_run import ROWS, decode_rows
from workers.folders import images_below, is_image_name
from workers.npz import read_images

ARRAYS = ".npz"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Images to predict.

    Attributes:
        images: uint8 (rows, height, width, channels).
        labels: (rows,), if they are known.
        class_names: that labels are indices into; none where a source has no names.
        skipped: what could not be read, and why.
        rows: of a data set's test, by their content.
    """

    images: NDArray[np.uint8]
    names: list[str]
    labels: NDArray[Any] | None = None
    class_names: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    rows: RowSketch | None = None


@contextmanager
def opened_inputs(
    sources: list[str],
    options: ImageOptions,
    *,
    of_test: bool,
    image_shape: tuple[int, int, int],
    cache: Path,
    progress: Callable[[str], None],
) -> Iterator[Inputs]:
    """Yield the images of some sources, files as a model of images of this shape expects them.

    Args:
        of_test: the one source is a data set, in any form, whose test images are meant.

    Raises:
        InputError: kinds are mixed, or there is no image that can be read.
    """
    if of_test:
        source = absolute(sources[0])
        yield _test_of(source, _of_shape(options, image_shape), cache, progress)
        return
    apart = [source for source in sources if _is_apart(source)]
    if apart and len(sources) > 1:
        raise InputError(f"{apart[0]} must be the only input, but got {len(sources)}")
    if apart:
        yield _arrays(apart[0], _of_shape(options, image_shape), cache, progress)
        return
    files = find_files(sources)
    with tempfile.TemporaryDirectory(prefix="athanor-") as folder:
        yield _decoded(files, options, Shape(*image_shape), Path(folder), progress)


def _is_apart(source: str) -> bool:
    return source in NAMED_SOURCES or source.startswith(SCHEMES) or source.endswith(ARRAYS)


def _arrays(
    source: str, options: ImageOptions, cache: Path, progress: Callable[[str], None]
) -> Inputs:
    if not source.endswith(ARRAYS):
        return _test_of(source, options, cache, progress)
    images, labels, classes = read_images(Path(source))
    names = [f"{Path(source).name}/{row}" for row in range(len(images))]
    return Inputs(images, names, labels, classes)


def _test_of(
    source: str, options: ImageOptions, cache: Path, progress: Callable[[str], None]
) -> Inputs:
    """Return the test images of a data set."""
    data = load_data(source, options, cache=cache, progress=progress)
    names = [f"{data.name}/test/{row}" for row in range(len(data.test_labels))]
    return Inputs(data.test_images, names, data.test_labels, data.class_names, rows=data.test_rows)


def _of_shape(options: ImageOptions, shape: tuple[int, int, int]) -> ImageOptions:
    """Return how image files become what a model of images of this shape expects.

    Sides of unlike length, or beyond what may be asked for, can only be those of the files.
    """
    height, width, channels = shape
    square = height == width and LEAST_SIDE <= height <= MAX_SIDE
    changes = {"image_size": height if square else None, "channels": channels}
    return options.model_copy(update=changes)


def labels_of_model(
    inputs: Inputs, class_names: tuple[str, ...], *, progress: Callable[[str], None]
) -> NDArray[Any] | None:
    """Return labels as indices into a model's class names; None, if these are not known.

    Classes are the same if their names are. Where the inputs have none, numbers are taken as the
    model's; if a class is not the model's, that is said.
    """
    labels, given = inputs.labels, inputs.class_names
    if labels is None or not class_names or given in ((), class_names):
        return labels
    numbers = {name: number for number, name in enumerate(class_names)}
    foreign = [given[label] for label in np.unique(labels) if given[label] not in numbers]
    if foreign:
        progress(
            f"accuracy is not told, as the model has other classes: {foreign[0]!r} is not "
            f"among its {len(class_names)}, the first of which is {class_names[0]!r}"
        )
        return None
    places = np.array([numbers.get(name, -1) for name in given], dtype=np.int64)
    mapped: NDArray[np.int64] = places[labels]
    return mapped


def find_files(sources: list[str]) -> list[str]:
    """Return the paths of image files: those named, those in folders, those that patterns match.

    Raises:
        InputError: a source is no image by its name, or a pattern or folder has no image.
    """
    found: list[str] = []
    for source in sources:
        if Path(source).is_dir():
            images = [f"{source.rstrip('/')}/{path}" for path in images_below(Path(source))]
        elif glob.has_magic(source) and not Path(source).exists():
            matches = sorted(glob.glob(source, recursive=True))
            images = [path for path in matches if is_image_name(path) and Path(path).is_file()]
        elif is_image_name(source):
            images = [source]
        else:
            raise InputError(
                f"inputs must be image files, folders, patterns, one .npz file or the name of a "
                f"data set such as {NAMED_SOURCES[0]}, but got {source}"
            )
        if not images:
            raise InputError(f"an input must have images, but there are none in {source}")
        found += images
    return found


def _decoded(
    files: list[str],
    options: ImageOptions,
    shape: Shape,
    folder: Path,
    progress: Callable[[str], None],
) -> Inputs:
    (folder / ROWS).write_text(json.dumps([str(Path(file).absolute()) for file in files]))
    reader = {"kind": "files", "root": "/", "rows": str(folder / ROWS)}
    with DecodePool(folder) as pool:
        images, _, failures = decode_rows(pool, reader, options, shape, len(files), progress)
    skipped = tuple((files[row], details) for row, (_, details) in failures.items())
    if len(skipped) == len(files):
        name, details = skipped[0]
        more = f" (nor can the other {len(files) - 1:,})" if len(files) > 1 else ""
        raise DataError(f"{name} cannot be read: {details}{more}")
    rows = np.array([row for row in range(len(files)) if row not in failures])
    kept = images if not failures else images[rows]
    return Inputs(kept, [files[row] for row in rows], skipped=skipped)
