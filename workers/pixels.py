"""The pixels of training rows, and how a batch's windows are cut out of them.

Rows of usual data are padded once and stay on the device. Those that would be too much for memory
are read when their batch comes, in a thread that is one batch ahead.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.selected import Selected
from workers.staging import staged

Rows = NDArray[np.int64]


def windows(images: Tensor, height: int, width: int) -> Tensor:
    """Return a view (n, tops, lefts, height, width, channels) of all windows of each image.

    Args:
        images: (n, padded height, padded width, channels), contiguous.
    """
    n, padded_height, padded_width, channels = images.shape
    by_image, by_row, by_column, by_channel = images.stride()
    return images.as_strided(
        (n, padded_height - height + 1, padded_width - width + 1, height, width, channels),
        (by_image, by_row, by_column, by_row, by_column, by_channel),
    )


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Return pixels as a tensor: in the same memory, or a copy of what must not be written to.

    Files are mapped to be read only, and torch warns of tensors on these.
    """
    return torch.from_numpy(np.require(images, requirements="W"))


class Resident:
    """Pixels in the memory of the device."""

    def __init__(self, images: NDArray[np.uint8], *, shift: int, device: torch.device) -> None:
        side = images.shape[1:3]
        self._device = device
        padded = as_tensor(_padded(images, shift)).to(device)
        self.windows = windows(padded, *side)

    def expect(self, now: Rows, then: Rows) -> None:
        """Do nothing: all rows are here."""

    def cut(self, rows: Rows, places: Rows) -> Tensor:
        """Return a window (n, height, width, channels) of each row, a copy.

        Args:
            places: (2, n) how far down and right in the padded image each window begins.
        """
        chosen = staged(np.stack([rows, *places]), self._device)
        return self.windows[chosen[0], chosen[1], chosen[2]]


class Streamed:
    """Pixels that are read from a file, a batch ahead.

    They are read into two places in turn, which stay as they are: new memory costs more than what
    is read.
    """

    def __init__(self, images: Selected, *, shift: int, device: torch.device) -> None:
        self._images, self._shift, self._device = images, shift, device
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pixels")
        self._places = [self._place(0), self._place(0)]
        self._here = self._places[0]
        self._rows: Rows = np.empty(0, dtype=np.int64)
        self._coming: Future[NDArray[np.uint8]] = self._start(self._rows)

    def expect(self, now: Rows, then: Rows) -> None:
        """Wait for the rows of a batch, and begin to read those of the next one."""
        if not np.array_equal(self._rows, now):
            self._coming = self._start(now)
        self._here = self._coming.result()
        self._rows, self._coming = then, self._start(then)

    def cut(self, rows: Rows, places: Rows) -> Tensor:
        """Return a window of each row, which must be expected, as `Resident` does."""
        padded = staged(self._here, self._device)
        cut = windows(padded, *self._images.shape[1:3])
        chosen = staged(np.stack([np.arange(len(rows)), *places]), self._device)
        return cut[chosen[0], chosen[1], chosen[2]]

    def _start(self, rows: Rows) -> Future[NDArray[np.uint8]]:
        return self._reader.submit(self._read, rows)

    def _read(self, rows: Rows) -> NDArray[np.uint8]:
        """Read into the place in which the batch before is not; return what is filled of it."""
        self._places.reverse()
        if len(self._places[0]) < len(rows):
            self._places[0] = self._place(len(rows))
        padded, at = self._places[0][: len(rows)], self._shift
        _, height, width, _ = self._images.shape
        padded[:, at : at + height, at : at + width] = self._images[rows]
        return padded

    def _place(self, rows: int) -> NDArray[np.uint8]:
        _, height, width, channels = self._images.shape
        around = 2 * self._shift
        return np.zeros((rows, height + around, width + around, channels), dtype=np.uint8)


def _padded(images: NDArray[np.uint8], shift: int) -> NDArray[np.uint8]:
    if not shift:
        return images
    return np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
