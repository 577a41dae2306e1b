"""Deleting a job removes its files and its rows, whenever it is killed and done again."""

from pathlib import Path

import pytest

from athanor.deleting import delete_job
from search.job_spec import JobSpec
from search.store import StudyStore
from workers.files import JobFiles


def test_a_deletion_that_was_killed_half_way_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse({"data": "digits"}))
    files = JobFiles(tmp_path / "artifacts", job.id)
    (files.folder / "trials").mkdir(parents=True)

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(store, "delete", killed)
        delete_job(store, job.id, files=files)
    assert not files.folder.exists() and store.jobs.get(job.id).state == "cancelled"
    delete_job(store, job.id, files=files)
    assert store.jobs.list() == []
    store.close()
