"""The worker's pulse: counts the job's time, keeps its lease, and hears what should stop it."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from search.job import Job
from search.store import Lease, StudyStore

BEAT_SECONDS = 1.0


class Stopped(Exception):
    """The current piece of work must end here; its lease is released and nothing is lost."""


class Interrupted(Stopped):
    """This worker is to end: it was told to, or the process that started it is gone."""


class JobEnded(Stopped):
    """The job was cancelled or has failed while this worker was at it."""


class LeaseLost(Stopped):
    """Somebody else has taken this piece of work over."""


class Heartbeat:
    """A thread that beats for one job, and for one lease at a time, until it is closed.

    Args:
        interrupted: set from a signal handler to stop the work at its next step.
        parent: the process that started this one; when it is gone, the work stops as well.
    """

    def __init__(
        self, store: StudyStore, job: Job, *, interrupted: threading.Event, parent: int
    ) -> None:
        self.interrupted = interrupted
        self._store, self._job = store, job
        self._lease: Lease | None = None
        self._lost: Lease | None = None
        self._ended = False
        self._read_at = time.monotonic()
        self._used = job.seconds_used
        self._parent = parent
        self._closed = threading.Event()
        self._renewing = threading.Lock()
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def used(self) -> float:
        """Seconds of the job's clock that have been used."""
        return self._used + time.monotonic() - self._read_at

    def seconds_until(self, second: float | None) -> float:
        """Return how long it is until a second of the job's clock; infinite for None."""
        return float("inf") if second is None else second - self.used

    @contextmanager
    def lease(self, key: str, *, owner: str) -> Iterator[Lease | None]:
        """Hold a lease of the job over the block, or None if somebody else does.

        It is finished if the block ends well, and released for anyone to claim if not.
        """
        lease = self._store.leases.claim(f"{self._job.id}/{key}", owner=owner)
        if lease is None:
            yield None
            return
        self._keep(lease)
        try:
            yield lease
        except BaseException as failure:
            self._keep(None)
            self._store.leases.release(lease, refund=isinstance(failure, Stopped))
            raise
        self._keep(None)
        self._store.leases.finish(lease)

    def check(self) -> None:
        """Raise the reason to stop, if there is one. Cheap: called before every step."""
        if self.interrupted.is_set():
            raise Interrupted
        if self._ended:
            raise JobEnded
        if self._lost is not None and self._lost is self._lease:
            raise LeaseLost

    def check_lease(self) -> None:
        """Ask the store, after an epoch or the like, whether the lease is still held.

        Raises like `check`, so that whoever lost the lease writes nothing.
        """
        lease = self._lease
        if lease is not None and not self._store.leases.renew(lease, progressed=True):
            self._lost = lease
        self.check()

    def close(self) -> None:
        """Stop beating."""
        self._closed.set()
        self._thread.join()

    def _keep(self, lease: Lease | None) -> None:
        """Renew this lease from now on, instead of the one before.

        Once this has returned, no beat renews the one before: it can be given back.
        """
        with self._renewing:
            self._lease = lease

    def _run(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            try:
                self._beat()
            except SQLAlchemyError:
                continue  # the next beat tries again; a lease outlives many missed beats

    def _beat(self) -> None:
        self._used = self._store.jobs.tick(self._job.id)
        self._read_at = time.monotonic()
        with self._renewing:
            lease = self._lease
            if lease is not None and not self._store.leases.renew(lease):
                self._lost = lease
        self._ended = self._store.jobs.get(self._job.id).ended
        if os.getppid() != self._parent:
            self.interrupted.set()
