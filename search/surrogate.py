"""What a setting will score, and how sure that is, from the trials so far: a Gaussian process.

Few trials, many parameters, noisy scores: so its kernel is mostly a sum over the parameters, which
learns what each value does by itself from few trials (D. Duvenaud et al., "Additive Gaussian
processes", arXiv 1112.4394), and for a part a product, for what they do together. Each parameter's
weight, the part of the product, the noise and the size are those of the largest marginal
likelihood (C. Rasmussen and C. Williams, "Gaussian processes for machine learning", 2006, chapter
5) on a small grid, one after the other.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

Array = NDArray[np.float64]

PRODUCTS = (0.1, 0.3, 0.7)  # parts of the kernel that the product has
NOISES = (0.03, 0.1, 0.3, 0.6)  # variances, relative to that of the scores
SIZES = (0.5, 1.0, 2.0)  # variances of what is modelled, likewise
WEIGHTS = (0.02, 0.2, 1.0, 3.0)  # of a parameter, relative to an equal share
CLEARER = 0.1  # by which a likelihood must grow for another weight, in nats
JITTER = 1e-8  # keeps the kernel's matrix positive
SWEEPS = 2


@dataclass(frozen=True, eq=False)
class _Apart:
    """How far settings are apart in each parameter, (n, m, parameters), and how alike that is."""

    distances: Array
    likeness: Array

    @classmethod
    def between(cls, some: Array, others: Array, *, choices: NDArray[np.bool_]) -> "_Apart":
        """Compare settings (n, parameters) with others (m, parameters)."""
        distances = np.abs(some[:, None, :] - others[None, :, :])
        distances[:, :, choices] = distances[:, :, choices] > 0.0
        return cls(distances=distances, likeness=np.exp(-distances))


@dataclass(frozen=True, eq=False)
class Kernel:
    """How alike two settings are, by how far apart they are in each parameter.

    Attributes:
        weights: (parameters,), with a sum of about 1.
    """

    weights: Array
    product: float = 0.3
    noise: float = 0.3
    size: float = 1.0

    def __call__(self, apart: _Apart) -> Array:
        """Return the covariance (n, m)."""
        weights = self.weights
        summed = (apart.likeness @ weights) / weights.sum()
        multiplied = np.exp(-(apart.distances @ np.sqrt(weights / weights.max())))
        covariance: Array = (1.0 - self.product) * summed + self.product * multiplied
        return self.size * covariance

    def with_weight(self, parameter: int, weight: float) -> "Kernel":
        """Return a kernel with another weight of one parameter."""
        weights = self.weights.copy()
        weights[parameter] = weight
        return replace(self, weights=weights)


class Surrogate:
    """A model of scores over settings.

    Args:
        settings: (trials, parameters), as `encoded` writes them.
        choices: (parameters,) whether a parameter's values are alike only if they are equal.
        scores: (trials,).
        doubts: (trials,) how many times the noise of a finished trial's score each has.
        kernel: that of `likeliest_kernel`, for these or for fewer trials.
    """

    def __init__(
        self,
        settings: Array,
        *,
        choices: NDArray[np.bool_],
        scores: Array,
        doubts: Array,
        kernel: Kernel,
    ) -> None:
        self._settings, self._choices, self._kernel = settings, choices, kernel
        self._mean, self._spread, standard = _standardised(scores, doubts)
        apart = _Apart.between(settings, settings, choices=choices)
        self._lower = _factor(_covariance(kernel, apart, doubts))
        self._solved = _solve(self._lower, standard)

    def predict(self, settings: Array) -> tuple[Array, Array]:
        """Return for each setting (n, parameters) the expected score and its deviation, (n,)."""
        apart = _Apart.between(settings, self._settings, choices=self._choices)
        covariance = self._kernel(apart)
        means = self._mean + self._spread * (covariance @ self._solved)
        explained = np.linalg.solve(self._lower, covariance.T)
        variances = np.maximum(self._kernel.size - (explained**2).sum(0), 0.0)
        return means, self._spread * np.sqrt(variances)


def likeliest_kernel(
    settings: Array, *, choices: NDArray[np.bool_], scores: Array, doubts: Array
) -> Kernel:
    """Return the kernel under which these scores are likeliest; see `Surrogate`.

    It takes a tenth of a second for a hundred trials; equal questions are answered from memory.
    """
    return _likeliest(
        settings.shape, settings.tobytes(), choices.tobytes(), scores.tobytes(), doubts.tobytes()
    )


@functools.lru_cache(maxsize=8)
def _likeliest(
    shape: tuple[int, int], settings: bytes, choices: bytes, scores: bytes, doubts: bytes
) -> Kernel:
    count = shape[1]
    apart = _Apart.between(
        *(np.frombuffer(settings, dtype=np.float64).reshape(shape),) * 2,
        choices=np.frombuffer(choices, dtype=np.bool_),
    )
    doubting = np.frombuffer(doubts, dtype=np.float64)
    *_, standard = _standardised(np.frombuffer(scores, dtype=np.float64), doubting)

    def better(best: Kernel, others: Sequence[Kernel], *, by: float) -> Kernel:
        likelihood = _likelihood(best, apart, standard, doubting)
        for other in others:
            found = _likelihood(other, apart, standard, doubting)
            if found > likelihood + by:
                best, likelihood = other, found
        return best

    best = Kernel(weights=np.full(count, 1.0 / count))
    for _ in range(SWEEPS):
        best = better(best, [replace(best, product=value) for value in PRODUCTS], by=0.0)
        best = better(best, [replace(best, noise=value) for value in NOISES], by=0.0)
        best = better(best, [replace(best, size=value) for value in SIZES], by=0.0)
        for parameter in range(count):
            others = [best.with_weight(parameter, weight / count) for weight in WEIGHTS]
            best = better(best, others, by=CLEARER)
    return best


def _standardised(scores: Array, doubts: Array) -> tuple[float, float, Array]:
    """Return the scores' mean and deviation, and the scores in units of these."""
    mean, spread = float(np.average(scores, weights=1.0 / doubts)), float(scores.std()) or 1.0
    return mean, spread, (scores - mean) / spread


