"""The IDX format of MNIST and its relatives: a magic number, dimensions, then bytes."""

import numpy as np
from numpy.typing import NDArray

from spaces.errors import DataError

MAX_FILE = 2**31  # bytes of a decompressed file
UINT8 = 0x08  # the only element type that image data sets use


def read_idx(content: bytes, *, name: str) -> NDArray[np.uint8]:
    """Decode an uncompressed IDX file of bytes.

    Raises:
        DataError: the magic number, the type or the length is not that of such a file.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{name} must start with an IDX magic number, but has {content[:4]!r}")
    kind, dimensions = content[2], content[3]
    if kind != UINT8 or not dimensions:
        raise DataError(
            f"{name} must hold bytes (type 8), but has type {kind} in {dimensions} dimensions"
        )
    begin = 4 + 4 * dimensions
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, begin, 4)]
    expected = begin + int(np.prod(shape, dtype=np.uint64))
    if len(content) != expected:
        raise DataError(f"{name} must have {expected} bytes for {shape}, but has {len(content)}")
    read_only = np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
    return read_only.copy()  # torch warns of arrays that must not be written
