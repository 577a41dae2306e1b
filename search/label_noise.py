"""Which labels are probably wrong, by what networks say that have not learnt from them.

The rule of confident learning (C. G. Northcutt, L. Jiang and I. L. Chuang, arXiv 1911.00068): a
row is suspected if another class than its label is as probable as it is, on average, for the rows
that are labelled so. The most suspicious ones come first.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.predictions import OutOfFoldPredictions


def suspected_labels(said: OutOfFoldPredictions) -> NDArray[np.int64]:
    """Return rows (n,) whose label is suspected, the most suspicious first.

    Rows are ordered by how much more probable the other class is than the label.
    """
    rows = np.flatnonzero(said.covered)
    if not len(rows):
        return rows
    labels, probabilities = said.targets[rows], said.probabilities[rows]
    others, lead = _others(labels, probabilities)
    usual = _usual_confidence(labels, probabilities)
    chosen = probabilities[np.arange(len(rows)), others] >= usual[others]
    order = np.argsort(-lead[chosen], kind="stable")
    suspicious: NDArray[np.int64] = rows[chosen][order]
    return suspicious


def most_doubtful(said: OutOfFoldPredictions, count: int) -> NDArray[np.int64]:
    """Return so many covered rows whose labels are least credible, the least first."""
    rows = np.flatnonzero(said.covered)
    _, lead = _others(said.targets[rows], said.probabilities[rows])
    doubtful: NDArray[np.int64] = rows[np.argsort(-lead, kind="stable")[:count]]
    return doubtful


def _others(
    labels: NDArray[np.int64], probabilities: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return each row's most probable class besides its label, and by how much it leads."""
    every = np.arange(len(labels))
    rest = probabilities.copy()
    own = rest[every, labels]
    rest[every, labels] = -1.0
    others = rest.argmax(axis=1)
    return others, rest[every, others] - own


def _usual_confidence(labels: NDArray[np.int64], probabilities: NDArray[Any]) -> NDArray[Any]:
    """Return how probable each class is, on average, for the rows that are labelled so."""
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    means: NDArray[Any] = np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)
    return means
