"""What a model says about rows that it was not trained on, and how sure a score of it is."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from search.numbers import is_numbers

if TYPE_CHECKING:
    from search.metrics import Metric

SUM_TOLERANCE = 1e-3  # of a row's probabilities: softmax in half precision strays this far
SMALLEST = float(np.finfo(np.float32).eps)  # probability that log-loss counts with, at least
Z_95 = 1.959964  # standard deviations of a normal distribution that hold 95 % of it


@dataclass(frozen=True, eq=False)
class OutOfFoldPredictions:
    """One model's predictions for each training row, from folds that did not train on it.

    Attributes:
        targets: (rows,) int64, the true classes; or float64, the true numbers.
        probabilities: (rows, classes) float32, the mean over repeats; NaN where not predicted.
            The columns are all classes of the job in their fixed order. Of numbers there is one
            column, float64, with the number that is expected.
        repeats: (rows,) int32, how often each row was predicted.

    Raises:
        ValueError: if shapes, dtypes or values break one of these rules.
    """

    targets: NDArray[Any]
    probabilities: NDArray[Any]
    repeats: NDArray[np.int32]

    def __post_init__(self) -> None:
        rows = len(self.targets)
        dtype = np.float64 if self.of_numbers else np.int64
        _check_array("targets", self.targets, shape=(rows,), dtype=dtype)
        classes = self.probabilities.shape[-1]
        kind = np.float64 if self.of_numbers else np.float32
        _check_array("probabilities", self.probabilities, shape=(rows, classes), dtype=kind)
        _check_array("repeats", self.repeats, shape=(rows,), dtype=np.int32)
        if self.of_numbers:
            if classes != 1:
                raise ValueError(f"numbers must be predicted in 1 column, but got {classes}")
        elif rows and not 0 <= self.targets.min() <= self.targets.max() < classes:
            span = f"{self.targets.min()} to {self.targets.max()}"
            raise ValueError(f"targets must be from 0 to {classes - 1}, but got {span}")
        self._check_values(self.probabilities[self.covered])
        if not np.isnan(self.probabilities[~self.covered]).all():
            raise ValueError("probabilities of rows with 0 repeats must be NaN, but got numbers")

    @classmethod
    def empty(cls, targets: NDArray[Any], classes: int) -> Self:
        """Return predictions of no row yet, for `targets` of shape (rows,)."""
        numbers = is_numbers(targets)
        return cls(
            targets=targets.astype(np.float64 if numbers else np.int64),
            probabilities=np.full(
                (len(targets), classes), np.nan, dtype=np.float64 if numbers else np.float32
            ),
            repeats=np.zeros(len(targets), dtype=np.int32),
        )

    def with_fold(
        self, validation_rows: NDArray[np.integer[Any]], probabilities: NDArray[np.floating[Any]]
    ) -> Self:
        """Return a copy that counts one more prediction of some rows.

        Args:
            validation_rows: (n,) row ids, each once.
            probabilities: (n, classes), each row finite, not negative, with a sum of 1; or numbers.

        Raises:
            ValueError: if an argument breaks a rule.
        """
        _check_rows(validation_rows, total=len(self.targets))
        shape = (len(validation_rows), self.probabilities.shape[1])
        if probabilities.shape != shape:
            raise ValueError(
                f"probabilities must have shape {shape}, but got {probabilities.shape}"
            )
        self._check_values(probabilities)
        before = self.repeats[validation_rows, None]
        known = np.where(before > 0, self.probabilities[validation_rows].astype(np.float64), 0.0)
        means, repeats = self.probabilities.copy(), self.repeats.copy()
        means[validation_rows] = (known * before + probabilities) / (before + 1)
        repeats[validation_rows] += 1
        return type(self)(targets=self.targets, probabilities=means, repeats=repeats)

    def _check_values(self, values: NDArray[np.floating[Any]]) -> None:
        (_check_finite if self.of_numbers else _check_distributions)(values)

    @property
    def of_numbers(self) -> bool:
        """Whether numbers are predicted, not classes."""
        return is_numbers(self.targets)

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(rows,) whether a row was predicted at all."""
        return self.repeats > 0

    def accuracy(self) -> float:
        """Return the share of covered rows, pooled over all folds, that are right; NaN if none."""
        if not self.covered.any():
            return math.nan
        predicted = self.probabilities[self.covered].argmax(axis=1)
        return float(np.mean(predicted == self.targets[self.covered]))

    def score(self, metric: "Metric") -> float:
        """Return the covered rows' score, pooled over all folds; NaN if there are none."""
        if not self.covered.any():
            return math.nan
        return metric.score(self.targets[self.covered], self.probabilities[self.covered])

    def log_loss(self) -> float:
        """Return the mean of -ln p(target) in nats over all covered rows; NaN if there are none."""
        if not self.covered.any():
            return math.nan
        return mean_log_loss(self.probabilities[self.covered], self.targets[self.covered])


def mean_log_loss(probabilities: NDArray[np.floating[Any]], targets: NDArray[np.int64]) -> float:
    """Return the mean of -ln p(target) in nats, with p taken as at least `SMALLEST`.

    Args:
        probabilities: (rows, classes).
        targets: (rows,), at least one.
    """
    return float(log_losses(probabilities[np.arange(len(targets)), targets]).mean())


def log_losses(given: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return -ln p in nats for the probabilities that were given to the true classes."""
    losses: NDArray[np.float64] = -np.log(given.astype(np.float64).clip(SMALLEST, 1.0))
    return losses


def share_interval(share: float, *, rows: float) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy that is known as well as from so many rows.

    The score interval of E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference" (JASA 22, 1927); it keeps its coverage for few rows and near 0 and 1
    (Brown, Cai and DasGupta, Statistical Science 16, 2001).

    Args:
        rows: more than 0, whole or not: those of groups are fewer than they seem.
    """
    z2 = Z_95**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z_95 / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    # Rounding may put the ends a hair outside, or the interval beside a share of 0 or 1.
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)


def _check_array(
    name: str, array: NDArray[Any], *, shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} must be {np.dtype(dtype)} of shape {shape}, "
            f"but got {array.dtype} of shape {array.shape}"
        )


def _check_rows(rows: NDArray[np.integer[Any]], *, total: int) -> None:
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"row ids must be a row of integers, but got {rows.dtype} {rows.shape}")
    if len(rows) and not 0 <= rows.min() <= rows.max() < total:
        raise ValueError(
            f"row ids must be from 0 to {total - 1}, but got {rows.min()} to {rows.max()}"
        )
    distinct = len(np.unique(rows))
    if distinct != len(rows):
        raise ValueError(f"each row id must come once, but got {distinct} among {len(rows)}")


def _check_finite(values: NDArray[np.floating[Any]]) -> None:
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ValueError(f"predictions must be finite, but got {count} that are not")


def _check_distributions(probabilities: NDArray[np.floating[Any]]) -> None:
    if not len(probabilities):
        return
    _check_finite(probabilities)
    if probabilities.min() < 0:
        raise ValueError(f"probabilities must not be negative, but got {probabilities.min()}")
    sums = probabilities.sum(axis=1, dtype=np.float64)
    worst = float(sums[np.abs(sums - 1).argmax()])
    if abs(worst - 1) > SUM_TOLERANCE:
        raise ValueError(f"a row's probabilities must sum to 1, but got {worst:.6f}")
