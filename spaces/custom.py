"""`CustomSpace`: a space that somebody has written in Python."""

import importlib
import os
import sys
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

import pydantic

from spaces.errors import SpaceError
from spaces.recipe import Candidate
from spaces.recipe_space import RecipeSpace
from spaces.space import Suggester
from spaces.values import Value

Reference = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]


class CustomSpace(Value):
    """An object with two methods, found by name wherever a worker runs.

        suggest(trial, *, side: int, epochs: int) -> Candidate
        prior() -> dict[str, Any]      parameters of the first trial

    Attributes:
        object: `package.module:Object`; modules of the current folder are found, too.
        recipe: what the landing may change in a recipe that it lengthens.
    """

    kind: Literal["custom"] = "custom"
    object: Reference
    recipe: RecipeSpace = RecipeSpace()

    @property
    def sizes(self) -> tuple[float, ...]:
        """One size: the object itself decides what is too large."""
        return (1.0,)

    def sized(self, sizes: Collection[float]) -> Self:
        """Return the space as it is."""
        return self

    def check(self) -> None:
        """Raise `SpaceError` if the object cannot be imported here."""
        load(self.object)

    def suggest(self, trial: Suggester, *, side: int, epochs: int) -> Candidate:
        """Let the object sample a candidate; `SpaceError` if it returns anything else."""
        found = load(self.object).suggest(trial, side=side, epochs=epochs)
        if not isinstance(found, Candidate):
            raise SpaceError(f"{self.object}: suggest must return a Candidate, but got {found!r}")
        return found

    def prior(self, *, size: float) -> dict[str, Any]:
        """Return the parameters of the object's first trial."""
        return dict(load(self.object).prior())


def load(reference: str) -> Any:
    """Import an object by `package.module:Object`; `SpaceError` says why that failed."""
    module, _, path = reference.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except Exception as failure:  # whatever the module does when it is imported
        reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
        raise SpaceError(f"a space must be importable: {reference}: {reason}") from None
    return found
