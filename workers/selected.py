"""Images that are read when they are needed: rows of an array that may be larger than memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STREAMED_FROM = 2**30  # bytes of the rows of a training, from which they are not copied


@dataclass(frozen=True, eq=False)
class Selected:
    """Some rows of images (rows, height, width, channels); indexing reads them.

    Attributes:
        source: of all rows, mapped from a file as a rule.
        rows: (n,) which of them, in this order.
    """

    source: NDArray[np.uint8]
    rows: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """As if the rows had been copied."""
        return (len(self.rows), *self.source.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return a copy of some of the rows; the index is a slice or an array."""
        read: NDArray[np.uint8] = self.source[self.rows[index]]
        return read


Images = NDArray[np.uint8] | Selected


def chosen(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Images:
    """Return rows of images: a copy, or if that would be large, what reads them when needed."""
    size = len(rows) * int(np.prod(images.shape[1:]))
    return Selected(images, rows) if size >= STREAMED_FROM else images[rows]
