"""Two networks judged on the same images, compared on those that one has right and one has not.

(Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
Psychometrika 12, 1947.) All other images say nothing about which of the two is better, so the
difference is known better than either accuracy.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.draws import Draws
from search.marks import Marks
from search.metrics import Metric, Targets
from search.predictions import Z_95

Judged = Marks | Draws  # by accuracy, or by another metric


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


def difference(one: Judged, other: Judged) -> Difference:
    """Compare two networks that were judged on the same rows, in the same way.

    Raises:
        ValueError: they were judged on different numbers of images, or drew so many rows.
    """
    if isinstance(one, Marks) and isinstance(other, Marks):
        return _of_marks(one, other)
    if isinstance(one, Draws) and isinstance(other, Draws):
        error = float(np.nanstd(one.scores - other.scores, ddof=1))
        return Difference(share=one.score - other.score, error=error)
    raise ValueError("two networks must be judged in the same way, but one has no accuracy")


def _of_marks(one: Marks, other: Marks) -> Difference:
    """Compare two networks by the images that each has right.

    Images of one group are right or wrong together, so they say less (`design_effect`). One image
    more counts for each of the two: so few differ, sometimes, that what they say is an accident (A.
    Agresti and Y. Min, Statistics in Medicine 24, 2005).
    """
    rows = len(one.right)
    if rows != len(other.right):
        raise ValueError(
            f"two networks must see the same images, but got {rows} and {len(other.right)}"
        )
    leads = one.right.astype(np.float64) - other.right
    share, differing = float(leads.mean()), float(np.abs(leads).sum()) + 2.0
    grouped = other if one.groups is None else one
    variance = (differing - rows * share**2) * grouped.effect_on(leads)
    return Difference(share=share, error=math.sqrt(variance) / rows)


def paired(
    metric: Metric,
    targets: Targets,
    one: NDArray[Any],
    other: NDArray[Any],
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> Difference:
    """Compare what two models say of the same rows, (rows, classes or 1) each.

    By accuracy on the rows that one has right and one has not; by another metric the error is
    that of the difference over rows drawn again (B. Efron, Annals of Statistics 7, 1979).

    Args:
        groups: (rows,) of rows that are right or wrong together.
    """
    if metric.name == "accuracy":
        return difference(*(Marks(said.argmax(1) == targets, groups) for said in (one, other)))
    draws = [Draws.of(metric, targets, said, seed=seed, groups=groups) for said in (one, other)]
    return difference(*draws)
