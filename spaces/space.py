"""What every part of a search space is made of: choices, spans, and what they are drawn from."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self, TypeVar

import pydantic

if TYPE_CHECKING:
    from spaces.recipe import Candidate
    from spaces.recipe_space import RecipeSpace

T = TypeVar("T")
Choices = Annotated[tuple[T, ...], pydantic.Field(min_length=1)]


class Suggester(Protocol):
    """The part of Optuna's trial that a space uses; live and frozen trials both have it."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number from `low` to `high`, evenly or evenly in its logarithm."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of `choices`."""
        ...


class SearchSpace(Protocol):
    """What may be built and how it may be trained."""

    @property
    def recipe(self) -> "RecipeSpace":
        """The recipes that may be tried."""
        ...

    @property
    def sizes(self) -> Sequence[float]:
        """Choices of what decides most of a network's cost, ascending."""
        ...

    def sized(self, sizes: Collection[float]) -> Self:
        """Return the space with these sizes alone, some of its own."""
        ...

    def check(self) -> None:
        """Raise `SpaceError` if the space cannot be used by this process."""
        ...

    def suggest(self, trial: Suggester, *, side: int, epochs: int) -> "Candidate":
        """Sample a candidate for images whose shorter side is `side` pixels."""
        ...

    def prior(self, *, size: float) -> dict[str, Any]:
        """Return the parameters of a network and a recipe that are good on most data."""
        ...


def pick(trial: Suggester, name: str, choices: Sequence[T]) -> T:
    """Return one of `choices`; where there is but one, it is no parameter of the trial."""
    if len(choices) == 1:
        return choices[0]
    chosen: T = trial.suggest_categorical(name, choices)
    return chosen


def check_span(span: tuple[float, float], *, minimum: float) -> tuple[float, float]:
    """Return `span` if minimum <= low <= high holds, else raise `ValueError`."""
    low, high = span
    if not minimum <= low <= high:
        raise ValueError(
            f"`{minimum:g} <= low <= high` must hold, but got (low={low:g}, high={high:g})"
        )
    return span
