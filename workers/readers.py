"""How a process opens the images of a source, by a row's number: described as JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search.sources import ImageOptions
from workers.decoding import Header, Shape, Unreadable, decode, fitted, read_header

Description = dict[str, Any]


class Reader(Protocol):
    """The images of a source."""

    def header(self, row: int) -> Header:
        """Return an image's size; `Unreadable` if it will not be read."""

    def image(self, row: int, shape: Shape) -> tuple[NDArray[np.uint8], bytes]:
        """Return an image as uint8 of a shape, and what it was made of; `Unreadable` with why not.

        The latter is equal for equal images, in whatever shape they are wanted.
        """


class FileReader:
    """Image files below a folder."""

    def __init__(self, root: Path, rows: Sequence[str], options: ImageOptions) -> None:
        self._root, self._rows, self._options = root, rows, options

    def header(self, row: int) -> Header:
        """Return an image's size."""
        return read_header(self._root / self._rows[row], self._options)

    def image(self, row: int, shape: Shape) -> tuple[NDArray[np.uint8], bytes]:
        """Return an image as uint8 of a shape, and the file's bytes."""
        path = self._root / self._rows[row]
        return decode(path, shape, self._options), path.read_bytes()


class TorchvisionReader:
    """A data set of torchvision: the parts of it that are used, one after the other."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts
        self._begins = np.cumsum([0, *(len(part) for part in parts)])

    @contextmanager
    def _opened(self, row: int) -> Iterator[Any]:
        """Open a PIL image; each data set fails in a way of its own, some only at the decoding."""
        from torchvision.transforms.functional import to_pil_image

        part = int(np.searchsorted(self._begins, row, side="right")) - 1
        try:
            image = self._parts[part][row - int(self._begins[part])][0]
            with image if hasattr(image, "getexif") else to_pil_image(image) as opened:
                yield opened
        except Unreadable:
            raise
        except Exception as failure:
            line = str(failure).replace("\n", " ") or type(failure).__name__
            raise Unreadable("broken", line) from None

    def header(self, row: int) -> Header:
        """Return an image's size, as it is without its orientation."""
        with self._opened(row) as image:
            return Header(image.height, image.width, image.mode in ("1", "L", "I", "I;16"))

    def image(self, row: int, shape: Shape) -> tuple[NDArray[np.uint8], bytes]:
        """Return an image as uint8 of a shape, and its own pixels."""
        with self._opened(row) as image:
            return fitted(image, shape), image.tobytes()


class HuggingFaceReader:
    """Tables of encoded images that the library `datasets` has saved."""

    def __init__(self, tables: Sequence[Any], column: str, options: ImageOptions) -> None:
        self._tables, self._column, self._options = tables, column, options
        self._begins = np.cumsum([0, *(len(table) for table in tables)])

    def _bytes(self, row: int) -> bytes:
        table = int(np.searchsorted(self._begins, row, side="right")) - 1
        cell = self._tables[table][row - int(self._begins[table])][self._column]
        content = (cell or {}).get("bytes")
        if content is None:  # a path could lead anywhere
            raise Unreadable("missing", "an image must be within the data set's own files")
        return bytes(content)

    def header(self, row: int) -> Header:
        """Return an image's size."""
        return read_header(self._bytes(row), self._options)

    def image(self, row: int, shape: Shape) -> tuple[NDArray[np.uint8], bytes]:
        """Return an image as uint8 of a shape, and its encoded bytes."""
        content = self._bytes(row)
        return decode(content, shape, self._options), content


def _files(description: Description, options: ImageOptions) -> Reader:
    rows = json.loads(Path(description["rows"]).read_text(encoding="utf-8"))
    return FileReader(Path(description["root"]), rows, options)


def _torchvision(description: Description, options: ImageOptions) -> Reader:
    from workers.torchvision_source import open_parts

    del options  # the data set opens its files itself
    parts = open_parts(description["name"], Path(description["root"]), description["parts"])
    return TorchvisionReader(parts)


def _hugging_face(description: Description, options: ImageOptions) -> Reader:
    from workers.hugging_face_source import open_tables

    tables = open_tables(Path(description["root"]), description["tables"], description["image"])
    return HuggingFaceReader(tables, description["image"], options)


READERS: dict[str, Callable[[Description, ImageOptions], Reader]] = {
    "files": _files,
    "torchvision": _torchvision,
    "hugging face": _hugging_face,
}


def open_reader(description: Description, options: ImageOptions) -> Reader:
    """Return the reader that a description is of."""
    return READERS[description["kind"]](description, options)