def _likelihood(kernel: Kernel, apart: _Apart, scores: Array, doubts: Array) -> float:
    """Return the logarithm of the scores' density, up to a constant."""
    try:
        lower = _factor(_covariance(kernel, apart, doubts))
    except np.linalg.LinAlgError:
        return -math.inf
    fitted = float(np.dot(scores, _solve(lower, scores)))
    return -0.5 * fitted - float(np.log(np.diag(lower)).sum())


def _covariance(kernel: Kernel, apart: _Apart, doubts: Array) -> Array:
    return kernel(apart) + np.diag(kernel.noise * doubts + JITTER)


def _factor(covariance: Array) -> Array:
    """Return the lower triangle whose square it is; `LinAlgError` if there is none."""
    return np.linalg.cholesky(covariance).astype(np.float64, copy=False)


def _solve(lower: Array, values: Array) -> Array:
    solved: Array = np.linalg.solve(lower.T, np.linalg.solve(lower, values))
    return solved


def encoded(parameters: dict[str, Any], space: dict[str, BaseDistribution]) -> list[float]:
    """Return a number for each parameter: a choice's place, or where in its range a number is."""
    row = []
    for name, distribution in space.items():
        value = parameters[name]
        if isinstance(distribution, CategoricalDistribution):
            row.append(float(distribution.to_internal_repr(value)))
            continue
        low, high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
        if isinstance(distribution, FloatDistribution) and distribution.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        row.append((value - low) / (high - low))
    return row


def are_choices(space: dict[str, BaseDistribution]) -> NDArray[np.bool_]:
    """Return (parameters,) whether each is a choice."""
    return np.array([isinstance(each, CategoricalDistribution) for each in space.values()])
