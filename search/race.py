"""The race of finalists on the judging fold, and how two of them are compared."""

import math

from search.folds import JUDGING_FOLD
from search.pairing import difference
from search.store.results import FoldTask

ERROR = "error"  # key of a heat's report: its score's standard error, where that is no accuracy
RIGHT = "right"  # key of a heat's report: which images it has right, packed
LEAD = 1.0  # standard errors of the difference


class Race:
    """Finalists on the judging fold, the best of which are then trained on the others.

    Short trials cannot tell how a candidate fares in a long training: they prefer little
    regularisation and small networks. So where there is time for it, more finalists than needed
    are trained on the same rows for the same part of the landing, and judged on the same rows.
    No network of the ensemble is judged on these, so the choice flatters no score.

    Being judged on the same images, two of them are compared in pairs (`search/pairing.py`). The
    one that was planned later must lead by a standard error of the difference.
    """

    def __init__(self, tasks: list[FoldTask], *, survivors: int) -> None:
        self._tasks, self._survivors = tasks, survivors
        self._heats = [task for task in tasks if task.fold == JUDGING_FOLD]

    @property
    def undecided(self) -> bool:
        """Whether a finalist still has to show what it can do."""
        return any(task.pending for task in self._heats)

    @property
    def beaten(self) -> list[FoldTask]:
        """The folds that need not be trained, as their finalists have lost.

        A finalist that could not be trained ranks last, but survives if no other could be.
        """
        if self.undecided:
            return []
        losers = {heat.trial for heat in self._ranked_heats()[self._survivors :]}
        return [task for task in self._tasks if task.pending and task.trial in losers]

    def ranked(self, tasks: list[FoldTask]) -> list[FoldTask]:
        """Return the tasks of the best finalist first: by the race, else by the search."""
        if self.undecided:
            return tasks
        places = {heat.trial: place for place, heat in enumerate(self._ranked_heats())}
        return sorted(tasks, key=lambda task: (places.get(task.trial, -1), task.place, task.fold))

    def _ranked_heats(self) -> list[FoldTask]:
        left, ranking = sorted(self._heats, key=lambda heat: heat.place), list[FoldTask]()
        while left:
            best = left[0]
            for other in left[1:]:
                if leads(other, best):
                    best = other
            ranking.append(best)
            left.remove(best)
        return ranking

    def open(self, tasks: list[FoldTask]) -> list[FoldTask]:
        """Return those of the tasks that may be trained now."""
        if not self.undecided:
            return tasks
        return [task for task in tasks if task.fold == JUDGING_FOLD]


def leads(later: FoldTask, earlier: FoldTask) -> bool:
    """Whether a heat is better than one that was planned before it, by more than its error."""
    if not later.done or not earlier.done:
        return later.done
    assert later.report is not None and earlier.report is not None
    if RIGHT in later.report:
        return difference(later.report[RIGHT], earlier.report[RIGHT]).leads(errors=LEAD)
    assert later.score is not None and earlier.score is not None
    error = math.hypot(later.report[ERROR], earlier.report[ERROR])
    return later.score - earlier.score > LEAD * error
