"""What the landing has produced: results of folds, and openings of test sets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from search.folds import JUDGING_FOLD
from search.row_sketch import RowSketch
from search.store.database import Table, clock, lock_table
from search.store.patience import patient
from search.store.tables import fold_results, test_openings

LOOK = "athanor predict"  # why a test set is opened that no search opens


FoldState = Literal["planned", "done", "given up"]


@dataclass(frozen=True, slots=True)
class FoldTask:
    """One finalist on one fold; `files` names the folder that counts, once it is done.

    Attributes:
        place: the finalist's rank in the search, from 0.
        score: by the job's metric on the rows that the fold leaves out; None after a refit.
        report: how long it trained and how it was measured, once it is done.
    """

    job_id: str
    trial: int
    fold: int
    place: int
    state: FoldState
    files: str | None
    score: float | None
    report: dict[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether the fold has a result."""
        return self.state == "done"

    @property
    def may_judge(self) -> bool:
        """Whether it has a network, or may yet, that did not learn the rows that it predicts.

        The judging fold's do not count.
        """
        return self.fold > JUDGING_FOLD and (self.done or self.pending)

    @property
    def pending(self) -> bool:
        """Whether the fold is still to be trained."""
        return self.state == "planned"

    @classmethod
    def from_row(cls, row: Any) -> "FoldTask":
        """Build from a row of the table `fold_results`."""
        return cls(
            job_id=row.job_id,
            trial=row.trial,
            fold=row.fold,
            place=row.place,
            state=row.state,
            files=row.files,
            score=row.score,
            report=row.report,
        )


@dataclass(frozen=True, slots=True)
class TestOpening:
    """One look at a test set; `score` is None between the opening and the score.

    It is the accuracy; where numbers are predicted, that of the job's metric.
    """

    __test__ = False  # not a test class, whatever its name

    id: int
    rows: RowSketch
    job_id: str
    opened_by: str
    reason: str
    opened_at: float
    score: float | None

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> "TestOpening":
        """Build from a row of the table `test_openings`."""
        values = dict(row._mapping)
        smallest = tuple(values.pop("smallest") or ())
        rows = RowSketch(values.pop("test_fingerprint"), values.pop("row_count"), smallest)
        return cls(rows=rows, **values)


