"""How sure a score is: its standard error and interval over other rows of the same kind."""

import math

import numpy as np
from numpy.typing import NDArray

from search.metrics import Metric, Targets, accuracy

RESAMPLES = 100  # of a bootstrap's rows: its error of an error is a fourteenth


def standard_error(
    metric: Metric, targets: Targets, probabilities: NDArray[np.floating], *, seed: int
) -> float:
    """Return the standard error of a score over other rows of the same kind.

    That of an accuracy is the binomial one; of others the bootstrap's (B. Efron, Annals of
    Statistics 7, 1979).
    """
    if metric.name == "accuracy":
        return binomial_error(accuracy(targets, probabilities), rows=len(targets))
    spread = float(np.nanstd(resampled(metric, targets, probabilities, seed=seed), ddof=1))
    return spread if math.isfinite(spread) else 0.0


def binomial_error(accuracy: float, *, rows: int) -> float:
    """Return the standard error of an accuracy measured on so many rows, as a share."""
    return math.sqrt(accuracy * (1.0 - accuracy) / rows)


def bootstrap_interval(
    metric: Metric, targets: Targets, probabilities: NDArray[np.floating], *, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of a score over other rows of the same kind."""
    count = (10 if metric.by_class else 2) * RESAMPLES
    scores = resampled(metric, targets, probabilities, seed=seed, count=count)
    low, high = np.nanquantile(scores, (0.025, 0.975))
    return float(low), float(high)


def resampled(
    metric: Metric,
    targets: Targets,
    probabilities: NDArray[np.floating],
    *,
    seed: int,
    count: int = RESAMPLES,
) -> NDArray[np.float64]:
    """Return the scores of so many draws of as many rows, with replacement."""
    generator = np.random.default_rng(seed)
    draws = (generator.integers(0, len(targets), len(targets)) for _ in range(count))
    return np.array([metric.score(targets[rows], probabilities[rows]) for rows in draws])
