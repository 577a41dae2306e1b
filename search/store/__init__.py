"""The study store: one database for jobs, trials, leases, results of folds, test openings."""

from functools import cached_property

import optuna
from optuna.storages import BaseStorage, get_storage

from search.job import Job
from search.store.jobs import Jobs
from search.store.leases import Lease, Leases
from search.store.results import FoldResults, FoldTask, TestOpening, TestOpenings
from search.store.schema import prepared_storage
from search.store.trials import TrialRecord, Trials

__all__ = [
    "FoldTask",
    "Lease",
    "StudyStore",
    "TestOpening",
    "TrialRecord",
    "Trials",
]

optuna.logging.set_verbosity(optuna.logging.WARNING)


class StudyStore:
    """The only way to a search's record.

    Invariants:
        - whatever is told complete has its files on disk before;
        - a piece of work is done by the holder of its lease, and by nobody else;
        - times come from the database's clock, never from a worker's.

    Raises:
        StoreError: the database cannot be opened, or a newer Athanor made it.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        self.url = url
        self._rdb = prepared_storage(url, create=create)
        engine = self._rdb.engine
        self.jobs = Jobs(engine)
        self.leases = Leases(engine)
        self.folds = FoldResults(engine)
        self.test = TestOpenings(engine)
        self._trials: dict[str, Trials] = {}

    @cached_property
    def storage(self) -> BaseStorage:
        """Optuna's storage, cached: finished trials are read once."""
        return get_storage(self._rdb)

    def trials(self, job: Job) -> Trials:
        """Return the study of a job, created at the first call of any process."""
        if job.id not in self._trials:
            self._trials[job.id] = Trials(self.storage, job)
        return self._trials[job.id]

    def close(self) -> None:
        """Give all connections back."""
        self._rdb.remove_session()
        self._rdb.engine.dispose()
