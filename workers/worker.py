"""A worker: a long-lived process that takes jobs and brings them forward, one step at a time.

Run as `python -m workers.worker --store URL --artifacts DIR --cache DIR --threads N`, with
`--job ID` to work on one job and end with it. SIGTERM ends it within a training step.
"""

import argparse
import os
import platform
import signal
import sys
import threading
import traceback
from pathlib import Path

import torch

from search.job import Job
from search.store import StudyStore
from spaces.errors import AthanorError
from workers.data import ImageData, load_data
from workers.files import JobFiles
from workers.heartbeat import Heartbeat, Stopped
from workers.preparation import load_folds, prepare
from workers.steps import Waiting, next_step
from workers.workbench import Workbench

POLL_SECONDS = 0.2  # between two looks for work when there is none
CRASHED = 3  # exit status of a worker that met an error it does not know
INTERRUPTED = 4  # exit status of a worker that was told to end before its work had ended


class Worker:
    """Takes the next job from the store and works on it until there is nothing left to do."""

    def __init__(
        self,
        store: StudyStore,
        *,
        artifacts: Path,
        cache: Path,
        parent: int,
        job_id: str | None = None,
    ) -> None:
        self.interrupted = threading.Event()
        self._store, self._artifacts, self._cache = store, artifacts, cache
        self._parent, self._job_id = parent, job_id
        self._owner = f"{platform.node()}/{os.getpid()}"
        self._data: tuple[str, ImageData] | None = None

    def run(self) -> None:
        """Work until interrupted; with a job's id, until that job has ended."""
        while not self.interrupted.is_set() and os.getppid() == self._parent:
            job = self._next_job()
            if job is None:
                if self._job_id is not None:
                    return
                self.interrupted.wait(POLL_SECONDS)
                continue
            self._work_on(job)

    def _next_job(self) -> Job | None:
        if self._job_id is None:
            return self._store.jobs.next()
        job = self._store.jobs.get(self._job_id)
        return None if job.ended else job

    def _work_on(self, job: Job) -> None:
        """Bring one job forward; whatever is wrong with the job itself fails the job."""
        heartbeat = Heartbeat(self._store, job, interrupted=self.interrupted, parent=self._parent)
        try:
            if job.state in ("queued", "preparing"):
                self._prepare(job, heartbeat)
            else:
                self._take_steps(self._bench(job, heartbeat))
        except Stopped:
            return
        except AthanorError as failure:
            self._store.jobs.stop(job.id, state="failed", error=str(failure))
        finally:
            heartbeat.close()

    def _prepare(self, job: Job, heartbeat: Heartbeat) -> None:
        data = self._load(job)
        with heartbeat.lease("prepare", owner=self._owner) as lease:
            if lease is None:
                self.interrupted.wait(POLL_SECONDS)
                return
            self._store.jobs.move(job.id, before="queued", after="preparing")
            if self._store.jobs.get(job.id).state != "preparing":
                return  # another worker has prepared the job since this one looked
            prepare(
                self._store,
                job,
                data=data,
                files=JobFiles(self._artifacts, job.id),
                cache=self._cache,
                progress=_say,
            )

    def _bench(self, job: Job, heartbeat: Heartbeat) -> Workbench:
        data = self._load(job)
        files = JobFiles(self._artifacts, job.id)
        return Workbench(
            store=self._store,
            job=job,
            data=data,
            folds=load_folds(files, data, job),
            files=files,
            heartbeat=heartbeat,
            owner=self._owner,
        )

    def _load(self, job: Job) -> ImageData:
        if self._data is None or self._data[0] != job.spec.data:
            self._data = (job.spec.data, load_data(job.spec.data, cache=self._cache, progress=_say))
        return self._data[1]

    def _take_steps(self, bench: Workbench) -> None:
        """Take step after step while the job is the one to work on."""
        while True:
            bench.heartbeat.check()
            job = self._store.jobs.get(bench.job.id)
            if job.ended:
                return
            try:
                next_step(bench, job.state)
            except Waiting:
                self.interrupted.wait(POLL_SECONDS)
                if self._job_id is None and self._turn_is_over(bench.job):
                    return

    def _turn_is_over(self, job: Job) -> bool:
        following = self._store.jobs.next()
        return following is None or following.id != job.id


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run a worker process; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m workers.worker")
    parser.add_argument("--store", required=True)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parent", type=int, default=os.getppid(), help="ends when it does")
    parser.add_argument("--job")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # filling buffers before they are written would make deterministic training slower
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.allow_tf32 = False  # predictions that count are float32 throughout
    store = StudyStore(options.store)
    worker = Worker(
        store,
        artifacts=options.artifacts,
        cache=options.cache,
        parent=options.parent,
        job_id=options.job,
    )
    signal.signal(signal.SIGTERM, lambda *_: worker.interrupted.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it passes Ctrl-C on as TERM
    try:
        worker.run()
    except Exception:
        traceback.print_exc()
        return CRASHED
    finally:
        store.close()
    return INTERRUPTED if worker.interrupted.is_set() else 0


if __name__ == "__main__":
    sys.exit(main())
