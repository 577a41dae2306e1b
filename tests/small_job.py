"""A job of a few seconds, worked on in the test's own process."""

import os
from pathlib import Path
from typing import Any

from athanor.places import Places
from search.job import Job, JobSpec
from search.store import FoldTask, StudyStore
from workers.worker import Worker

CACHE = Places.of(None, None).cache  # where this host has been measured, once for all tests

SPEC = {
    "data": "digits",
    "trials": 1,
    "workers": 1,
    "folds": 3,
    "search_rows": 200,
    "search_epochs": 1,
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
        worker.run()
        return store.jobs.get(job_id), store.folds.all(job_id)
    finally:
        store.close()
