"""What unbalanced classes change: how a model is judged, and what it is trained for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.metrics import MetricName
from search.numbers import is_numbers
from spaces.recipe_space import RecipeSpace

ALIKE: tuple[MetricName, ...] = ("balanced_accuracy", "macro_f1")  # to these all classes are
UNBALANCED = 5.0  # times the rows of the rarest class that the most frequent one has


def imbalance(labels: NDArray[np.integer[Any]]) -> float:
    """Return how many times the rows of the rarest class the most frequent one has."""
    counts = np.unique(labels, return_counts=True)[1]
    return float(counts.max() / counts.min())


def usual_metric(labels: NDArray[Any]) -> tuple[MetricName, str]:
    """Return the metric for these labels or numbers, and why it is not the usual one, if so.

    Where one class has nearly all rows, an accuracy says little about the others.
    """
    if is_numbers(labels):
        return "rmse", ""
    times = imbalance(labels)
    if times < UNBALANCED:
        return "accuracy", ""
    return "balanced_accuracy", (
        f"the most frequent class has {times:.0f} times the rows of the rarest: models are judged "
        "by balanced accuracy, in which all classes count alike"
    )


def with_class_weights(
    recipe: RecipeSpace, labels: NDArray[np.integer[Any]]
) -> tuple[RecipeSpace, str]:
    """Let the losses of unbalanced classes count alike, first and by choice, and say so.

    A space that states weights, samplings or focal losses of its own stays as it is.
    """
    default = RecipeSpace()
    names = ("class_weights", "samplings", "focals")
    stated = any(getattr(recipe, name) != getattr(default, name) for name in names)
    if stated or imbalance(labels) < UNBALANCED:
        return recipe, ""
    changed = recipe.model_copy(update={"class_weights": ("balanced", "none")})
    return changed, "losses are weighed so that all classes count alike, or not"
