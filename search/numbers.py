"""Whether numbers are to be predicted, or classes: the labels' own type says it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_numbers(labels: NDArray[Any]) -> bool:
    """Whether labels (float64) are numbers to be predicted, not classes (int64)."""
    return bool(np.issubdtype(labels.dtype, np.floating))
