"""Two networks judged on the same images, compared on those that one has right and one has not.

(Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
Psychometrika 12, 1947.) All other images say nothing about which of the two is better, so the
difference is known better than either accuracy.
"""

import base64
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.metrics import Metric, Targets
from search.predictions import Z_95
from search.score_errors import resampled

DRAWS = 200  # of rows, for the error of a difference


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much one network is better than another.

    Attributes:
        share: of all images, how many more it has right, or by how much its score is higher.
        error: the standard error of that.
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


def paired(
    metric: Metric,
    targets: Targets,
    one: NDArray[Any],
    other: NDArray[Any],
    *,
    seed: int,
) -> Difference:
    """Compare what two models say of the same rows, (rows, classes or 1) each.

    By accuracy on the rows that one has right and one has not; by another metric the error is
    that of the difference over rows drawn again (B. Efron, Annals of Statistics 7, 1979).
    """
    if metric.name == "accuracy":
        return difference(*(packed(said.argmax(1) == targets) for said in (one, other)))
    share = metric.score(targets, one) - metric.score(targets, other)
    draws = [
        resampled(metric, targets, said, seed=seed, count=DRAWS) for said in (one, other)
    ]  # equal seeds draw equal rows
    return Difference(share=share, error=float(np.nanstd(draws[0] - draws[1], ddof=1)))
