"""`athanor worker`: processes that wait for jobs and work on them, here or on a Ray cluster."""

import sys
import time
from contextlib import AbstractContextManager
from typing import Protocol

from athanor.interruption import Interruption
from athanor.places import Places
from search.machine import usable_cores, usual_workers
from search.store import StudyStore
from search.store.sqlite import SQLite
from spaces.errors import InputError
from workers.pool import LOCAL, LocalPool, RaySlots, WorkerCommand

POLL_SECONDS = 0.5


class Pool(Protocol):
    """What keeps workers alive."""

    @property
    def finished(self) -> bool:
        """Whether every worker has ended by itself."""

    def watch(self) -> None:
        """Restart what died; `JobFailed` once that is hopeless."""


def run_workers(
    places: Places, *, size: int | None, job_id: str | None, slots: RaySlots | None
) -> int:
    """Run workers until interrupted, or until the job has ended; return the exit status."""
    store = places.open(create=job_id is None)
    if job_id is not None:
        store.jobs.get(job_id)
    count = size or usual_workers()
    where = f"on Ray at {slots.address}" if slots is not None else "here"
    print(f"{count} workers {where} on {store.name}", file=sys.stderr)
    try:
        with (
            Interruption() as interruption,
            _pool(store, places, count=count, job_id=job_id, slots=slots) as pool,
        ):
            store.patience.wait, store.patience.tell = interruption.wait, _tell
            while not pool.finished:
                interruption.check()
                time.sleep(POLL_SECONDS)
                pool.watch()
        return 0 if job_id is None or store.jobs.get(job_id).state == "done" else 1
    except KeyboardInterrupt:
        return 130
    finally:
        store.close()


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _pool(
    store: StudyStore, places: Places, *, count: int, job_id: str | None, slots: RaySlots | None
) -> AbstractContextManager[Pool]:
    cores = usable_cores()
    command = WorkerCommand(
        store_url=places.store_url,
        artifacts=places.artifacts,
        cache=places.cache,
        threads=max(1, cores // count if slots is None else int(slots.cpus)),
        workers=count,
        job_id=job_id,
    )
    if slots is None:
        return LocalPool(command, store=store, size=count)
    if isinstance(store.backend, SQLite) and slots.address != LOCAL:
        raise InputError(
            f"workers of a Ray cluster need a PostgreSQL store, but got {store.name}; "
            f"--ray {LOCAL} starts a cluster of this machine alone"
        )
    from workers.ray_pool import RayPool  # Ray takes a second or two that others need not wait

    return RayPool(command, size=count, slots=slots)
