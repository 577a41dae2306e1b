"""One number that makes probabilities as sure as they are right: the temperature.

(C. Guo et al., "On calibration of modern neural networks", arXiv 1706.04599.) It changes no order
of the classes, hence no accuracy; networks that are trained with smoothed labels are too unsure.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.metrics import Metric
from search.predictions import SMALLEST
from search.score_errors import design_effect

HOTTEST = 8.0  # and the inverse of it: beyond these a temperature tells of something else
CLEARLY = 2.0  # standard errors by which the log-loss must fall on rows that it was not fitted on


def at_temperature(
    probabilities: NDArray[np.floating[Any]], temperature: float
) -> NDArray[np.float32]:
    """Return probabilities (rows, classes) to the power of 1 / temperature, with a sum of 1.

    Below 1 they become surer, above it less sure.
    """
    if temperature == 1.0:
        return probabilities.astype(np.float32)
    scaled = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    found: NDArray[np.float32] = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    return found


def as_scored(
    metric: Metric, probabilities: NDArray[np.floating[Any]], temperature: float
) -> NDArray[np.floating[Any]]:
    """Return what a metric scores of a model that has a temperature.

    Where the most probable class is all that matters, it changes nothing: not even by rounding.
    """
    if temperature == 1.0 or metric.by_class:
        return probabilities
    return at_temperature(probabilities, temperature)


def fitted_temperature(
    probabilities: NDArray[np.floating[Any]], targets: NDArray[np.int64]
) -> float:
    """Return the temperature of the least log-loss on these rows."""
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        return float(_losses(probabilities, targets, math.exp(logarithm)).mean())

    border = math.log(HOTTEST)
    found = minimize_scalar(loss, bounds=(-border, border), method="bounded")
    return round(math.exp(float(found.x)), 4)


def helpful_temperature(
    probabilities: NDArray[np.floating[Any]],
    targets: NDArray[np.int64],
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> float:
    """Return the temperature fitted on all rows if one helps, else 1.

    Each half of the rows is judged with the other half's temperature; the log-loss must fall by
    more than its error.

    Args:
        groups: (rows,) of rows that are right or wrong together, and so are in one half.
    """
    unit = np.arange(len(targets))
    if groups is not None:
        unit = np.unique(groups, return_inverse=True)[1]
    count = int(unit.max(initial=-1)) + 1
    if count < 4:
        return 1.0
    ranks = np.random.default_rng(seed).permutation(count)
    first = ranks[unit] % 2 == 0
    gains = np.empty(len(targets))
    for half, other in ((first, ~first), (~first, first)):
        temperature = fitted_temperature(probabilities[other], targets[other])
        before = _losses(probabilities[half], targets[half], 1.0)
        gains[half] = before - _losses(probabilities[half], targets[half], temperature)
    error = gains.std() / math.sqrt(len(gains))
    error *= 1.0 if groups is None else math.sqrt(design_effect(gains, groups))
    return fitted_temperature(probabilities, targets) if gains.mean() > CLEARLY * error else 1.0


def _losses(
    probabilities: NDArray[np.floating[Any]], targets: NDArray[np.int64], temperature: float
) -> NDArray[np.float64]:
    """Return -ln p(target) of each row at a temperature."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    logits -= logits.max(1, keepdims=True)
    given = logits[np.arange(len(targets)), targets]
    losses: NDArray[np.float64] = np.log(np.exp(logits).sum(1)) - given
    return losses
