"""The last step of a job, taken in this very process: who dies in it does not lose the job."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from search.job import JobSpec
from search.store import StudyStore
from tests.small_job import CACHE, SPEC, prepared
from workers.steps import MAX_ATTEMPTS
from workers.worker import Worker


def test_the_last_step_is_tried_more_often_than_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever kills workers at random must not fail a whole job that is all but done."""
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse(SPEC))

    def work() -> None:
        folder = tmp_path / "artifacts"
        Worker(store, artifacts=folder, cache=CACHE, parent=os.getppid(), job_id=job.id).run()

    def dying(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("workers.steps.assemble", dying)
        for _ in range(MAX_ATTEMPTS + 2):
            with pytest.raises(RuntimeError, match="killed"):
                work()
    work()
    assert store.jobs.get(job.id).state == "done"
    store.close()


def test_a_verification_that_is_killed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job, worker = prepared(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="with status 1"):
        patched.setattr(sys, "executable", "/bin/false")
        worker.run()
    assert store.jobs.get(job.id).state == "assembling"
    worker.run()
    assert store.jobs.get(job.id).state == "done"
    store.close()


def test_a_verification_that_always_dies_fails_the_job_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.MAX_LANDINGS", 2)
    store, job, worker = prepared(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/bin/false")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="with status 1"):
                worker.run()
        worker.run()
    error = store.jobs.get(job.id).error
    assert error is not None and "2 attempts; the last one: RuntimeError: the verif" in error
    store.close()
