"""What a network scores on rows drawn again, kept with it where no accuracy counts.

Networks that were judged on the same rows have drawn the same ones, so the differences of their
scores are known better than these (B. Efron, Annals of Statistics 7, 1979).
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from search.metrics import Metric, Targets
from search.score_errors import resampled

DIGITS = 6  # of each score, as it is written


@dataclass(frozen=True, eq=False)
class Draws:
    """What a network scores on its rows, and on others of the same kind that might have been.

    Attributes:
        scores: (draws,), NaN where the rows drawn have no score.
    """

    score: float
    scores: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        metric: Metric,
        targets: Targets,
        said: NDArray[Any],
        *,
        seed: int,
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Draw rows, or groups of them, for what a network says (rows, classes or 1)."""
        drawn = resampled(metric, targets, said, seed=seed, groups=groups)
        return cls(metric.score(targets, said), drawn)

    @classmethod
    def read(cls, score: float, written: list[float | None]) -> Self:
        """Return what `written` has written."""
        return cls(score, np.array(written, dtype=np.float64))

    @property
    def written(self) -> list[float | None]:
        """The scores as JSON; databases know no NaN."""
        found = [None if math.isnan(score) else score for score in self.scores.tolist()]
        return [None if score is None else float(f"{score:.{DIGITS}g}") for score in found]
