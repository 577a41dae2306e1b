"""The worker's pulse: counts the job's time, keeps its lease, and hears what should stop it.

A worker that lives but gets no further loses its lease, too: the pulse ends the process when the
progress that its work announced is overdue.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from search.job import Job
from search.machine import processor_seconds
from search.store import Lease, StaleFence, StudyStore, WorkerIdentity, is_away
from search.store.jobs import MAX_TICK
from spaces.errors import AthanorError, JobFailed, WorkerUnfit
from workers.logs import facts, log

MOST_ATTEMPTS = 20  # at work that has no other limit, after which the job fails
BEAT_SECONDS = 1.0
GAP_SECONDS = 10.0  # between two beats, from which on the process had been stopped for a while
PHASE_SECONDS = 3600.0  # for work that has not said when it expects to get further
STEP_SECONDS = 300.0  # for a step of a training that has not finished an epoch yet
LEAST_SECONDS = 60.0  # that are allowed for an epoch at least
SLOWER = 5.0  # times longer than announced, from which on work is taken to hang
HUNG = 5  # exit status of a worker whose work hung


class Stopped(Exception):
    """The current piece of work must end here; its lease is released and nothing is lost."""


class Interrupted(Stopped):
    """This worker is to end: it was told to, or the process that started it is gone."""


class JobStopped(Stopped):
    """The job was cancelled, paused or deleted, or has failed while this worker was at it."""


class LeaseLost(Stopped):
    """Somebody else has taken this piece of work over."""


class Heartbeat:
    """A thread that beats for one job, and for one lease at a time, until it is closed.

    Args:
        interrupted: set from a signal handler to stop the work at its next step.
        parent: the process that started this one; when it is gone, the work stops as well.
        told: processor seconds of this process that count for no job, or have been told already;
            None: all until now.
    """

    def __init__(
        self,
        store: StudyStore,
        job: Job,
        *,
        worker: WorkerIdentity,
        interrupted: threading.Event,
        parent: int,
        told: float | None = None,
    ) -> None:
        self.interrupted = interrupted
        self.worker = worker
        self._store, self._job = store, job
        self._lease: Lease | None = None
        self._lost: Lease | None = None
        self._stopped = False
        self._job_clock = job.seconds_used, time.monotonic()  # the job's, and ours at that moment
        self._overdue_at = float("inf")
        self._by_steps = False
        self._stood = 0.0
        self._beaten_at: float | None = None  # by our clock, if no beat has failed since
        self._parent = parent
        self.told = processor_seconds() if told is None else told
        self._closed = threading.Event()
        self._renewing = threading.Lock()
        store.patience.call(self._beat)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def used(self) -> float:
        """Seconds of the job's clock that have been used.

        That clock stands while the database is away or everything is stopped, and so does this.
        """
        used, at = self._job_clock
        return used + min(time.monotonic() - at, MAX_TICK)

    def clock(self) -> float:
        """Return seconds of this process's time, less those for which all was stopped.

        (A container that is frozen, SIGSTOP.) Only differences mean something.
        """
        return time.perf_counter() - self._stood

    def seconds_until(self, second: float | None) -> float:
        """Return how long it is until a second of the job's clock; infinite for None."""
        return float("inf") if second is None else second - self.used

    @contextmanager
    def lease(self, key: str, *, attempts: int | None = None) -> Iterator[Lease | None]:
        """Hold a lease of the job over the block, or None if somebody else does.

        What the block writes into the store is written under the lease's fence. The lease is
        finished if the block ends well, and released for anyone to claim if not.

        Args:
            attempts: that are allowed without progress in between; `MOST_ATTEMPTS` by default.

        Raises:
            LeaseLost: the block wrote after somebody else had taken the lease.
            JobFailed: there have been more attempts than are allowed.
        """
        lease = self._store.leases.claim(f"{self._job.id}/{key}", owner=self.worker.id)
        if lease is None:
            yield None
            return
        self._keep(lease)
        begin = time.monotonic()
        about = {"job": self._job.id, "step": key, "attempt": lease.attempts}
        log.info("began", extra=facts(**about))
        try:
            with self._store.fenced(lease), self._failing_the_job():
                self._limit(lease, attempts=MOST_ATTEMPTS if attempts is None else attempts)
                yield lease
        except StaleFence as stale:
            self._keep(None)
            raise LeaseLost(str(stale)) from None
        except BaseException as failure:
            self._keep(None)
            if not self._store.leases.renew(lease):
                raise LeaseLost from failure  # whatever went wrong, it is not ours to judge
            in_order = isinstance(failure, Stopped | WorkerUnfit) or is_away(failure)
            reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
            level = logging.INFO if in_order else logging.WARNING
            log.log(level, "gave back: %s", reason, extra=facts(**about))
            self._store.leases.release(lease, refund=in_order, reason=reason)
            raise
        self._keep(None)
        self._store.leases.finish(lease)
        seconds = round(time.monotonic() - begin, 3)
        log.info("ended", extra=facts(**about, seconds=seconds))

    def _limit(self, lease: Lease, *, attempts: int) -> None:
        if lease.attempts > attempts:
            reason = self._store.leases.reason(lease) or "unknown"
            raise JobFailed(
                f"{lease.key} was given up after {attempts} attempts; the last one: {reason}"
            )

    @contextmanager
    def _failing_the_job(self) -> Iterator[None]:
        """Let what is wrong with the job fail it while its lease is held, not any later."""
        try:
            yield
        except WorkerUnfit:
            raise
        except AthanorError as failure:
            self._store.jobs.stop(self._job.id, state="failed", error=str(failure))
            raise

    def check_now(self) -> None:
        """Raise the reason to stop as of this moment: for what cannot be undone."""
        self._store.patience.call(self._beat)
        self.check()

    def check(self) -> None:
        """Raise the reason to stop, if there is one. Cheap: called before every step."""
        if self.interrupted.is_set():
            raise Interrupted
        if self._stopped:
            raise JobStopped
        if self._lost is not None and self._lost is self._lease:
            raise LeaseLost
        if self._by_steps:
            self._overdue_at = time.monotonic() + STEP_SECONDS

    def progressed(self, *, next_in: float | None = None) -> None:
        """Tell, after an epoch or the like, that the work got further; ask if it is still ours.

        Raises like `check`, so that whoever lost the lease stops.

        Args:
            next_in: seconds until the next call; see `expect`.
        """
        lease = self._lease
        if lease is not None and not self._store.leases.renew(lease, progressed=True):
            self._lost = lease
        self.expect(next_in)
        self.check()

    def expect(self, seconds: float | None) -> None:
        """Announce progress in so many seconds, if all goes well; None: nobody can say.

        The work is taken to hang, and the worker ends, when it takes several times as long.
        """
        allowed = PHASE_SECONDS if seconds is None else max(LEAST_SECONDS, SLOWER * seconds)
        self._by_steps, self._overdue_at = False, time.monotonic() + allowed

    def expect_steps(self) -> None:
        """Announce steps, each of which calls `check`: until an epoch is done they are progress."""
        self._by_steps, self._overdue_at = True, time.monotonic() + STEP_SECONDS

    def wait_for_room(self, seconds: float) -> bool:
        """Wait a while for room on a disk, which is no hang; true if the work must stop."""
        self.expect(None)
        return self.interrupted.wait(seconds) or self._stopped or self._lost is not None

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
            self.expect(None if lease is not None else float("inf"))

    def _run(self) -> None:
        before, away = time.monotonic(), False
        while not self._wait():
            gap, before = time.monotonic() - before, time.monotonic()
            if away or gap > GAP_SECONDS:  # the store is away, or all was stopped: no hang
                self._overdue_at += gap
            if before > self._overdue_at:
                self._end_hung_process()
            try:
                self._beat()
                away = False
            except Exception as failure:  # the next beat tries again; a lease outlives many
                away = is_away(failure)
                if not away:
                    log.exception("a beat failed")

    def _wait(self) -> bool:
        """Wait until the next beat; true once there is none. What is longer is no time of ours."""
        begin = time.perf_counter()
        closed = self._closed.wait(BEAT_SECONDS)
        waited = time.perf_counter() - begin
        if waited > GAP_SECONDS:
            self._stood += waited - BEAT_SECONDS
        return closed

    def _beat(self) -> None:
        with self._renewing:
            lease = self._lease
            processor = processor_seconds()
            beaten_at, self._beaten_at = self._beaten_at, None
            at = self.clock()

            def alive() -> float:
                nonlocal at
                at = self.clock()
                return 0.0 if beaten_at is None else at - beaten_at

            beat = self._store.beats.beat(
                self.worker,
                self._job.id,
                lease,
                processor_seconds=processor - self.told,
                alive=alive,
            )
            self.told, self._beaten_at = processor, at
            if not beat.lease_held:
                self._lost = lease
            self._job_clock = beat.seconds_used, time.monotonic()
            self._stopped = beat.job_stopped
        if os.getppid() != self._parent:
            self.interrupted.set()

    def _end_hung_process(self) -> None:
        """Give the lease to others and end: nothing else stops a thread that hangs."""
        reason = "it hung: it did not get further within several times the usual time"
        log.error(reason, extra=facts(job=self._job.id))
        try:
            self._store.beats.bury(self.worker.id, reason=reason)
        finally:
            os._exit(HUNG)
