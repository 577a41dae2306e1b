"""Which trials are worth training on every fold."""

import math

from search.store.results import FoldTask
from search.store.trials import TrialRecord

PRIOR = 0  # the number of the trial that every search begins with
FIRST_FOLD = 0  # on which finalists race


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


class Race:
    """Finalists on the first fold, of which the best go on to the other folds.

    Short trials cannot tell how a candidate fares in a long training: they prefer little
    regularisation and small networks. So where there is time for it, more finalists than needed
    are trained at full length on the same rows, and judged on the same rows.
    """

    def __init__(self, tasks: list[FoldTask], *, survivors: int) -> None:
        self._tasks, self._survivors = tasks, survivors
        self._runners = [task for task in tasks if task.fold == FIRST_FOLD]

    @property
    def undecided(self) -> bool:
        """Whether a finalist still has to show what it can do."""
        able = [task for task in self._runners if task.pending or task.done]
        return len(able) > self._survivors and any(task.pending for task in able)

    @property
    def beaten(self) -> list[FoldTask]:
        """The folds that need not be trained, as their finalists have lost."""
        if self.undecided:
            return []
        ranking = sorted(
            self._runners,
            key=lambda task: (not (task.pending or task.done), -(task.accuracy or 0.0), task.place),
        )
        losers = {task.trial for task in ranking[self._survivors :]}
        return [task for task in self._tasks if task.pending and task.trial in losers]

    def open(self, tasks: list[FoldTask]) -> list[FoldTask]:
        """Return those of the tasks that may be trained now."""
        if not self.undecided:
            return tasks
        return [task for task in tasks if task.fold == FIRST_FOLD]
