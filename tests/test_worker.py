"""A worker among several jobs: which it takes, which it leaves to others, what it sees of them."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.job import JobState
from search.job_spec import JobSpec
from search.store import StudyStore
from spaces.errors import WorkerUnfit
from tests.command import athanor
from tests.pictures import picture, write, write_classes
from tests.small_job import CACHE, SPEC
from workers.steps import next_step
from workers.workbench import Workbench
from workers.worker import MANY_WAITS, MAX_PREPARATIONS, Worker, identify


def test_a_worker_that_does_not_see_the_artifacts_leaves_the_job_to_others(tmp_path: Path) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse(SPEC))

    def worker(artifacts: str, *, job_id: str | None = None) -> Worker:
        folder = tmp_path / artifacts
        return Worker(store, artifacts=folder, cache=CACHE, parent=os.getppid(), job_id=job_id)

    first = worker("here", job_id=job.id)
    first._work_on(job)  # prepares it
    assert store.jobs.get(job.id).state == "searching"
    with pytest.raises(WorkerUnfit, match=f"data and the artifacts of {job.id}, but: .*there"):
        worker("there", job_id=job.id).run()
    elsewhere = worker("there")
    elsewhere._work_on(store.jobs.get(job.id))
    assert elsewhere._next_job() is None
    assert store.jobs.get(job.id).state == "searching"
    first.run()
    assert store.jobs.get(job.id).state == "done"
    store.close()


def test_a_worker_that_cannot_import_the_space_leaves_the_job_to_others(tmp_path: Path) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    space = {"kind": "custom", "object": "nowhere_to_be_found:Space"}
    job = store.jobs.create(JobSpec.parse({**SPEC, "space": space}))
    worker = Worker(store, artifacts=tmp_path, cache=CACHE, parent=os.getppid())
    worker._work_on(job)
    assert worker._next_job() is None and store.jobs.get(job.id).state == "preparing"
    (reason,) = (seen.unfit[job.id] for seen in store.beats.all())
    assert "nowhere_to_be_found:Space: ModuleNotFoundError" in reason
    store.close()


def test_a_preparation_that_kills_its_workers_fails_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("workers.worker.prepare", dying)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse(SPEC))

    def work() -> None:
        folder = tmp_path / "artifacts"
        Worker(store, artifacts=folder, cache=CACHE, parent=os.getppid(), job_id=job.id).run()

    for _ in range(MAX_PREPARATIONS):
        with pytest.raises(RuntimeError, match="killed"):
            work()
    work()
    error = store.jobs.get(job.id).error
    assert error is not None and "3 attempts; the last one: RuntimeError: killed" in error
    store.close()


def test_a_worker_without_the_data_leaves_the_job_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/athanor.db"
    store = StudyStore(url, create=True)
    job = store.jobs.create(JobSpec.parse({**SPEC, "data": str(tmp_path / "gone.npz")}))
    worker = Worker(store, artifacts=tmp_path, cache=CACHE, parent=os.getppid())
    worker._work_on(job)
    assert store.jobs.get(job.id).state == "preparing"
    assert worker._next_job() is None
    told = athanor("status", job.id, "--store", url, cwd=tmp_path).stdout
    assert f"left to others by {identify().id}: this worker must see the data" in told
    assert "gone.npz" in told
    monkeypatch.setattr("workers.worker.time", SimpleNamespace(monotonic=lambda: 1e12))
    assert worker._next_job() == store.jobs.get(job.id)
    monkeypatch.undo()
    images = np.random.default_rng(0).integers(0, 255, (400, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "gone.npz", images=images, labels=np.arange(400) % 2)
    worker._work_on(store.jobs.get(job.id))
    assert store.jobs.get(job.id).state == "searching"
    told = athanor("status", job.id, "--store", url, cwd=tmp_path).stdout
    assert told and "left to others" not in told
    store.close()


def test_data_that_were_replaced_are_read_again(tmp_path: Path) -> None:
    file, store = tmp_path / "small.npz", StudyStore(f"sqlite:///{tmp_path}/a.db", create=True)
    worker = Worker(store, artifacts=tmp_path, cache=CACHE, parent=os.getppid())
    job = store.jobs.create(JobSpec.parse({**SPEC, "data": str(file)}))
    prints = []
    for seed in (0, 1):
        images = np.random.default_rng(seed).integers(0, 255, (40, 8, 8), dtype=np.uint8)
        np.savez(file, images=images, labels=np.arange(40) % 2)
        assert worker._load(job) is worker._load(job)
        prints.append(worker._load(job).train_fingerprint)
    assert prints[0] != prints[1]
    store.close()


@pytest.mark.parametrize("kind", ["npy", "table"])
def test_data_of_many_files_are_read_again_for_each_job(kind: str, tmp_path: Path) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/a.db", create=True)
    worker = Worker(store, artifacts=tmp_path, cache=tmp_path / "cache", parent=os.getppid())
    source = tmp_path / ("images.npy" if kind == "npy" else "images.csv")
    prints = []
    for shift in (0, 1):  # what the job names stays as it is, what it leads to does not
        if kind == "npy":
            if not shift:
                np.save(source, np.stack([picture(row, 12, 12) for row in range(40)]))
            np.save(tmp_path / "labels.npy", (np.arange(40) + shift) % 2)
        else:
            if not shift:
                images = sorted(write_classes(tmp_path / "all", rows=20).glob("*/*.png"))
                rows = [f"all/{path.parent.name}/{path.name},{path.parent.name}" for path in images]
                source.write_text("\n".join(["path,label", *rows]) + "\n")
            write(tmp_path / "all" / "cat" / "00.png", picture(1000 + shift, 12, 12, 3))
        job = store.jobs.create(JobSpec.parse({**SPEC, "data": str(source)}))
        data = worker._load(job)
        assert worker._load(job) is data
        prints.append((data.train_fingerprint, data.test_rows))
    assert prints[0] != prints[1]
    store.close()


def test_a_worker_prefers_another_job_to_one_whose_work_others_hold(tmp_path: Path) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    first, second = (store.jobs.create(JobSpec.parse(SPEC)) for _ in range(2))
    worker = Worker(store, artifacts=tmp_path, cache=CACHE, parent=os.getppid())

    def preferred() -> str:
        job = worker._next_job()
        assert job is not None
        return job.id

    assert preferred() == first.id
    assert store.leases.claim(f"{first.id}/prepare", owner="other") is not None
    assert store.leases.claim(f"{second.id}/x", owner="other") is not None
    assert store.leases.claim(f"{second.id}/y", owner="other") is not None
    for _ in range(MANY_WAITS):
        assert preferred() == first.id
        worker._work_on(first)
    assert preferred() == second.id
    store.jobs.pause(second.id, paused=True)
    assert preferred() == first.id  # better than none
    store.close()


@pytest.mark.parametrize("bound", [False, True])
def test_an_urgent_job_is_turned_to_between_two_steps_unless_the_worker_has_one_job(
    bound: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse({**SPEC, "trials": 3}))
    worker = Worker(
        store,
        artifacts=tmp_path,
        cache=CACHE,
        parent=os.getppid(),
        job_id=job.id if bound else None,
    )
    steps: list[str] = []

    def step(bench: Workbench, state: JobState) -> None:
        steps.append(state)
        if len(steps) == 1:
            store.jobs.create(JobSpec.parse({**SPEC, "priority": 1}))
        if len(steps) == 3:
            worker.interrupted.set()
        next_step(bench, state)

    monkeypatch.setattr("workers.worker.next_step", step)
    worker._work_on(job)  # prepares it
    worker._work_on(store.jobs.get(job.id))
    assert steps == ["searching"] * (3 if bound else 1)
    following = worker._next_job()
    assert following is not None and (following.id == job.id) == bound
    store.close()


def test_a_search_whose_data_are_gone_says_how_it_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/athanor.db"
    store = StudyStore(url, create=True)
    job = store.jobs.create(JobSpec.parse({**SPEC, "data": str(tmp_path / "gone.npz")}))
    store.close()
    places = ("--store", url, "--artifacts", tmp_path / "artifacts")
    process = athanor("search", "--resume", job.id, *places, cwd=tmp_path)
    assert process.returncode == 1
    assert "gone.npz" in process.stderr
    assert f"once it does: athanor search --resume {job.id} --store {url}" in process.stderr
