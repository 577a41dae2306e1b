"""What a network's outputs mean: classes' probabilities, or a number."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from search.numbers import is_numbers


@dataclass(frozen=True, slots=True)
class TargetScale:
    """Mean and deviation of the numbers that a network learns, by which it sees them."""

    mean: float
    std: float

    @classmethod
    def of(cls, labels: NDArray[Any]) -> "TargetScale | None":
        """Measure training numbers (rows,); of classes there is no scale."""
        if not is_numbers(labels):
            return None
        return cls(mean=float(labels.mean()), std=float(labels.std()) or 1.0)

    def standardised(self, numbers: NDArray[Any]) -> NDArray[np.float32]:
        """Return numbers (rows,) as the network learns them."""
        scaled: NDArray[np.float32] = ((numbers - self.mean) / self.std).astype(np.float32)
        return scaled


def as_answers(outputs: Tensor, scale: TargetScale | None) -> Tensor:
    """Return what outputs (n, classes or 1) say: probabilities (n, classes), or numbers (n, 1).

    Numbers are float64: in float32, those of 100,000 with a deviation of 1 would lose much.
    """
    if scale is None:
        return outputs.float().softmax(dim=1)
    return outputs.double() * scale.std + scale.mean
