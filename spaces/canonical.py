"""One way to write each candidate: what makes no difference to its training is as by default."""

from typing import Any

from spaces.architecture import Architecture, Branches, Stage, Stem
from spaces.recipe import Candidate, Recipe

EXPANDED = ("bottleneck", "inverted")
WITH_SHORTCUT = ("residual", "bottleneck", "inverted")
POOLED = ("max", "mean")
UNALTERED = ("none", "flip")  # augmentations that go on to the end of a training


def canonical(candidate: Candidate) -> Candidate:
    """Return the candidate that trains the same network in the same way, and is written simply."""
    architecture = candidate.architecture
    return Candidate(
        architecture=_architecture(architecture),
        recipe=_recipe(candidate.recipe, architecture),
    )


def _architecture(architecture: Architecture) -> Architecture:
    return architecture.model_copy(
        update={
            "stem": _stem(architecture.stem),
            "stages": tuple(_stage(stage) for stage in architecture.stages),
        }
    )


def _stem(stem: Stem) -> Stem:
    """A patch stem's kernel is its stride."""
    if stem.kind != "patch":
        return stem
    return stem.model_copy(update={"kernel": Stem(width=stem.width).kernel})


def _stage(stage: Stage) -> Stage:
    default = Stage(depth=1, width=stage.width)
    changes: dict[str, Any] = {}
    if stage.block not in EXPANDED:
        changes["expansion"] = default.expansion
    if stage.downsampling not in POOLED:
        changes |= {"pool": default.pool, "pool_kernel": default.pool_kernel}
    if stage.branches is not None and stage.branches == Branches.of(stage.width):
        changes["branches"] = None
    if stage.block == "inception" and stage.downsampling in POOLED:
        changes["pool"] = default.pool  # its branches begin together, so it pools before them
    return stage.model_copy(update=changes)


def _recipe(recipe: Recipe, architecture: Architecture) -> Recipe:
    default = Recipe()
    changes: dict[str, Any] = {}
    if recipe.sampling == "balanced":
        changes["skip"] = default.skip
    if recipe.mixup > 0.0:
        changes["skip"] = default.skip
    elif recipe.augmentation in UNALTERED:
        changes["augment_until"] = default.augment_until
    if not any(stage.block in WITH_SHORTCUT for stage in architecture.stages):
        changes["stochastic_depth"] = default.stochastic_depth
    if architecture.norm == "none":
        changes["norm_bias_rate"] = default.norm_bias_rate
    return recipe.model_copy(update=changes)
