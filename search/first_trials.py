"""The trials that every search begins with, and what they decide for all others.

A short training wants another optimizer, rate, batch and mixture of images than a long one, and no
mirrored images: these slow it down, and help where the same images come often. So a finalist that
was searched with them learns its images by heart (docs/recipe.md; arXiv 1807.06906 found little
correlation between ranks after short and after long trainings). Where the search has a time, only
the network and its regularisation are searched; how to train is taken from the prior, with
mirroring or without.
"""

import math
from collections.abc import Sequence
from typing import Any

from search.score_errors import binomial_error
from search.store.records import TrialRecord
from spaces.space import SearchSpace

PRIOR, PLAIN = 0, 1  # numbers of the prior's trial, and of the one without mirroring
CLEARLY = 2.0  # standard errors by which the latter must be better, as with digits and letters
HOW_TO_TRAIN = (  # parameters of which a short training says nothing about a long one
    "optimizer",
    "sgd_learning_rate",
    "adamw_learning_rate",
    "schedule",
    "layer_rate_factor",
    "norm_bias_rate",
    "averaging",
    "skip",
    "mixup",
    "augmentation",
    "augment_until",
    "batch_size",
)


def first_trials(space: SearchSpace, *, size: float) -> list[dict[str, Any]]:
    """Return the parameters of the prior, and of the prior as it learns unaltered images.

    Digits and letters, unlike clothes, are something else in the mirror.
    """
    prior = space.prior(size=size)
    if prior.get("augmentation", "none") == "none" or "none" not in space.recipe.augmentations:
        return [prior]
    return [prior, prior | {"augmentation": "none"}]


def leader(
    first: Sequence[dict[str, Any]], records: list[TrialRecord], *, validation_rows: int
) -> int:
    """Return the number of the first trial that all others follow.

    Args:
        first: parameters of the first trials that decide something.
        records: all trials by number, so far.
        validation_rows: on which each score was measured.
    """
    if len(first) <= PLAIN or len(records) <= PLAIN:
        return PRIOR
    prior, plain = records[PRIOR], records[PLAIN]
    if prior.open or not plain.finished or plain.score is None:
        return PRIOR
    if not prior.finished or prior.score is None:
        return PLAIN
    margin = CLEARLY * error_of(plain, rows=validation_rows)
    return PLAIN if plain.score - prior.score > margin else PRIOR


def common_parameters(first: Sequence[dict[str, Any]], *, leader: int) -> dict[str, Any]:
    """Return the parameters that the trials after the first ones do not sample."""
    stated = first[leader] if first else {}
    return {name: stated[name] for name in HOW_TO_TRAIN if name in stated}


def without_loser(
    board: list[TrialRecord], first: Sequence[dict[str, Any]], *, leader: int
) -> list[TrialRecord]:
    """Leave out the first trial that the others do not follow, unless it is alone."""
    losers = {PRIOR, PLAIN} - {leader} if len(first) > PLAIN else set()
    return [record for record in board if record.number not in losers] or board


def error_of(record: TrialRecord, *, rows: int) -> float:
    """Return the standard error of a trial's score.

    Of a trial that was cut short it is that of an accuracy; infinite where the score is none.
    """
    if record.error is not None:
        return record.error
    if record.score is None or not 0.0 <= record.score <= 1.0:
        return math.inf
    return binomial_error(record.score, rows=rows)
