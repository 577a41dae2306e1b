"""The IDX format of MNIST and its relatives: a magic number, dimensions, then bytes."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spaces.errors import DataError

MAX_FILE = 2**31  # bytes of a decompressed file
MAX_DIMENSIONS = 8
HEADER = 4 + 4 * MAX_DIMENSIONS  # bytes, at most
UINT8 = 0x08  # the only element type that image data sets use


def read_idx(content: bytes, *, name: str) -> NDArray[np.uint8]:
    """Decode an uncompressed IDX file of bytes.

    Raises:
        DataError: the magic number, the type or the length is not that of such a file.
    """
    shape, begin = _shape(content, name)
    expected = begin + math.prod(shape)
    if len(content) != expected:
        raise DataError(f"{name} must have {expected} bytes for {shape}, but has {len(content)}")
    read_only = np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
    return read_only.copy()  # torch warns of arrays that must not be written


def read_idx_file(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file, compressed or not; no more of it than its header promises.

    Raises:
        DataError: it is broken, or promises more than `MAX_FILE` bytes.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(HEADER)
            shape, begin = _shape(head, str(path))
            expected = begin + math.prod(shape)
            if expected > MAX_FILE:
                raise DataError(f"{path} must hold at most {MAX_FILE:,} bytes, not {expected:,}")
            content = head + file.read(max(0, expected - len(head)) + 1)
    except (OSError, EOFError, zlib.error) as failure:
        raise DataError(f"{path} must be a whole file: {failure}") from None
    if len(content) > max(expected, len(head)):
        raise DataError(f"{path} must have {expected} bytes for {shape}, but has more")
    return read_idx(content, name=str(path))


def _shape(content: bytes, name: str) -> tuple[list[int], int]:
    """Return the dimensions that a header states, and where it ends."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{name} must start with an IDX magic number, but has {content[:4]!r}")
    kind, dimensions = content[2], content[3]
    if kind != UINT8 or not 0 < dimensions <= MAX_DIMENSIONS:
        raise DataError(
            f"{name} must hold bytes (type 8), but has type {kind} in {dimensions} dimensions"
        )
    begin = 4 + 4 * dimensions
    return [int.from_bytes(content[at : at + 4], "big") for at in range(4, begin, 4)], begin