class FoldResults(Table):
    """Finalists on folds, in the order in which they should be trained."""

    @patient
    def plan(self, job_id: str, *, trials: list[int], folds: Iterable[int]) -> None:
        """Plan these folds of each finalist, the best finalist first; a no-op if it is planned."""
        numbers = list(folds)
        with self._engine.begin() as connection:
            lock_table(connection, fold_results)
            mine = fold_results.c.job_id == job_id
            if connection.scalar(sa.select(sa.func.count()).where(mine)):
                return
            rows = [
                {"job_id": job_id, "trial": trial, "fold": fold, "place": place, "state": "planned"}
                for place, trial in enumerate(trials)
                for fold in numbers
            ]
            connection.execute(sa.insert(fold_results), rows)

    @patient
    def add(self, job_id: str, *, trial: int, folds: Iterable[int]) -> None:
        """Plan folds of one more finalist, the last; a no-op while any fold is to be trained."""
        with self._engine.begin() as connection:
            lock_table(connection, fold_results)
            mine = sa.select(fold_results.c.trial, fold_results.c.place, fold_results.c.state)
            known = connection.execute(mine.where(fold_results.c.job_id == job_id)).all()
            if any(row.state == "planned" or row.trial == trial for row in known):
                return
            place = 1 + max((row.place for row in known), default=-1)
            same = {"job_id": job_id, "trial": trial, "place": place, "state": "planned"}
            connection.execute(sa.insert(fold_results), [{**same, "fold": fold} for fold in folds])

    @patient
    def all(self, job_id: str) -> list[FoldTask]:
        """Return a job's folds by finalist, then by fold."""
        with self._engine.connect() as connection:
            return _of_job(connection, job_id)

    def record(
        self, task: FoldTask, *, files: str, score: float | None, report: dict[str, Any]
    ) -> None:
        """Record a trained fold whose files are written."""
        self._end(task, state="done", files=files, score=score, report=report)

    @patient
    def spare(self, task: FoldTask, *, reason: str) -> bool:
        """Give a fold up unless it is the last hope; return whether it is given up now."""
        with self._engine.begin() as connection:
            lock_table(connection, fold_results)
            if is_last_hope(task, _of_job(connection, task.job_id)):
                return False
            end = {"state": "given up", "report": {"reason": reason}}
            connection.execute(_planned(task).values(end))
            return True

    def give_up(self, task: FoldTask, *, reason: str) -> None:
        """Record that a fold will have no result, and why."""
        self._end(task, state="given up", report={"reason": reason})

    @patient
    def reopen(self, task: FoldTask) -> None:
        """Plan a fold again that was given up; a no-op if it is planned."""
        again = _in_state(task, "given up").values(state="planned", report=None)
        with self._engine.begin() as connection:
            connection.execute(again)

    @patient
    def _end(self, task: FoldTask, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(_planned(task).values(**values))


def _of_job(connection: sa.Connection, job_id: str) -> list[FoldTask]:
    query = (
        sa.select(fold_results)
        .where(fold_results.c.job_id == job_id)
        .order_by(fold_results.c.place, fold_results.c.fold)
    )
    return [FoldTask.from_row(row) for row in connection.execute(query)]


def is_last_hope(task: FoldTask, tasks: Iterable[FoldTask]) -> bool:
    """Whether it may judge a network, and no other fold of its job may."""
    hopes = {(each.trial, each.fold) for each in tasks if each.may_judge}
    return task.fold > JUDGING_FOLD and hopes <= {(task.trial, task.fold)}


def _planned(task: FoldTask) -> sa.Update:
    return _in_state(task, "planned")


def _in_state(task: FoldTask, state: str) -> sa.Update:
    return sa.update(fold_results).where(
        fold_results.c.job_id == task.job_id,
        fold_results.c.trial == task.trial,
        fold_results.c.fold == task.fold,
        fold_results.c.state == state,
    )


class TestOpenings(Table):
    """The seal on test sets: every opening is a row, made before the first label is read."""

    __test__ = False

    @patient
    def open(
        self, job_id: str, *, rows: RowSketch, by: str, reason: str, again: bool = False
    ) -> TestOpening | None:
        """Record that a job opens its test set; a job that did so already goes on with that.

        Args:
            rows: of the test set. Another one with half of these rows is the same.
            again: also if another job has opened it before; else that stays the only look at it,
                and None is returned.
        """
        with self._engine.begin() as connection:
            lock_table(connection, test_openings)
            known = self._alike(connection, rows)
            own = [each for each in known if each.job_id == job_id and each.reason != LOOK]
            if own or (known and not again):
                return own[0] if own else None
            self._insert(connection, job_id, rows, by=by, reason=reason, score=None)
            return self._alike(connection, rows)[-1]

    def look(self, job_id: str, *, rows: RowSketch, by: str, score: float) -> None:
        """Record that somebody has looked at a test set once more, with a model of a job."""
        with self._engine.begin() as connection:
            self._insert(connection, job_id, rows, by=by, reason=LOOK, score=score)

    @staticmethod
    def _insert(
        connection: sa.Connection,
        job_id: str,
        rows: RowSketch,
        *,
        by: str,
        reason: str,
        score: float | None,
    ) -> None:
        connection.execute(
            sa.insert(test_openings).values(
                test_fingerprint=rows.fingerprint,
                row_count=rows.count,
                smallest=list(rows.smallest),
                job_id=job_id,
                opened_by=by,
                reason=reason,
                opened_at=clock(),
                score=score,
            )
        )

    @staticmethod
    def _alike(connection: sa.Connection, rows: RowSketch) -> list[TestOpening]:
        query = sa.select(test_openings).order_by(test_openings.c.id)
        every = map(TestOpening.from_row, connection.execute(query))
        return [each for each in every if rows.is_like(each.rows)]

    @patient
    def score(self, opening: TestOpening, *, score: float) -> None:
        """Write down what an opening showed, once and for all."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(test_openings)
                .where(test_openings.c.id == opening.id, test_openings.c.score.is_(None))
                .values(score=score)
            )

    @patient
    def all(self, rows: RowSketch) -> list[TestOpening]:
        """Return every opening of a test set by any job of this store, the first one first."""
        with self._engine.connect() as connection:
            return self._alike(connection, rows)
