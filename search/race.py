"""The race of finalists on the judging fold, and how two of them are compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.draws import Draws
from search.folds import JUDGING_FOLD
from search.marks import Marks
from search.pairing import difference
from search.store.results import FoldTask

DRAWS = "draws"  # key of a heat's report, where no accuracy counts: scores of rows drawn again
RIGHT = "right"  # key of a heat's report: which images it has right, as `Marks.text`
BEATEN = "beaten in the race"  # why a fold is given up that could be trained
LEAD = 1.0  # standard errors of the difference


@dataclass(frozen=True, slots=True)
class Thrift:
    """Prefers the cheapest finalist that is not clearly worse than the best one.

    Attributes:
        costs: of each trial, by number.
        tolerance: standard errors of the difference by which it may be worse.
        searched: trials as the search ranks them by the same rule, for finalists that did not run.
    """

    costs: Mapping[int, float]
    tolerance: float
    searched: Sequence[int] = ()

    def ranked(self, heats: list[FoldTask]) -> list[FoldTask]:
        """Return the finalists near the best, the cheapest first, then the others, best first."""
        done = sorted(
            (heat for heat in heats if heat.done and heat.score is not None),
            key=lambda heat: (-(heat.score or 0.0), self.costs.get(heat.trial, math.inf)),
        )
        near = [heat for heat in done if not ahead(done[0], heat, errors=self.tolerance)]
        near.sort(key=lambda heat: self.costs.get(heat.trial, math.inf))
        far = [heat for heat in done if heat not in near]
        places = {trial: place for place, trial in enumerate(self.searched)}
        rest = [heat for heat in heats if heat not in done]
        rest.sort(key=lambda heat: places.get(heat.trial, len(places)))
        return [*near, *far, *rest]


class Race:
    """Finalists on the judging fold, the best of which are then trained on the others.

    Short trials cannot tell how a candidate fares in a long training: they prefer little
    regularisation and small networks. So where there is time for it, more finalists than needed
    are trained on the same rows for the same part of the landing, and judged on the same rows.
    No network of the ensemble is judged on these, so the choice flatters no score.

    Being judged on the same images, two of them are compared in pairs (`search/pairing.py`). The
    one that was planned later must lead by a standard error of the difference.
    """

    def __init__(
        self, tasks: list[FoldTask], *, survivors: int, thrift: Thrift | None = None
    ) -> None:
        self._tasks, self._survivors, self._thrift = tasks, survivors, thrift
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
        losers = {heat.trial for heat in self._heats} - self._surviving()
        return [task for task in self._tasks if task.pending and task.trial in losers]

    @property
    def revived(self) -> list[FoldTask]:
        """The folds that were given up as beaten, of finalists that are the next after all.

        That is where none of those that won could be trained on any fold.
        """
        if self.undecided:
            return []
        surviving = self._surviving()
        return [task for task in self._tasks if _lost(task) and task.trial in surviving]

    def _surviving(self) -> set[int]:
        ranking, count = [heat.trial for heat in self._ranked_heats()], self._survivors
        while ranking[count:] and all(map(self._failed, ranking[:count])):
            ranking = ranking[count:]
        return set(ranking[:count])

    def _failed(self, trial: int) -> bool:
        """Whether a finalist was to be trained on the other folds, and none of them could be."""
        own = [t for t in self._tasks if t.trial == trial and t.fold > JUDGING_FOLD]
        return bool(own) and all(t.state == "given up" and not _lost(t) for t in own)

    def ranked(self, tasks: list[FoldTask]) -> list[FoldTask]:
        """Return the tasks of the best finalist first: by the race, else by the search."""
        if self.undecided:
            return tasks
        places = {heat.trial: place for place, heat in enumerate(self._ranked_heats())}
        return sorted(tasks, key=lambda task: (places.get(task.trial, -1), task.place, task.fold))

    def _ranked_heats(self) -> list[FoldTask]:
        if self._thrift is not None:
            return self._thrift.ranked(self._heats)
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


def _lost(task: FoldTask) -> bool:
    return task.state == "given up" and (task.report or {}).get("reason") == BEATEN


def leads(later: FoldTask, earlier: FoldTask) -> bool:
    """Whether a heat is better than one that was planned before it, by more than its error."""
    if not later.done or not earlier.done:
        return later.done
    return ahead(later, earlier, errors=LEAD)


def ahead(one: FoldTask, other: FoldTask, *, errors: float) -> bool:
    """Whether a heat is better than another by more than so many errors of the difference."""
    mine, theirs = one.report, other.report
    assert mine is not None and theirs is not None
    if RIGHT in mine:
        marks = Marks.read(mine[RIGHT]), Marks.read(theirs[RIGHT])
        return difference(*marks).leads(errors=errors)
    assert one.score is not None and other.score is not None
    draws = Draws.read(one.score, mine[DRAWS]), Draws.read(other.score, theirs[DRAWS])
    return difference(*draws).leads(errors=errors)
