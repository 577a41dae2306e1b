"""The study store: one database for jobs, trials, leases, results of folds, test openings."""

from contextlib import AbstractContextManager, suppress

import optuna
from optuna.storages import BaseStorage, get_storage

from search.job import Job
from search.store.beats import Beat, Beats, WorkerIdentity, WorkerRecord
from search.store.changes import Changes
from search.store.database import LEASE_SECONDS, Database, backend_of
from search.store.fences import Lease, StaleFence
from search.store.jobs import Jobs
from search.store.leases import Leases
from search.store.patience import Patience, Tell, Wait, is_away, no_wait, say_nothing
from search.store.records import TrialRecord
from search.store.results import FoldResults, FoldTask, TestOpening, TestOpenings
from search.store.schema import prepared_storage
from search.store.studies import Studies
from search.store.trials import Trials
from spaces.errors import JobError

__all__ = [
    "Beat",
    "FoldTask",
    "Lease",
    "StaleFence",
    "StudyStore",
    "TestOpening",
    "TrialRecord",
    "Trials",
    "WorkerIdentity",
    "WorkerRecord",
    "is_away",
]

optuna.logging.set_verbosity(optuna.logging.WARNING)


class StudyStore:
    """The only way to a search's record.

    Invariants:
        - whatever is told complete has its files on disk before;
        - a piece of work is done by the holder of its lease, and by nobody else: what is
          written within `fenced` is written by its holder, or not at all;
        - times come from the database's clock, never from a worker's.

    Args:
        wait: called with seconds to wait for while the database is away; true ends the
            patience. By default there is none.
        tell: called with a line for people when that gets long.
        reads_only: it can write nothing, and no worker ever waits for it.
        lease_seconds: how long after its holder's death a piece of work is taken over; all
            who share a store should agree.

    Raises:
        StoreError: the database cannot be opened, or a newer Athanor made it.
    """

    def __init__(
        self,
        url: str,
        *,
        create: bool = False,
        reads_only: bool = False,
        wait: Wait = no_wait,
        tell: Tell = say_nothing,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.url = url
        self.backend = backend_of(url)
        self.reads_only = reads_only
        patience = Patience(wait, tell=tell)
        self._rdb = prepared_storage(url, create=create, patience=patience, reads_only=reads_only)
        self._database = Database(self._rdb.engine, patience, lease_seconds=lease_seconds)
        self.jobs = Jobs(self._database)
        self.leases = Leases(self._database)
        self.folds = FoldResults(self._database)
        self.test = TestOpenings(self._database)
        self.beats = Beats(self._database)
        self.studies = Studies(self._database)
        self.changes = Changes(self._database, query=self.backend.mark)
        self._trials: dict[str, Trials] = {}

    @property
    def name(self) -> str:
        """How messages name the store: without a password."""
        return self.backend.name

    @property
    def patience(self) -> Patience:
        """For calls that may be made again when the database was away."""
        return self._database.patience

    def fenced(self, lease: Lease) -> AbstractContextManager[None]:
        """Check a lease in every transaction that this thread begins within a block.

        Raises:
            StaleFence: from any call to the store within the block, which then has no effect.
        """
        return self._database.fence.around(lease)

    def storage(self) -> BaseStorage:
        """Return Optuna's storage with a cache of its own: finished trials are read once.

        A cache must see one job alone: SQLite gives the numbers of a deleted study to the next.
        """
        return get_storage(self._rdb)

    def trials(self, job: Job) -> Trials:
        """Return the study of a job, created at the first call of any process that may write.

        A job that lands another one's trials has the study of that.

        Raises:
            JobError: the store reads only, and the study is not there yet.
        """
        if job.id not in self._trials:
            self._trials[job.id] = Trials(
                self.storage(),
                job,
                study=self.study_of(job),
                patience=self.patience,
                create=not self.reads_only,
            )
        return self._trials[job.id]

    def has_study(self, job: Job) -> bool:
        """Whether a job is planned, and its study is there or may be made."""
        if job.plan is None or not self.reads_only:
            return job.plan is not None
        try:
            return self.studies.exists(self.study_of(job))
        except JobError:  # the job whose trials it lands was deleted
            return False

    def study_of(self, job: Job) -> str:
        """Return the name of the study with a job's trials: that of the job that searched."""
        while job.spec.lands is not None:
            job = self.jobs.get(job.spec.lands)
        return job.id

    def delete(self, job: Job) -> None:
        """Forget a job and its study; openings of its test set are kept."""
        self._trials.pop(job.id, None)
        if job.spec.lands is None:
            with suppress(KeyError):
                optuna.delete_study(study_name=job.id, storage=self._rdb)
        self.jobs.delete(job.id)

    def close(self) -> None:
        """Give all connections back."""
        self.changes.close()
        self._rdb.remove_session()
        self._rdb.engine.dispose()
