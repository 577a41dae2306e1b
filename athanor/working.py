"""`athanor worker`: processes that wait for jobs and work on them."""

import os
import sys
import time

from athanor.interruption import Interruption
from athanor.places import Places
from athanor.progress import Progress
from search.job import usual_workers
from search.store import StudyStore
from workers.pool import LocalPool, WorkerCommand

POLL_SECONDS = 0.5


def run_workers(places: Places, *, size: int | None, job_id: str | None) -> int:
    """Run workers until interrupted, or until the job has ended; return the exit status."""
    store = places.open(create=job_id is None)
    if job_id is not None:
        store.jobs.get(job_id)
    cores = len(os.sched_getaffinity(0))
    count = size or usual_workers()
    command = WorkerCommand(
        store_url=places.store_url,
        artifacts=places.artifacts,
        cache=places.cache,
        threads=max(1, cores // count),
        job_id=job_id,
    )
    print(f"{count} workers on {places.store_url}", file=sys.stderr)
    try:
        with (
            Interruption() as interruption,
            LocalPool(command, size=count, progress=lambda: _work_done(store)) as pool,
        ):
            while not pool.finished:
                interruption.check()
                time.sleep(POLL_SECONDS)
                pool.watch()
        return 0 if job_id is None or store.jobs.get(job_id).state == "done" else 1
    except KeyboardInterrupt:
        return 130
    finally:
        store.close()


def _work_done(store: StudyStore) -> float:
    """Return a number that grows with every epoch and fold of any job."""
    return sum(Progress.read(store, job.id).work_done for job in store.jobs.list())
