"""The trials that every search begins with, and what they decide for all others.

Where the search has a time, the network and its regularisation are searched, and what the job
states of how to train; the rest of that is taken from the prior, with mirroring or without
(`search/how_to_train.py` says why).
"""

import math
from collections.abc import Sequence
from typing import Any

from search.score_errors import binomial_error
from search.store.records import TrialRecord
from spaces.space import SearchSpace

PRIOR, PLAIN = 0, 1  # numbers of the prior's trial, and of the one without mirroring
CLEARLY = 2.0  # standard errors by which the latter must be better, as with digits and letters


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


def common_parameters(
    first: Sequence[dict[str, Any]], *, leader: int, settled: Sequence[str]
) -> dict[str, Any]:
    """Return the parameters that the trials after the first ones do not sample.

    Args:
        settled: their names.
    """
    stated = first[leader] if first else {}
    return {name: stated[name] for name in settled if name in stated}


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
