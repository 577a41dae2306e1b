"""A space's parameters and candidates, without a study: for people, limits and tests."""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spaces.recipe import Candidate
from spaces.space import SearchSpace

SIDE = 28  # pixels, where a question does not depend on the images


@dataclass(frozen=True, slots=True)
class Parameter:
    """What one parameter of a space may be.

    Attributes:
        choices: of a categorical parameter or a range of whole numbers; empty for a continuous one.
        low, high: of a range.
        log: whether it is sampled evenly in its logarithm.
    """

    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False

    @property
    def count(self) -> int | None:
        """How many values there are; None for a continuous range."""
        if self.choices:
            return len(self.choices)
        return 1 if self.low == self.high else None


@dataclass(slots=True)
class Point:
    """Stands in for Optuna's trial: gives stated values, draws the others once, notes them all."""

    stated: Mapping[str, Any]
    generator: random.Random
    parameters: dict[str, Parameter] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """Return the stated number, or a random one from `low` to `high`, both included."""
        parameter = Parameter(choices=tuple(range(low, high + 1)), low=low, high=high)
        return int(self._value(name, parameter, self.generator.randint(low, high)))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return the stated number, or a random one, evenly or evenly in its logarithm."""
        drawn = self.generator.uniform(low, high)
        if log:
            drawn = math.exp(self.generator.uniform(math.log(low), math.log(high)))
        drawn = min(max(drawn, low), high)
        return float(self._value(name, Parameter(low=low, high=high, log=log), drawn))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return the stated choice, or a random one."""
        return self._value(name, Parameter(choices=tuple(choices)), self.generator.choice(choices))

    def _value(self, name: str, parameter: Parameter, drawn: Any) -> Any:
        self.parameters[name] = parameter
        return self.values.setdefault(name, self.stated.get(name, drawn))


def parameters_of(space: SearchSpace, *, side: int = SIDE) -> dict[str, Parameter]:
    """Return the parameters that trials of the space have, by name."""
    point = Point({}, random.Random(0))
    space.suggest(point, side=side, epochs=1)
    return point.parameters


def settings(parameters: Iterable[Parameter], *, levels: int = 1) -> int:
    """Return how many combinations of values there are, with so many of a continuous range."""
    return math.prod(each.count or levels for each in parameters)


def prior_of(space: SearchSpace, *, size: float, side: int) -> Candidate:
    """Return the candidate that a search begins with, if it is of that size."""
    point = Point(space.prior(size=size), random.Random(0))
    return space.suggest(point, side=side, epochs=1)


def random_candidates(space: SearchSpace, *, seed: int, side: int) -> Iterator[Candidate]:
    """Draw candidates for ever, each parameter evenly over its choices or range."""
    generator = random.Random(seed)
    while True:
        yield space.suggest(Point({}, generator), side=side, epochs=1)
