"""The trials that every search begins with, and what they decide for all others.

Mirrored images slow a short training down and help a long one, where the same images come often.
So trials that sampled the augmentation would drop it, and the finalists would learn their images by
heart (docs/recipe.md). Where the search has a time, it is decided by the first two trials instead.
"""

import math
from collections.abc import Sequence
from typing import Any

from search.store.trials import TrialRecord
from spaces.cnn import CnnSpace

PRIOR, PLAIN = 0, 1  # numbers of the prior's trial, and of the one without mirroring
CLEARLY = 2.0  # standard errors by which the latter must be better, as with digits and letters


def first_trials(space: CnnSpace, *, width: int) -> list[dict[str, Any]]:
    """Return the parameters of the prior, and of the prior as it learns unaltered images.

    Digits and letters, unlike clothes, are something else in the mirror.
    """
    prior = space.prior(width=width)
    if prior["augmentation"] == "none" or "none" not in space.recipe.augmentations:
        return [prior]
    return [prior, prior | {"augmentation": "none"}]


def leader(
    first: Sequence[dict[str, Any]], records: list[TrialRecord], *, validation_rows: int
) -> int:
    """Return the number of the first trial whose augmentation all others have.

    Args:
        first: parameters of the first trials.
        records: all trials so far, or those that have a score, in any order.
        validation_rows: on which each score was measured.
    """
    scores = {record.number: record.score for record in records if record.finished}
    prior, plain = scores.get(PRIOR), scores.get(PLAIN)
    if len(first) <= PLAIN or plain is None:
        return PRIOR
    margin = CLEARLY * standard_error(plain, rows=validation_rows)
    return PLAIN if prior is None or plain - prior > margin else PRIOR


def common_parameters(first: Sequence[dict[str, Any]], *, leader: int) -> dict[str, Any]:
    """Return the parameters that the trials after the first ones do not sample."""
    return {"augmentation": first[leader]["augmentation"]} if len(first) > PLAIN else {}


def without_loser(
    board: list[TrialRecord], first: Sequence[dict[str, Any]], *, leader: int
) -> list[TrialRecord]:
    """Leave out the first trial that the others do not follow, unless it is alone."""
    losers = {PRIOR, PLAIN} - {leader} if len(first) > PLAIN else set()
    return [record for record in board if record.number not in losers] or board


def standard_error(accuracy: float, *, rows: int) -> float:
    """Return that of an accuracy measured on so many rows, as a share."""
    return math.sqrt(accuracy * (1.0 - accuracy) / rows)
