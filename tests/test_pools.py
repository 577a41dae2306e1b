"""Workers in processes of this machine and in slots of Ray Tune keep the same promises."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from search.job import Job
from search.job_spec import JobSpec
from search.store import StudyStore
from tests.command import worker_processes
from tests.small_job import CACHE
from workers.pool import LOCAL, LocalPool, RaySlots, WorkerCommand

SPEC = {
    "data": "digits",
    "trials": 4,
    "workers": 2,
    "folds": 2,
    "finalists": 1,
    "search_rows": 200,
    "search_epochs": 4,
    "validate_every": 1,
    "strategy": "random",
    "baselines": False,
    "space": {"stages": [2, 2], "depth": [1, 1], "width": [8, 12]},
}
LIMIT_SECONDS = 200.0  # for a job to get anywhere; only a hang takes as long

# Ray and what it imports warn of many things; they are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

MakePool = Callable[[], AbstractContextManager[Any]]


@pytest.fixture
def job(store: StudyStore) -> Job:
    return store.jobs.create(JobSpec.parse(SPEC))


@pytest.fixture
def command(store: StudyStore, job: Job, tmp_path: Path) -> WorkerCommand:
    return WorkerCommand(
        store_url=store.url,
        artifacts=tmp_path / "artifacts",
        cache=CACHE,
        threads=1,
        workers=1,
        job_id=job.id,
    )


@pytest.fixture(params=["local", "ray"])
def pool_of_two(
    request: pytest.FixtureRequest, store: StudyStore, command: WorkerCommand
) -> MakePool:
    if request.param == "local":
        return lambda: LocalPool(command, store=store, size=2)
    from workers.ray_pool import RayPool

    return lambda: RayPool(command, size=2, slots=RaySlots(LOCAL))


def watch(pool: Any, until: Callable[[], Any]) -> Any:
    """Return the first true answer."""
    end = time.monotonic() + LIMIT_SECONDS
    while not (answer := until()):
        assert time.monotonic() < end, "the job did not get there"
        pool.watch()
        time.sleep(0.05)
    return answer


def test_a_job_lands_although_its_workers_are_killed(
    store: StudyStore, job: Job, pool_of_two: MakePool
) -> None:
    killed: set[int] = set()
    with pool_of_two() as pool:
        for epochs in (2, 6):
            victim = watch(pool, partial(alive_and_busy, store, job, epochs, killed))[0]
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
        running = watch(pool, partial(busy, store, job, 2))
    end = time.monotonic() + LIMIT_SECONDS
    while any(alive(process) for process in running):
        assert time.monotonic() < end, "workers outlived their pool"
        time.sleep(0.05)
    assert not store.leases.held(job.id)  # nobody needs to wait for it
    assert not store.jobs.get(job.id).ended


def test_a_worker_that_does_not_even_beat_is_killed_also_while_nobody_can_write(
    store: StudyStore,
    command: WorkerCommand,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It may have been stopped within a transaction: then all are silent, and the others go on."""
    monkeypatch.setattr("workers.pool.LOOK_SECONDS", 0.3)
    monkeypatch.setattr("workers.pool.SILENT_SECONDS", 4.0)
    job = store.jobs.create(JobSpec.parse({**SPEC, "search_epochs": 500}))  # outlasts the test
    command = replace(command, job_id=job.id)
    with LocalPool(command, store=store, size=2) as pool:
        stopped, other = watch(pool, lambda: two_of(busy(store, job, 1)))
        os.kill(stopped, signal.SIGSTOP)
        names = {slot.process.pid: slot.name for slot in pool._slots if slot.process is not None}
        end = time.monotonic() + LIMIT_SECONDS

        def silence(process: int) -> float:
            assert time.monotonic() < end and alive(other)
            time.sleep(0.05)
            return store.beats.silence(names.values())[names[process]]

        while silence(stopped) < 2.0:
            pass
        writer = sqlite3.connect(str(tmp_path / "athanor.db"), isolation_level=None, timeout=60.0)
        writer.execute("BEGIN IMMEDIATE")
        while silence(other) < 7.0 or alive(stopped):
            pass
        writer.close()
        assert other in watch(pool, lambda: two_of(busy(store, job, 1)))  # and one in its place


def two_of(processes: list[int]) -> list[int]:
    return processes if len(processes) == 2 else []


def busy(store: StudyStore, job: Job, epochs: int) -> list[int]:
    """Return the workers that are at something, once so many epochs have been reported."""
    if store.jobs.get(job.id).plan is None:
        return []
    reported = sum(len(record.curve) for record in store.trials(job).records())
    return worker_processes(store) if reported >= epochs else []


def alive_and_busy(store: StudyStore, job: Job, epochs: int, killed: set[int]) -> list[int]:
    """Return the busy workers without those that were killed: they may not have ended yet."""
    return [process for process in busy(store, job, epochs) if process not in killed]


def alive(process: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
