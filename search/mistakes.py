"""Where a model is wrong: the pairs of classes that it confuses, the rows it is surest of."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows of one class that are taken for another.

    Attributes:
        target, predicted: the classes.
        share: of the rows of the target's class.
    """

    target: int
    predicted: int
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that is taken for another class.

    Attributes:
        row: its id among the training rows.
        probability: that was given to the class that it was taken for.
        given: that was given to its own.
    """

    row: int
    target: int
    predicted: int
    probability: float
    given: float


def confused_pairs(counts: NDArray[np.int64], *, most: int) -> tuple[Confusion, ...]:
    """Return the pairs of classes with the most rows, of `search.metrics.confusion`'s counts."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return tuple(
        Confusion(one, other, int(wrong[one, other]), float(wrong[one, other] / counts[one].sum()))
        for one, other in pairs
        if wrong[one, other]
    )


def worst_mistakes(
    probabilities: NDArray[np.floating[Any]],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    most: int,
) -> tuple[Mistake, ...]:
    """Return the mistakes whose true class was given the least, against the one that was told.

    Args:
        probabilities: (n, classes).
        rows: (n,) the ids of the rows.
    """
    places = np.arange(len(targets))
    predicted = probabilities.argmax(1)
    lead = probabilities[places, predicted] - probabilities[places, targets]
    wrong = np.flatnonzero(predicted != targets)
    worst = wrong[np.argsort(-lead[wrong], kind="stable")[:most]]
    return tuple(
        Mistake(
            row=int(rows[place]),
            target=int(targets[place]),
            predicted=int(predicted[place]),
            probability=float(probabilities[place, predicted[place]]),
            given=float(probabilities[place, targets[place]]),
        )
        for place in worst
    )
