"""Two networks judged on the same images, compared on those that one has right and one has not.

(Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
Psychometrika 12, 1947.) All other images say nothing about which of the two is better, so the
difference is known better than either accuracy.
"""

import base64
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.predictions import Z_95


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much one network is more accurate than another.

    Attributes:
        share: of all images, how many more it has right; negative if it has fewer.
        error: the standard error of that share.
    """

    share: float
    error: float

    @property
    def tied(self) -> bool:
        """Whether the 95 % interval of the difference holds zero."""
        return abs(self.share) <= Z_95 * self.error

    def leads(self, *, errors: float) -> bool:
        """Whether the lead is larger than so many standard errors."""
        return self.share > errors * self.error


def difference(one: str, other: str) -> Difference:
    """Compare two networks by what `packed` has made of the images that each has right.

    Raises:
        ValueError: they were judged on different numbers of images.
    """
    mine, theirs = unpacked(one), unpacked(other)
    rows = len(mine)
    if rows != len(theirs):
        raise ValueError(f"two networks must see the same images, but got {rows} and {len(theirs)}")
    won, lost = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    variance = (won + lost) - (won - lost) ** 2 / rows
    return Difference(share=(won - lost) / rows, error=math.sqrt(max(variance, 0.0)) / rows)


def packed(right: NDArray[np.bool_]) -> str:
    """Return (rows,), which images a network has right, as text: a sixth of a character each."""
    return f"{len(right)}:{base64.b64encode(np.packbits(right).tobytes()).decode('ascii')}"


def unpacked(text: str) -> NDArray[np.bool_]:
    """Return (rows,), which images a network has right, of what `packed` has made of it."""
    rows, _, coded = text.partition(":")
    bits = np.frombuffer(base64.b64decode(coded), dtype=np.uint8)
    return np.unpackbits(bits, count=int(rows)).astype(bool)
