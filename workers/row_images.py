"""Flat rows of numbers as small square images, for programs that know nothing else."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SIDE = 8  # pixels; smaller images leave a network no room to halve them
DARK, BRIGHT = 32.0, 223.0  # of the smallest and largest value that was seen; others may be beyond


@dataclass(frozen=True, eq=False)
class RowImages:
    """How rows (rows, features) become images (rows, side, side, 1).

    Each feature is a pixel, row by row; pixels without one are black.

    Attributes:
        low, span: of each feature in the rows that were measured (features,).
    """

    low: NDArray[np.float64]
    span: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float64]) -> "RowImages":
        """Measure training rows."""
        low = rows.min(0)
        span = rows.max(0) - low
        return cls(low=low, span=np.where(span > 0.0, span, 1.0))

    def images(self, rows: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return rows as images."""
        side = max(LEAST_SIDE, math.ceil(math.sqrt(len(self.low))))
        values = DARK + (BRIGHT - DARK) * (rows - self.low) / self.span
        pixels = np.zeros((len(rows), side * side), dtype=np.uint8)
        pixels[:, : len(self.low)] = np.rint(values.clip(0.0, 255.0)).astype(np.uint8)
        return pixels.reshape(len(rows), side, side, 1)
