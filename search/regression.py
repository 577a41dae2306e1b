"""What a search tries where numbers are predicted, unless its space says otherwise."""

from spaces.recipe_space import RecipeSpace

LOSSES = ("huber", "squared", "l1")
NOTE = (
    "numbers are predicted: losses are Huber's, squared or absolute errors; images are mirrored or "
    "not, but not moved, as that may change their number"
)


def for_regression(recipe: RecipeSpace) -> tuple[RecipeSpace, str]:
    """Return a space without what is for classes alone, and what was decided.

    Labels are not smoothed. Losses and augmentations that are not stated are chosen.
    """
    default = RecipeSpace()
    changes: dict[str, object] = {"label_smoothing": (0.0, 0.0)}
    if recipe.regression_losses == default.regression_losses:
        changes["regression_losses"] = LOSSES
    if recipe.augmentations == default.augmentations:
        changes["augmentations"] = ("flip", "none")
    return recipe.model_copy(update=changes), NOTE
