"""Workers in processes of this machine and in slots of Ray Tune keep the same promises."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from search.job import Job, JobSpec
from search.store import StudyStore
from tests.command import worker_processes
from workers.pool import LocalPool, WorkerCommand

SPEC = {
    "data": "digits",
    "trials": 6,
    "workers": 2,
    "folds": 3,
    "finalists": 1,
    "search_rows": 400,
    "search_epochs": 4,
    "strategy": "random",
    "space": {"stages": [2, 2], "depth": [1, 1], "width": [8, 12]},
}
LIMIT_SECONDS = 200.0  # for a job to get anywhere; only a hang takes as long

# Ray and what it imports warn of many things; they are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

MakePool = Callable[[], AbstractContextManager[Any]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StudyStore]:
    made = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    yield made
    made.close()


@pytest.fixture
def job(store: StudyStore) -> Job:
    return store.jobs.create(JobSpec.parse(SPEC))


@pytest.fixture(params=["local", "ray"])
def pool_of_two(
    request: pytest.FixtureRequest, store: StudyStore, job: Job, tmp_path: Path
) -> MakePool:
    command = WorkerCommand(
        store_url=store.url,
        artifacts=tmp_path / "artifacts",
        cache=tmp_path / "cache",
        threads=1,
        job_id=job.id,
    )
    if request.param == "local":
        return lambda: LocalPool(command, store=store, size=2, progress=store.work_done)
    from workers.ray_pool import LOCAL, RayPool, SlotResources

    return lambda: RayPool(command, address=LOCAL, size=2, resources=SlotResources())


def watch(pool: Any, until: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not until():
        assert time.monotonic() < end, "the job did not get there"
        pool.watch()
        time.sleep(0.05)


def test_a_job_lands_although_its_workers_are_killed(
    store: StudyStore, job: Job, pool_of_two: MakePool
) -> None:
    killed: set[int] = set()
    with pool_of_two() as pool:
        for epochs in (2, 6):
            watch(pool, partial(busy, store, job, epochs))
            victim = worker_processes(store)[0]
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        watch(pool, lambda: pool.finished)
        if hasattr(pool, "results"):
            assert sorted(result.metrics["slot"] for result in pool.results) == [0, 1]
    landed, records = store.jobs.get(job.id), store.trials(job).records()
    assert landed.state == "done", landed.error
    assert len(killed) == 2
    assert sum(record.state != "infeasible" for record in records) == SPEC["trials"]
    assert all(record.state in ("complete", "pruned", "infeasible") for record in records)


def test_a_pool_that_is_stopped_leaves_no_worker_and_no_lease(
    store: StudyStore, job: Job, pool_of_two: MakePool
) -> None:
    with pool_of_two() as pool:
        watch(pool, partial(busy, store, job, 2))
        running = worker_processes(store)
    end = time.monotonic() + LIMIT_SECONDS
    while any(alive(process) for process in running) or store.leases.held(job.id):
        assert time.monotonic() < end, "workers outlived their pool"
        time.sleep(0.05)
    assert not store.jobs.get(job.id).ended


def busy(store: StudyStore, job: Job, epochs: int) -> bool:
    """Whether so many epochs have been reported and a worker is at something."""
    if store.jobs.get(job.id).plan is None or not worker_processes(store):
        return False
    return sum(len(record.curve) for record in store.trials(job).records()) >= epochs


def alive(process: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
