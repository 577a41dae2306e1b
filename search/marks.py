"""Which images a network has right, written small enough to be kept with each trial."""

import base64
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from search.predictions import share_interval
from search.score_errors import design_effect


@dataclass(frozen=True, eq=False)
class Marks:
    """Which images a network has right.

    Attributes:
        right: (rows,).
        groups: (rows,) of images that are right or wrong together; None: all stand for themselves.
    """

    right: NDArray[np.bool_]
    groups: NDArray[np.int64] | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what `text` was made of; groups are numbered anew."""
        rows, _, coded = text.partition(":")
        coded, _, grouped = coded.partition(":")
        bits = np.frombuffer(base64.b64decode(coded), dtype=np.uint8)
        right = np.unpackbits(bits, count=int(rows)).astype(bool)
        if not grouped:
            return cls(right)
        steps = np.frombuffer(zlib.decompress(base64.b64decode(grouped)), dtype="<i4")
        return cls(right, np.cumsum(steps, dtype=np.int64))

    @cached_property
    def text(self) -> str:
        """The same as text: a sixth of a character an image, one or two more for its group."""
        coded = f"{len(self.right)}:{_in_ascii(np.packbits(self.right).tobytes())}"
        if self.groups is None:
            return coded
        _, first, unit = np.unique(self.groups, return_index=True, return_inverse=True)
        number = np.empty(len(first), dtype=np.int64)  # by the group's first image: steps are small
        number[np.argsort(first)] = np.arange(len(first))
        steps = np.diff(number[unit], prepend=0).astype("<i4")
        return f"{coded}:{_in_ascii(zlib.compress(steps.tobytes(), 9))}"

    @property
    def share(self) -> float:
        """The accuracy."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval over other images, and groups of them, of the same kind."""
        return share_interval(self.share, rows=len(self.right) / self.effect_on(self.right))

    def effect_on(self, values: NDArray[np.bool_] | NDArray[np.float64]) -> float:
        """Return by how much groups raise the variance of the mean of these values (rows,)."""
        if self.groups is None:
            return 1.0
        return design_effect(np.asarray(values, dtype=np.float64), self.groups)


def _in_ascii(coded: bytes) -> str:
    return base64.b64encode(coded).decode("ascii")
