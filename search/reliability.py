"""Whether a model is right as often as it says: reliability by bins, and the error over all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of equal width between 0 and 1, as in arXiv 1706.04599


@dataclass(frozen=True, slots=True)
class Bin:
    """The rows whose most probable class was given a probability above `low`, up to `high`.

    Attributes:
        confidence: the mean of these probabilities.
        accuracy: the share of the rows that are right.
    """

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def reliability(
    probabilities: NDArray[np.floating[Any]], targets: NDArray[np.int64], *, bins: int = BINS
) -> tuple[Bin, ...]:
    """Return the bins of probabilities (rows, classes) that have any rows, the lowest first."""
    sure = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == targets
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    return tuple(
        Bin(
            low=number / bins,
            high=(number + 1) / bins,
            rows=int(mine.sum()),
            confidence=float(sure[mine].mean()),
            accuracy=float(right[mine].mean()),
        )
        for number in range(bins)
        if (mine := place == number).any()
    )


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Return the expected calibration error: by how much confidence and accuracy differ, by rows.

    (M. P. Naeini, G. F. Cooper and M. Hauskrecht, AAAI 2015.)
    """
    rows = sum(each.rows for each in bins)
    return sum(each.rows * abs(each.confidence - each.accuracy) for each in bins) / rows
