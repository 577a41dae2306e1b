"""What a search space is: one method that samples a candidate, live or from the record."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, TypeVar

import pydantic

from spaces.recipe import Candidate

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
    """A set of candidates that can be sampled.

    The parameters that a space asks for have the same names and ranges in every trial, used
    or not, so that a model over all of them (multivariate TPE) learns from every trial.
    """

    def suggest(self, trial: Suggester) -> Candidate:
        """Sample a candidate from a live trial, or rebuild it from a frozen one."""
        ...


def check_span(span: tuple[float, float], *, minimum: float) -> tuple[float, float]:
    """Return `span` if minimum <= low <= high holds, else raise `ValueError`."""
    low, high = span
    if not minimum <= low <= high:
        raise ValueError(
            f"`{minimum:g} <= low <= high` must hold, but got (low={low:g}, high={high:g})"
        )
    return span
