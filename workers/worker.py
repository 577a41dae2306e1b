"""A worker: a long-lived process that takes jobs and brings them forward, one step at a time.

Run as `python -m workers.worker --artifacts DIR --cache DIR --threads N` with the store's URL in
ATHANOR_STORE, and with `--job ID` to work on one job and end with it. SIGTERM ends it within a
training step.
"""

import argparse
import os
import platform
import signal
import sys
import threading
import time
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import torch

from search.folds import Folds
from search.job import Job
from search.sources import NAMED_SOURCES, is_path
from search.store import StudyStore, WorkerIdentity, is_away
from spaces.errors import AthanorError, WorkerUnfit
from workers.data import ImageData, load_data
from workers.files import JobFiles
from workers.heartbeat import BEAT_SECONDS, Heartbeat, Stopped
from workers.landing_again import prepare_landing
from workers.logs import begin_log, facts, log
from workers.pool import GPU_SHARE, UNFIT
from workers.preparation import prepare
from workers.steps import Waiting, next_step
from workers.workbench import Workbench

POLL_SECONDS = 0.2  # between two looks for work in a job when others hold all there is
IDLE_SECONDS = 0.5  # between two looks for a job
UNFIT_SECONDS = 60.0  # for which a worker leaves a job alone that it cannot work on from here
MANY_WAITS = 10  # polls in a row of a job whose work others hold; then other jobs go first
WAITING_SECONDS = 5.0  # for which they do
MAX_PREPARATIONS = 3  # attempts
ONE_FILE = ".npz"  # the one kind of data that lies in one file
DATA_KEPT = 2  # data sets in memory, for workers that go from one job to another
CRASHED = 3  # exit status of a worker that met an error it does not know
INTERRUPTED = 4  # exit status of a worker that was told to end before its work had ended


class Worker:
    """Takes the next job from the store and works on it until there is nothing left to do.

    Args:
        workers: of its pool; jobs that state no number are planned for so many.
        told: processor seconds that are not the one job's, which has all others of this process;
            None: each job has those of the time in which it is worked on.
    """

    def __init__(
        self,
        store: StudyStore,
        *,
        artifacts: Path,
        cache: Path,
        parent: int,
        identity: WorkerIdentity | None = None,
        job_id: str | None = None,
        interrupted: threading.Event | None = None,
        workers: int | None = None,
        told: float | None = None,
    ) -> None:
        self.interrupted = interrupted or threading.Event()
        self._store, self._artifacts, self._cache = store, artifacts, cache
        self._parent, self._job_id, self._told = parent, job_id, told
        self._identity, self._workers = identity or identify(), workers
        self._data: OrderedDict[tuple[Any, ...], ImageData] = OrderedDict()
        self._seen_at = float("-inf")
        self._unfit: dict[str, tuple[float, str]] = {}  # jobs: left alone until when, and why
        self._waits_until: dict[str, float] = {}
        self._waits: Counter[str] = Counter()

    def run(self) -> None:
        """Work until interrupted; with a job's id, until that job has ended.

        Raises:
            WorkerUnfit: the one job cannot be worked on from here.
        """
        while not self.interrupted.is_set() and os.getppid() == self._parent:
            job = self._next_job()
            if self._job_id is not None and (job is None or job.ended):
                break
            if job is None or job.paused:
                self._wait_for_work()
            else:
                self._work_on(job)
        self._store.patience.call(lambda: self._store.beats.leave(self._identity))

    def _next_job(self) -> Job | None:
        jobs = self._store.jobs
        if self._job_id is not None:
            return jobs.find(self._job_id)
        now = time.monotonic()
        unfit = {job_id for job_id, (until, _) in self._unfit.items() if until >= now}
        waiting = {job_id for job_id, until in self._waits_until.items() if until >= now}
        return jobs.next(without=unfit | waiting) or jobs.next(without=unfit)

    def _wait_for_work(self) -> None:
        if time.monotonic() - self._seen_at > BEAT_SECONDS:
            self._store.patience.call(lambda: self._store.beats.wait(self._identity))
            self._seen_at = time.monotonic()
        self.interrupted.wait(IDLE_SECONDS)

    def _work_on(self, job: Job) -> None:
        """Bring one job forward; whatever is wrong with the job itself fails the job."""
        heartbeat = Heartbeat(
            self._store,
            job,
            worker=self._identity,
            interrupted=self.interrupted,
            parent=self._parent,
            told=self._told,
        )
        try:
            if job.state in ("queued", "preparing"):
                self._prepare(job, heartbeat)
            else:
                bench = self._bench(job, heartbeat)
                self._fit_after_all(job)
                self._take_steps(bench)
        except Stopped:
            return
        except WorkerUnfit as failure:
            if self._job_id is not None:
                raise
            self._leave_alone(job, str(failure))
        except AthanorError as failure:
            self._store.jobs.stop(job.id, state="failed", error=str(failure))
        except Exception as failure:
            if self._store.jobs.find(job.id) is None:
                return  # it was deleted while this worker was at it
            if not is_away(failure):
                raise
            self.interrupted.wait(IDLE_SECONDS)  # the next call to the store is patient
        finally:
            heartbeat.close()
            self._told = None if self._told is None else heartbeat.told

    def _prepare(self, job: Job, heartbeat: Heartbeat) -> None:
        with heartbeat.lease("prepare", attempts=MAX_PREPARATIONS) as lease:
            if lease is None:
                self._wait_at(job)
                return
            self._store.jobs.move(job.id, before="queued", after="preparing")
            if self._store.jobs.get(job.id).state != "preparing":
                return  # another worker has prepared the job since this one looked
            data = self._load(job)
            heartbeat.check()
            self._fit_after_all(job)
            begin = prepare if job.spec.lands is None else prepare_landing
            begin(
                self._store,
                job,
                data=data,
                files=JobFiles(self._artifacts, job.id),
                cache=self._cache,
                workers=self._workers,
                progress=log.info,
            )

    def _bench(self, job: Job, heartbeat: Heartbeat) -> Workbench:
        files = JobFiles(self._artifacts, job.id)
        assert job.plan is not None, "a job that is neither queued nor prepared has a plan"
        try:
            return Workbench(
                store=self._store,
                job=job,
                data=self._load(job),
                folds=Folds.load(files.folds(job.plan.folds_hash)),
                files=files,
                heartbeat=heartbeat,
            )
        except WorkerUnfit:
            raise
        except (AthanorError, OSError) as failure:  # whoever planned the job saw others
            raise WorkerUnfit(
                f"this worker must see the data and the artifacts of {job.id}, but: {failure}"
            ) from failure

    def _load(self, job: Job) -> ImageData:
        """Return the job's data, from memory if they are known to be the same.

        Raises:
            WorkerUnfit: they, or the object that is its space, cannot be had here; whoever
                submitted the job has had them.
        """
        key = _data_key(job)
        try:
            job.spec.space.check()
            if key not in self._data:
                self._data[key] = load_data(
                    job.spec.data, job.spec.image_options, cache=self._cache, progress=log.info
                )
        except (AthanorError, OSError) as failure:
            raise WorkerUnfit(
                f"this worker must see the data and the space of {job.id}, but: {failure}"
            ) from failure
        self._data.move_to_end(key)
        while len(self._data) > DATA_KEPT:
            self._data.popitem(last=False)
        return self._data[key]

    def _take_steps(self, bench: Workbench) -> None:
        """Take step after step while the job is the one to work on."""
        while True:
            bench.heartbeat.check()
            job = self._store.jobs.find(bench.job.id)
            if job is None or job.ended or self._turn_is_over(job):
                return
            try:
                next_step(bench, job.state)
                self._waits.pop(job.id, None)
            except Waiting:
                self._wait_at(job)

    def _wait_at(self, job: Job) -> None:
        """Wait a moment for those who hold a job's work; after some, other jobs go first."""
        self._waits[job.id] += 1
        if self._waits[job.id] >= MANY_WAITS:
            del self._waits[job.id]
            now = time.monotonic()
            current = {key: until for key, until in self._waits_until.items() if until >= now}
            self._waits_until = {**current, job.id: now + WAITING_SECONDS}
        self.interrupted.wait(POLL_SECONDS)

    def _leave_alone(self, job: Job, reason: str) -> None:
        """Leave a job to others for a while, and tell everybody why."""
        log.warning(reason, extra=facts(job=job.id))
        now = time.monotonic()
        self._unfit = {job_id: last for job_id, last in self._unfit.items() if last[0] >= now}
        self._unfit[job.id] = (now + UNFIT_SECONDS, reason)
        self._tell_unfit()

    def _fit_after_all(self, job: Job) -> None:
        if self._unfit.pop(job.id, None) is not None:
            self._tell_unfit()

    def _tell_unfit(self) -> None:
        reasons = {job_id: reason for job_id, (_, reason) in self._unfit.items()}
        self._store.beats.tell_unfit(self._identity, reasons)

    def _turn_is_over(self, job: Job) -> bool:
        """Whether another job is more in need of this worker, between two steps."""
        if self._job_id is not None:
            return False
        following = self._next_job()
        return following is None or following.id != job.id


