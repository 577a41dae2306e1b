"""A job of a few seconds, worked on in the test's own process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from athanor.places import Places
from search.job import Job, JobState
from search.job_spec import JobSpec
from search.store import FoldTask, StudyStore
from workers.finalist import run_fold
from workers.heartbeat import Heartbeat
from workers.steps import next_step
from workers.verification import main as verification
from workers.workbench import Workbench
from workers.worker import Worker

CACHE = Places.of(None, None).cache  # where this host has been measured, once for all tests

SPEC: dict[str, Any] = {
    "data": "digits",
    "trials": 1,
    "workers": 1,
    "folds": 3,
    "search_rows": 200,
    "search_epochs": 1,
    "baselines": False,
    "space": {"stages": [2, 2], "depth": [1, 1], "width": [8]},
}


def worked(folder: Path, **more: Any) -> tuple[Job, list[FoldTask]]:
    """Run a small job to its end; return it and its folds."""
    store = StudyStore(f"sqlite:///{folder}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse({**SPEC, **more}))
    store.close()
    return resume(folder, job.id)


def resume(folder: Path, job_id: str) -> tuple[Job, list[FoldTask]]:
    """Go on with a job to its end; return it and its folds."""
    store = StudyStore(f"sqlite:///{folder}/athanor.db", tell=print)
    artifacts = folder / "artifacts"
    worker = Worker(store, artifacts=artifacts, cache=CACHE, parent=os.getppid(), job_id=job_id)
    try:
        with patch("workers.verification.run_apart", _run_here):
            worker.run()
        return store.jobs.get(job_id), store.folds.all(job_id)
    finally:
        store.close()


def _run_here(command: list[str | Path], **_: Any) -> tuple[int, str]:
    """Verify a folder in this process: a new one, as others have, takes seconds to load torch."""
    with redirect_stderr(StringIO()) as said:
        return verification([str(argument) for argument in command[-3:]]), said.getvalue()


def prepared(folder: Path, **more: Any) -> tuple[StudyStore, Job, Worker]:
    """Return a job whose search can begin, and its worker."""
    store = StudyStore(f"sqlite:///{folder}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse({**SPEC, **more}))
    artifacts = folder / "artifacts"
    worker = Worker(store, artifacts=artifacts, cache=CACHE, parent=os.getppid(), job_id=job.id)
    worker._work_on(job)
    return store, store.jobs.get(job.id), worker


@contextmanager
def bench_of(store: StudyStore, job: Job, worker: Worker) -> Iterator[Workbench]:
    """Yield what a worker has at hand for a job."""
    heartbeat = Heartbeat(
        store,
        job,
        worker=worker._identity,
        interrupted=worker.interrupted,
        parent=os.getppid(),
    )
    try:
        yield worker._bench(job, heartbeat)
    finally:
        heartbeat.close()


def take_steps(bench: Workbench, *states: JobState) -> None:
    """Bring the job forward while it is in one of these states."""
    while (state := bench.store.jobs.get(bench.job.id).state) in states:
        next_step(bench, state)


def failing(fold: int, failure: Exception) -> Any:
    """Return a `run_fold` that fails on one fold."""

    def run(bench: Any, task: FoldTask, *more: Any, **options: Any) -> None:
        if task.fold == fold:
            raise failure
        run_fold(bench, task, *more, **options)

    return run
