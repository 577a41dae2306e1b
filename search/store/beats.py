"""A worker's beat: one transaction a second in which it says that it lives, and hears the news."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from search.job import ENDED
from search.store.database import Table, clock, insert_new
from search.store.fences import Lease
from search.store.jobs import count_time
from search.store.leases import prolong
from search.store.patience import is_away, patient
from search.store.tables import jobs, leases, workers

LOST_SECONDS = 60.0  # of silence, after which a worker is no longer listed


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Who a worker is; `id` is what it owns leases as."""

    id: str
    host: str
    device: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker hears from its beat.

    Attributes:
        seconds_used: of the job's clock.
        lease_held: false once somebody else has taken the lease.
        job_stopped: the job has ended, was paused or deleted.
    """

    seconds_used: float
    lease_held: bool
    job_stopped: bool


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as others see it.

    Attributes:
        doing: the key of the lease that it holds.
        unfit: by job, why the worker cannot work on it.
        silent: seconds since its last beat.
    """

    id: str
    host: str
    device: str
    job_id: str | None
    doing: str | None
    unfit: dict[str, str]
    silent: float


class Beats(Table):
    """Beats of all workers; one that fails is followed by the next, so it is not repeated."""

    def beat(
        self,
        worker: WorkerIdentity,
        job_id: str,
        lease: Lease | None,
        *,
        processor_seconds: float = 0.0,
        alive: Callable[[], float] = lambda: 0.0,
    ) -> Beat:
        """Renew the lease, count the job's time, tell what the worker does.

        Args:
            processor_seconds: that the worker's process has taken since its last beat.
            alive: returns for how many seconds the worker has lived, and has reached the database,
                since its last beat was written; asked once this one can be written.
        """
        with self._engine.begin() as connection:  # in the order in which others lock the rows
            seconds = self._database.lease_seconds
            held = lease is None or prolong(connection, lease, seconds=seconds)
            used = count_time(
                connection, job_id, processor_seconds=processor_seconds, alive=alive()
            )
            _see(connection, worker, job_id=job_id, doing=None if lease is None else lease.key)
            row = connection.execute(
                sa.select(jobs.c.state, jobs.c.paused).where(jobs.c.id == job_id)
            ).one_or_none()
        stopped = row is None or row.state in ENDED or row.paused
        return Beat(seconds_used=used, lease_held=held, job_stopped=stopped)

    def wait(self, worker: WorkerIdentity) -> None:
        """Tell that a worker waits for work."""
        with self._engine.begin() as connection:
            _see(connection, worker, job_id=None, doing=None)

    @patient
    def tell_unfit(self, worker: WorkerIdentity, reasons: Mapping[str, str]) -> None:
        """Tell which jobs a worker cannot work on, and why; nothing else that it told before."""
        change = sa.update(workers).where(workers.c.id == worker.id)
        with self._engine.begin() as connection:
            _see(connection, worker, job_id=None, doing=None)
            connection.execute(change.values(unfit=dict(reasons)))

    def bury(self, worker_id: str, *, reason: str) -> None:
        """Let others claim what a worker held that is known to be dead, and say why it died.

        The first reason that is given stays: a worker that knows why it ends has said so.
        """
        mine = sa.update(leases).where(leases.c.owner == worker_id, leases.c.expires_at > 0.0)
        with self._engine.begin() as connection:
            connection.execute(mine.values(expires_at=0.0, reason=reason))
            connection.execute(sa.delete(workers).where(workers.c.id == worker_id))

    def leave(self, worker: WorkerIdentity) -> None:
        """Tell that a worker ends."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(workers).where(workers.c.id == worker.id))

    @patient
    def all(self) -> list[WorkerRecord]:
        """Return the workers that were seen within the last minute, by host and name."""
        silent = (clock() - workers.c.seen_at).label("silent")
        columns = [column for column in workers.c if column.name != "seen_at"]
        query = sa.select(*columns, silent).where(silent < LOST_SECONDS)
        with self._reader.connect() as connection:
            rows = connection.execute(query.order_by(workers.c.host, workers.c.id))
            return [WorkerRecord(**row._mapping) for row in rows]

    def at_work(self, job_id: str) -> list[WorkerRecord]:
        """Return the workers that work on a job."""
        return [worker for worker in self.all() if worker.job_id == job_id]

    def hands(self, job_id: str) -> int:
        """Return how many workers a job has, those included that wait for work to do."""
        free = (w for w in self.all() if w.job_id in (None, job_id) and job_id not in w.unfit)
        return sum(1 for _ in free)

    @patient
    def silence(self, worker_ids: Iterable[str]) -> dict[str, float]:
        """Return for how many seconds each of these workers has been silent, if it ever beat.

        It waits for no writer: one of these workers may be stopped within a transaction.
        """
        silent = (clock() - workers.c.seen_at).label("silent")
        query = sa.select(workers.c.id, silent).where(workers.c.id.in_(list(worker_ids)))
        with self._reader.connect() as connection:
            return {row.id: row.silent for row in connection.execute(query)}

    def writable(self) -> bool:
        """Whether a beat could be written now; it may wait for another writer first."""
        probe = {"id": f"probe/{uuid.uuid4().hex}", "host": "", "device": "", "seen_at": clock()}
        try:
            with self._engine.begin() as connection:
                insert_new(connection, workers, probe)
                connection.execute(sa.delete(workers).where(workers.c.id == probe["id"]))
        except sa.exc.DBAPIError as failure:
            if is_away(failure):
                return False
            raise
        return True


def _see(
    connection: sa.Connection, worker: WorkerIdentity, *, job_id: str | None, doing: str | None
) -> None:
    seen = {"job_id": job_id, "doing": doing, "seen_at": clock()}
    change = sa.update(workers).where(workers.c.id == worker.id).values(**seen)
    if connection.execute(change).rowcount:
        return
    connection.execute(sa.delete(workers).where(workers.c.seen_at < clock() - 10 * LOST_SECONDS))
    identity = {"id": worker.id, "host": worker.host, "device": worker.device}
    insert_new(connection, workers, {**identity, **seen})