def identify(name: str | None = None) -> WorkerIdentity:
    """Return who this process is; a name is unlike those of all other workers."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    host = platform.node()
    return WorkerIdentity(id=name or f"{host}/{os.getpid()}", host=host, device=device)


def _data_key(job: Job) -> tuple[Any, ...]:
    """Return what stands for data in memory; jobs share it where one look shows all that counts.

    A table or folder leads to many files: these are read for each job.
    """
    name = job.spec.data
    if name in NAMED_SOURCES:
        return (name,)
    if is_path(name) and Path(name).suffix.lower() == ONE_FILE:
        return (name, *_file_state(name))
    return (job.id,)


def _file_state(name: str) -> tuple[int, ...]:
    """Return what changes when a file is replaced; nothing if the name is not that of a file."""
    try:
        status = Path(name).stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def main(arguments: list[str] | None = None) -> int:
    """Run a worker process; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m workers.worker")
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, help="of its pool")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="ends when it does")
    parser.add_argument("--job")
    parser.add_argument("--name", help="unlike all other workers'")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # filling buffers before they are written would make deterministic training slower
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.allow_tf32 = False  # predictions that count are float32 throughout
    if torch.cuda.is_available():
        share = float(os.environ.get(GPU_SHARE, 1.0))
        torch.cuda.set_per_process_memory_fraction(share)
    identity = identify(options.name)
    begin_log(identity.id)
    interrupted = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: interrupted.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it passes Ctrl-C on as TERM
    store = StudyStore(os.environ["ATHANOR_STORE"], wait=interrupted.wait, tell=log.warning)
    worker = Worker(
        store,
        artifacts=options.artifacts,
        cache=options.cache,
        parent=options.parent,
        identity=identity,
        job_id=options.job,
        interrupted=interrupted,
        workers=options.workers,
        told=None if options.job is None else 0.0,  # its own start is the job's as well
    )
    try:
        worker.run()
    except WorkerUnfit as failure:
        log.error(str(failure))
        return UNFIT
    except Exception as failure:
        if not (interrupted.is_set() and is_away(failure)):
            log.exception("an error that this worker does not know")
            return CRASHED
    finally:
        store.close()
    return INTERRUPTED if interrupted.is_set() else 0


if __name__ == "__main__":
    sys.exit(main())
