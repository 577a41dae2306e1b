"""How one parameter may change: by a random step, to its neighbours, to a few levels."""

import math
import random
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

STEP = 0.2  # of a number's range: the standard deviation of a random change, and a neighbour's
LEVELS = 5  # that stand for a continuous range


def changed(value: Any, distribution: BaseDistribution, generator: random.Random) -> Any:
    """Return another value: a choice among the others, a whole number near by, a normal step."""
    if isinstance(distribution, FloatDistribution):
        return moved(value, distribution, by=generator.gauss(0.0, STEP))
    others = [other for other in values(distribution) if other != value]
    if isinstance(distribution, IntDistribution):
        others = sorted(others, key=lambda n: abs(n - value))[:2]
    return generator.choice(others)


def neighbours(value: Any, distribution: BaseDistribution) -> list[Any]:
    """Return the values one step away: all other choices, the next number below and above."""
    if isinstance(distribution, FloatDistribution):
        near = [moved(value, distribution, by=step) for step in (-STEP, STEP)]
        return [other for other in dict.fromkeys(near) if other != value]
    others = [other for other in values(distribution) if other != value]
    if isinstance(distribution, IntDistribution):
        below, above = [n for n in others if n < value], [n for n in others if n > value]
        return below[-1:] + above[:1]
    return others


def values(distribution: BaseDistribution) -> list[Any]:
    """Return all values, in order; of a continuous range some levels, evenly or in logarithm."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is not None:
        steps = round((distribution.high - distribution.low) / distribution.step)
        return [
            exact(distribution.low + n * distribution.step, distribution) for n in range(steps + 1)
        ]
    levels = [
        moved(distribution.low, distribution, by=level / (LEVELS - 1)) for level in range(LEVELS)
    ]
    return list(dict.fromkeys(levels))


def moved(value: float, distribution: FloatDistribution, *, by: float) -> float:
    """Return a number moved by a share of its range, within the range, in its scale."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    value = min(max(value + by * (high - low), low), high)
    return exact(math.exp(value) if distribution.log else value, distribution)


def exact(value: float, distribution: FloatDistribution) -> float:
    """Return the number of the range that is nearest, in spite of rounding and steps."""
    if distribution.step is not None:
        steps = round((value - distribution.low) / distribution.step)
        value = distribution.low + steps * distribution.step
    return min(max(value, distribution.low), distribution.high)
