"""`athanor delete`: stop whoever works on a job, then remove its rows and its files."""

import shutil
import time

from search.store import StudyStore
from search.store.database import LEASE_SECONDS
from spaces.errors import JobError
from workers.files import JobFiles

POLL_SECONDS = 0.1


def delete_job(store: StudyStore, job_id: str, *, files: JobFiles) -> None:
    """Delete a job once nobody holds a lease of it any more.

    Raises:
        JobError: another job has landed this one's trials, or a worker goes on although the job was
            cancelled longer ago than a lease lasts.
    """
    for other in store.jobs.list():
        if other.spec.lands == job_id:
            raise JobError(f"{other.id} lands the trials of {job_id} and must be deleted first")
    store.jobs.stop(job_id, state="cancelled")
    end = time.monotonic() + 2.0 * LEASE_SECONDS
    while held := store.leases.held(f"{job_id}/"):
        if time.monotonic() > end:
            raise JobError(
                f"workers must stop before a job is deleted, but {sorted(held)[0]} is held still"
            )
        time.sleep(POLL_SECONDS)
    job = store.jobs.get(job_id)
    shutil.rmtree(files.folder, ignore_errors=True)  # first: without the row nobody finds them
    if job.plan is not None and job.spec.lands is None:
        store.trials(job).annotations.remove_files(root=files.root)
    store.delete(job)
