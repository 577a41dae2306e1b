"""`ScaledSpace`: one network, narrower or wider and shallower or deeper."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from spaces.architecture import (
    MAX_DEPTH,
    MAX_WIDTH,
    MIN_INCEPTION_WIDTH,
    Architecture,
    Branches,
    Norm,
    Stage,
    Stem,
    StemKind,
)
from spaces.cnn import VIEWS
from spaces.errors import SpaceError
from spaces.pretrained import LIKE_TORCHVISION, SUFFIX, TORCHVISION, reference_of, resolved
from spaces.recipe import Candidate, Recipe
from spaces.recipe_space import RecipeSpace, clipped, preferred
from spaces.space import Choices, Suggester, pick
from spaces.values import Value
from spaces.zoo import fitted, named

WIDTH_MULTIPLE = 8  # of which scaled widths are multiples: processors like these best
GENTLE_RATE = 0.03  # of the prior without norms, which diverges at larger ones
Factor = Annotated[float, pydantic.Field(gt=0.0, le=16.0)]


class ScaledSpace(Value):
    """A named or given network, fitted to the images, with other widths, depths, norm or stem.

    Attributes:
        base: a name of `spaces.zoo`, or an architecture.
        widths: choices for the factor on all widths, hidden layers' included.
        depths: choices for the factor on all depths.
        norms: choices in place of the network's own; None keeps these.
        stems: choices in place of the network's own; None keeps it.
        weights: "torchvision", or a .safetensors file of its model's state, that networks begin
            with; widths and depths are the network's own then.
        frozen: choices for the parts, the stem and then the stages, that keep these weights.
    """

    kind: Literal["scaled"] = "scaled"
    base: str | Architecture
    widths: Choices[Factor] = (0.125, 0.25, 0.5, 1.0)
    depths: Choices[Factor] = (0.5, 1.0)
    norms: Choices[Norm] | None = None
    stems: Choices[StemKind] | None = None
    weights: str | None = None
    frozen: Choices[Annotated[int, pydantic.Field(ge=0)]] = (0,)
    recipe: RecipeSpace = RecipeSpace()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _as_trained(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("weights") is not None:
            return {"widths": [1.0], "depths": [1.0], **data}
        return data

    @pydantic.model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.weights is None:
            if any(self.frozen):
                raise ValueError(f"frozen parts need weights, but got frozen={self.frozen}")
            return self
        if self.base not in LIKE_TORCHVISION:
            raise ValueError(
                f"pretrained weights are for {', '.join(LIKE_TORCHVISION)}, but base={self.base!r}"
            )
        others = {"widths": self.widths != (1.0,), "depths": self.depths != (1.0,)}
        others |= {"norms": self.norms is not None, "stems": self.stems is not None}
        if any(others.values()):
            named = ", ".join(name for name, other in others.items() if other)
            raise ValueError(f"with weights the layers must be the network's own, but got {named}")
        return self

    @pydantic.field_validator("weights")
    @classmethod
    def _from_here(cls, weights: str | None) -> str | None:
        """A path is that of where the job is stated, wherever its workers are."""
        if weights in (None, TORCHVISION):
            return weights
        path = Path(str(weights)).expanduser().absolute()
        if path.suffix != SUFFIX:
            raise ValueError(f"weights must be {TORCHVISION!r} or a {SUFFIX} file, but got {path}")
        return str(path)

    @property
    def reference(self) -> str | None:
        """What a recipe calls the weights."""
        return None if self.weights is None else reference_of(str(self.base), self.weights)

    @pydantic.field_validator("base")
    @classmethod
    def _check_name(cls, base: str | Architecture) -> str | Architecture:
        if isinstance(base, str):
            try:
                named(base)
            except SpaceError as failure:
                raise ValueError(str(failure)) from None
        return base

    @property
    def architecture(self) -> Architecture:
        """The network that is scaled."""
        return named(self.base) if isinstance(self.base, str) else self.base

    @property
    def sizes(self) -> tuple[float, ...]:
        """Factors on the widths, ascending."""
        return tuple(sorted(self.widths))

    def sized(self, sizes: Collection[float]) -> Self:
        """Return the space with these factors on the widths alone."""
        kept = tuple(width for width in self.widths if width in sizes)
        return self.model_copy(update={"widths": kept})

    def check(self) -> None:
        """Raise `SpaceError` if there are weights to begin with, but not here."""
        if self.reference is not None:
            resolved(self.reference)

    def suggest(self, trial: Suggester, *, side: int, epochs: int) -> Candidate:
        """Sample a candidate for images whose shorter side is `side` pixels."""
        recipe = self._begun(self.recipe.suggest(trial, epochs=epochs), trial)
        network = fitted(self.architecture, side=side)
        width = float(pick(trial, "width_factor", self.widths))
        depth = float(pick(trial, "depth_factor", self.depths))
        hidden = tuple(scaled_width(each, width) for each in network.head.hidden)
        architecture = Architecture(
            stem=self._stem(trial, network.stem, factor=width),
            stages=tuple(scaled_stage(s, width=width, depth=depth) for s in network.stages),
            head=network.head.model_copy(update={"hidden": hidden}),
            activation=network.activation,
            norm=pick(trial, "norm", self.norms or (network.norm,)),
            views=VIEWS.get(recipe.augmentation, "one"),
        )
        return Candidate(architecture=architecture, recipe=recipe)

    def prior(self, *, size: float) -> dict[str, Any]:
        """Return the parameters of the network with all its layers, of the given width."""
        network = self.architecture
        norm = preferred("batch", self.norms or (network.norm,))
        parameters = {
            "width_factor": preferred(size, self.widths),
            "depth_factor": preferred(1.0, self.depths),
            "norm": norm,
            "stem": preferred(network.stem.kind, self.stems or (network.stem.kind,)),
            "frozen": preferred(0, self.frozen),
        }
        recipe = self.recipe.prior()
        if norm == "none":
            recipe["sgd_learning_rate"] = clipped(GENTLE_RATE, self.recipe.sgd_learning_rate)
        return parameters | recipe

    def _begun(self, recipe: Recipe, trial: Suggester) -> Recipe:
        """Return the recipe that begins with the weights, if there are any."""
        if self.reference is None:
            return recipe
        frozen = pick(trial, "frozen", self.frozen)
        return recipe.model_copy(update={"weights": self.reference, "frozen": frozen})

    def _stem(self, trial: Suggester, stem: Stem, *, factor: float) -> Stem:
        kind = pick(trial, "stem", self.stems or (stem.kind,))
        return stem.model_copy(update={"kind": kind, "width": scaled_width(stem.width, factor)})


def scaled_width(width: int, factor: float) -> int:
    """Return the multiple of eight that is nearest to the scaled width; at least eight."""
    multiples = max(1, round(width * factor / WIDTH_MULTIPLE))
    return min(multiples * WIDTH_MULTIPLE, MAX_WIDTH) if factor != 1.0 else width


def scaled_stage(stage: Stage, *, width: float, depth: float) -> Stage:
    """Return a stage of other width and depth; an inception block's branches scale with it."""
    changes: dict[str, Any] = {
        "width": scaled_width(stage.width, width),
        "depth": min(max(1, math.ceil(stage.depth * depth)), MAX_DEPTH),
    }
    if stage.branches is not None:
        branches = scaled_branches(stage.branches, width)
        changes |= {"branches": branches, "width": branches.width}
    elif stage.block == "inception":
        changes["width"] = max(changes["width"], MIN_INCEPTION_WIDTH)
    return stage.model_copy(update=changes)


def scaled_branches(branches: Branches, factor: float) -> Branches:
    """Return branches of other widths, each of at least one channel; together, of at least 16."""

    def scaled(width: int) -> int:
        return max(MIN_INCEPTION_WIDTH // 4, round(width * factor)) if factor != 1.0 else width

    return Branches(
        point=scaled(branches.point),
        first=(scaled(branches.first[0]), scaled(branches.first[1])),
        second=(scaled(branches.second[0]), scaled(branches.second[1])),
        pooled=scaled(branches.pooled),
    )
