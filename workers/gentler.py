"""What is trained in place of a candidate that has diverged."""

from spaces.recipe import Candidate

RATE = 0.3  # of the learning rate
CLIP_NORM = 1.0


def gentler(candidate: Candidate) -> Candidate:
    """Return a candidate with a lower rate and clipped gradients."""
    recipe = candidate.recipe
    changes = {"learning_rate": recipe.learning_rate * RATE, "clip_norm": CLIP_NORM}
    return candidate.model_copy(update={"recipe": recipe.model_copy(update=changes)})


def is_gentler(candidate: Candidate) -> bool:
    """Whether a candidate has clipped gradients, so that no gentler one is tried."""
    return candidate.recipe.clip_norm is not None
