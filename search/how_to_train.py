"""What of a recipe a short training says nothing about, and what of it a search tries anyway.

A short training wants another optimizer, rate, batch and mixture of images than a long one, and no
mirrored images: these slow it down, and help where the same images come often. So a finalist that
was searched with them learns its images by heart (docs/recipe.md; arXiv 1807.06906 found little
correlation between ranks after short and after long trainings).
"""

from spaces.recipe_space import RecipeSpace

HOW_TO_TRAIN = {  # parameters, and the keys of a recipe space that state their choices
    "optimizer": "optimizers",
    "sgd_learning_rate": "sgd_learning_rate",
    "adamw_learning_rate": "adamw_learning_rate",
    "schedule": "schedules",
    "layer_rate_factor": "layer_rate_factors",
    "norm_bias_rate": "norm_bias_rates",
    "averaging": "averagings",
    "skip": "skips",
    "mixup": "mixup",
    "augmentation": "augmentations",
    "augment_until": "augment_until",
    "batch_size": "batch_sizes",
}


def unstated(recipe: RecipeSpace) -> tuple[str, ...]:
    """Return the parameters whose choices are the default ones: nobody has asked to try them."""
    default = RecipeSpace()
    return tuple(
        name for name, key in HOW_TO_TRAIN.items() if getattr(recipe, key) == getattr(default, key)
    )
