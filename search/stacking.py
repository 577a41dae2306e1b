"""Stacking: models combined by a regularised linear model of what they say, fitted out of fold.

(D. H. Wolpert, "Stacked generalization", Neural Networks 5, 1992.) For classes it is a logarithmic
pool (C. Genest and J. V. Zidek, Statistical Science 1, 1986) with a weight a model and a bias a
class, p(c) ~ exp(sum_m w_m ln p_m(c) + b_c); for numbers, a linear one with a single bias. So few
coefficients can be fitted to a few hundred rows.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pydantic
from numpy.typing import NDArray

from search.metrics import Metric, Targets
from search.predictions import SMALLEST, OutOfFoldPredictions
from search.score_errors import resampled
from spaces.values import Value

CLEARLY = 3.0  # standard errors by which a stack must be better than the mean, on unseen rows
SPREAD = 0.3  # expected deviation of weights from the plain mean's, and of biases from 0
MOST_VALUES = 40_000_000  # probabilities that a stack is fitted on, 8 bytes each
STEPS = 200  # of L-BFGS, at most; it mostly takes some twenty


class Stack(Value):
    """A linear model over models.

    Attributes:
        members: names of the models, ascending.
        weights: theirs, of any sign.
        biases: one a class, with a sum of 0; or one, in the targets' unit.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    biases: tuple[float, ...]

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if not self.members or len(self.members) != len(self.weights):
            raise ValueError(
                f"each of one or more members must have a weight, "
                f"but got {len(self.members)} members and {len(self.weights)} weights"
            )
        return self

    def combine(self, predictions: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return what the stack says (rows, classes or 1), in the members' number type.

        Args:
            predictions: probabilities (rows, classes) or numbers (rows, 1) of at least each member.
        """
        each = [predictions[name] for name in self.members]
        if len(self.biases) == 1:
            pairs = zip(self.weights, each, strict=True)
            total = np.sum([weight * one.astype(np.float64) for weight, one in pairs], axis=0)
            return np.asarray(total + self.biases[0]).astype(each[0].dtype)
        logits = np.zeros(each[0].shape, dtype=np.float64)
        for weight, one in zip(self.weights, each, strict=True):
            logits += weight * _logarithms(one)
        return _softmax(logits + np.array(self.biases)).astype(each[0].dtype)


def fitted_stack(
    predictions: Mapping[str, OutOfFoldPredictions], members: Sequence[str], *, seed: int
) -> Stack:
    """Fit a stack on the rows that all members predicted.

    Weights are drawn towards the plain mean's and biases towards 0, as if they came from a normal
    distribution around them (`SPREAD`): a few rows change little.

    Raises:
        ValueError: there is no member.
    """
    if not members:
        raise ValueError("a stack must have at least one member, but got none")
    names = sorted(members)
    each = [predictions[name] for name in names]
    rows = np.flatnonzero(np.logical_and.reduce([one.covered for one in each]))
    size = max(1, MOST_VALUES // (len(each) * each[0].probabilities.shape[1]))
    if len(rows) > size:
        rows = np.sort(np.random.default_rng(seed).choice(rows, size, replace=False))
    targets = each[0].targets[rows]
    said = [one.probabilities[rows] for one in each]
    fit = _fit_numbers if each[0].of_numbers else _fit_classes
    weights, biases = fit(said, targets)
    return Stack(members=tuple(names), weights=tuple(weights), biases=tuple(biases))


def clearly_better(
    metric: Metric,
    targets: Targets,
    *,
    stacked: NDArray[Any],
    mean: NDArray[Any],
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> bool:
    """Return whether a stack is better than the mean by more than the difference's error.

    Args:
        stacked, mean: what both say (rows, classes or 1) of rows that neither was fitted on.
        groups: (rows,) of rows that are right or wrong together.
    """
    gain = metric.score(targets, stacked) - metric.score(targets, mean)
    both = [
        resampled(metric, targets, said, seed=seed, groups=groups) for said in (stacked, mean)
    ]  # equal seeds draw equal rows
    error = float(np.nanstd(both[0] - both[1], ddof=1))
    return math.isfinite(gain) and gain > CLEARLY * error


def _fit_classes(
    said: Sequence[NDArray[Any]], targets: NDArray[np.int64]
) -> tuple[list[float], list[float]]:
    """Return weights and biases of the least log-loss and distance from the mean's."""
    from scipy.optimize import minimize

    logarithms = np.stack([_logarithms(one) for one in said])  # (members, rows, classes)
    count, classes = len(said), said[0].shape[1]
    rows = np.arange(len(targets))
    start = np.concatenate([np.full(count, 1.0 / count), np.zeros(classes)])
    given = logarithms[:, rows, targets].sum(1)
    of_class = np.bincount(targets, minlength=classes).astype(np.float64)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, biases = values[:count], values[count:]
        logits = np.tensordot(weights, logarithms, axes=1) + biases
        highest = logits.max(1, keepdims=True)
        powers = np.exp(logits - highest)
        sums = powers.sum(1, keepdims=True)
        total = float((np.log(sums) + highest).sum() - weights @ given - biases @ of_class)
        powers /= sums
        slope = np.concatenate(
            [np.tensordot(logarithms, powers, axes=2) - given, powers.sum(0) - of_class]
        )
        away = (values - start) / SPREAD
        return total + 0.5 * float(away @ away), slope + away / SPREAD

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    biases = found[count:] - found[count:].mean()
    return found[:count].tolist(), biases.tolist()


def _fit_numbers(
    said: Sequence[NDArray[Any]], targets: NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    """Return weights and the bias of the least squared error and distance from the mean's.

    The errors' variance is the plain mean's, so the numbers' unit does not matter.
    """
    columns = np.concatenate(said, axis=1).astype(np.float64)
    middle, center = targets.mean(), columns.mean(0)
    start = np.full(len(said), 1.0 / len(said))
    left = targets - middle - (columns - center) @ start
    noise = max(float(left.var()), np.finfo(np.float64).tiny) / SPREAD**2
    centered = columns - center
    gram = centered.T @ centered + noise * np.eye(len(said))
    weights = start + np.linalg.solve(gram, centered.T @ left)
    return weights.tolist(), [float(middle - center @ weights)]


def _logarithms(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    logarithms: NDArray[np.float64] = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    return logarithms


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return found
