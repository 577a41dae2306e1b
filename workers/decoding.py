"""One image file becomes bytes of a given shape, or one line says why it cannot.

An image is scaled until it covers the wanted shape, bilinearly and with antialiasing, and its
middle is cut out. Transparent parts are white. Grey values of 16 bits are divided by the largest
that as many bits as the file uses can hold: 4095 where the largest value is 3000. A JPEG's
orientation is heeded. Large JPEGs are decoded at half their size or less, as far as that leaves
twice the pixels that are wanted. What is done with the pixels stands in the script that goes with
exported models (`workers/standalone.py`), so that they are read there as in training.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from search.sources import AS_THEY_ARE, ImageOptions
from workers import standalone
from workers.standalone import KEPT_DETAIL, MAX_FILE, ORIENTATION, SWAPPED, Unusable

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")

Reason = Literal["missing", "forbidden", "empty", "file size", "format", "pixels", "broken", "mode"]
WORDS: dict[Reason, str] = {
    "missing": "no file",
    "forbidden": "not allowed to be read",
    "empty": "empty",
    "file size": "too large a file",
    "format": "of a format that is not allowed, or no image",
    "pixels": "of too many pixels",
    "broken": "broken or cut off",
    "mode": "of a kind of pixels that is not known",
}


class Unreadable(Exception):
    """An image cannot be used; `reason` is the kind of fault, the message its details."""

    def __init__(self, reason: Reason, details: str) -> None:
        super().__init__(details)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """What an image says of itself: its size as it is to be looked at, and whether it is grey."""

    height: int
    width: int
    grey: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """What an image becomes: uint8 of (height, width, channels), 1 or 3 of these."""

    height: int
    width: int
    channels: int


def read_header(source: Path | bytes, options: ImageOptions = AS_THEY_ARE) -> Header:
    """Read an image's size without decoding it; `Unreadable` if it will not be read."""
    with _opened(source, options) as image:
        turned = image.format == "JPEG" and image.getexif().get(ORIENTATION) in SWAPPED
        width, height = reversed(image.size) if turned else image.size
        return Header(height=height, width=width, grey=image.mode in GREY_MODES)


def decode(
    source: Path | bytes, shape: Shape, options: ImageOptions = AS_THEY_ARE
) -> NDArray[np.uint8]:
    """Return an image file as uint8 of a shape.

    Raises:
        Unreadable: with the reason.
    """
    with _opened(source, options) as image:
        if image.format == "JPEG":
            side = KEPT_DETAIL * max(shape.height, shape.width)
            image.draft(None, (side, side))
        image.load()
        return fitted(image, shape)


def fitted(image: Image.Image, shape: Shape) -> NDArray[np.uint8]:
    """Return an image that is open as uint8 of a shape; `Unreadable` if its pixels are strange."""
    try:
        return standalone.fitted(image, (shape.height, shape.width, shape.channels))
    except Unusable as failure:
        raise Unreadable("mode", str(failure)) from None


@contextmanager
def _opened(source: Path | bytes, options: ImageOptions) -> Iterator[Image.Image]:
    """Open an image within the limits; whatever a decoder raises becomes `Unreadable`."""
    size = _size(source)
    if size == 0:
        raise Unreadable("empty", "the file is empty")
    if size > MAX_FILE:
        raise Unreadable("file size", f"a file must have at most {MAX_FILE:,} bytes, not {size:,}")
    formats = tuple(name.upper() for name in options.image_formats)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata: they do not matter
            with Image.open(file, formats=formats) as image:
                _check_pixels(image, options.max_pixels)
                yield image
    except UnidentifiedImageError:
        known = " or ".join(formats)
        raise Unreadable("format", f"it must be a {known} image (--format allows others)") from None
    except PermissionError as failure:
        raise Unreadable("forbidden", str(failure)) from None
    except Image.DecompressionBombError as failure:
        raise Unreadable("pixels", str(failure)) from None
    except MemoryError:
        raise Unreadable("pixels", "it does not fit into memory") from None
    except Unreadable:
        raise
    except Exception as failure:  # decoders raise whatever they like of a broken file
        line = str(failure).replace("\n", " ") or type(failure).__name__
        raise Unreadable("broken", line) from None


def _size(source: Path | bytes) -> int:
    if isinstance(source, bytes):
        return len(source)
    try:
        if not source.is_file():
            raise Unreadable("missing", "there is no such file")
        return source.stat().st_size
    except (OSError, ValueError) as failure:
        raise Unreadable("missing", str(failure)) from None


def _check_pixels(image: Image.Image, most: int) -> None:
    pixels = image.width * image.height
    if pixels > most:
        raise Unreadable("pixels", f"an image must have at most {most:,} pixels, not {pixels:,}")
