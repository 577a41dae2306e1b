"""Which trials are worth training on every fold."""

import math

from search.store.trials import TrialRecord

PRIOR = 0  # the number of the trial that every search begins with


def best_trials(board: list[TrialRecord], *, count: int, validation_rows: int) -> list[TrialRecord]:
    """Return the best trials that trained to their end, or the best there are; best first.

    The prior comes first unless another is better by more than a standard error of its score:
    the best of many noisy scores is partly luck, and the prior is known to be good. Where there
    are several finalists it is one of them, for then no luck costs much.

    Args:
        board: scored trials, best first.
        validation_rows: on which each score was measured.
    """
    finished = [record for record in board if record.state == "complete"] or board
    prior = next((record for record in finished if record.number == PRIOR), None)
    if prior is not None and _tied(prior.score, finished[0].score, rows=validation_rows):
        finished = [prior, *(record for record in finished if record is not prior)]
    best = finished[:count]
    if prior is not None and count > 1 and prior not in best:
        best[-1] = prior
    return best


def _tied(score: float | None, best: float | None, *, rows: int) -> bool:
    if score is None or best is None:
        return False
    return best - score <= math.sqrt(best * (1.0 - best) / rows)
