"""Weighted averages of models (`search/selection.py` chooses them)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
import pydantic
from numpy.typing import NDArray

from spaces.values import Value


def member_name(trial: int) -> str:
    """Return what a finalist is called in an ensemble and in its folder."""
    return f"trial-{trial}"


class Ensemble(Value):
    """Models and the weights that their probabilities are averaged with.

    Attributes:
        members: names of the models, ascending; each once.
        weights: theirs, positive, with a sum of 1.
        score: by the metric, on the rows that the members were chosen on, hence optimistic.
        rounds: the score after each round of the selection, those beyond the best included.
    """

    members: tuple[str, ...]
    weights: tuple[Annotated[float, pydantic.Field(gt=0)], ...]
    score: float
    rounds: tuple[float, ...] = ()

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if not self.members or len(set(self.members)) != len(self.members):
            raise ValueError(f"members must be one or more, each once, but got {self.members}")
        if len(self.weights) != len(self.members):
            raise ValueError(
                f"each of {len(self.members)} members must have a weight, "
                f"but got {len(self.weights)} weights"
            )
        if not math.isclose(sum(self.weights), 1.0, abs_tol=1e-6):
            raise ValueError(f"weights must sum to 1, but got {sum(self.weights)}")
        return self

    def combine(self, probabilities: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the members' weighted mean, (rows, classes), in their number type.

        Args:
            probabilities: (rows, classes) of at least each member, by name.

        Raises:
            ValueError: if a member is missing or the shapes differ.
        """
        missing = [name for name in self.members if name not in probabilities]
        if missing:
            raise ValueError(f"each member must have probabilities, but got none of {missing}")
        shapes = {name: probabilities[name].shape for name in self.members}
        if len(set(shapes.values())) != 1:
            raise ValueError(f"members' probabilities must have one shape, but got {shapes}")
        mean = np.zeros(shapes[self.members[0]], dtype=np.float64)
        for name, weight in zip(self.members, self.weights, strict=True):
            mean += weight * probabilities[name].astype(np.float64)
        return mean.astype(probabilities[self.members[0]].dtype)
