"""What a pool makes of workers that die: it starts others, and gives up if none gets to work."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from search.store import StudyStore
from spaces.errors import JobFailed
from workers.pool import MAX_DEATHS, LocalPool, WorkerCommand

LIMIT_SECONDS = 60.0  # only a hang takes as long
SLEEP = "import time; time.sleep(600)"
DIE = "import sys; sys.exit('no torch here')"


class Command(WorkerCommand):
    """Starts a small program in place of a worker."""

    program: str

    def arguments(self, *, name: str) -> list[str]:
        return [sys.executable, "-c", self.program, name]


@pytest.fixture
def pool_of(
    store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., LocalPool]:
    monkeypatch.setattr("workers.pool.BACKOFF_SECONDS", 0.0)

    def pool(program: str, *, size: int = 1, job_id: str | None = None) -> LocalPool:
        monkeypatch.setattr(Command, "program", program, raising=False)
        command = Command(
            store_url=store.url,
            artifacts=tmp_path,
            cache=tmp_path,
            threads=1,
            workers=1,
            job_id=job_id,
        )
        return LocalPool(command, store=store, size=size)

    return pool


def processes(pool: LocalPool) -> list[Any]:
    return [slot.process for slot in pool._slots if slot.process is not None]


def test_many_workers_that_die_at_once_are_no_reason_to_give_up(
    pool_of: Callable[..., LocalPool],
) -> None:
    with pool_of(SLEEP, size=MAX_DEATHS + 1) as pool:
        for _ in range(2):
            victims = processes(pool)[:MAX_DEATHS]
            for victim in victims:
                os.kill(victim.pid, signal.SIGKILL)
                victim.wait()
            pool.watch()
            pool.watch()
            assert pool.running == MAX_DEATHS + 1


def watch_deaths(pool: LocalPool) -> None:
    """Look after workers that die at once until so many have that the pool might give up."""
    end = time.monotonic() + LIMIT_SECONDS
    while pool._slots[0].starts <= 2 * MAX_DEATHS:
        assert time.monotonic() < end
        pool.watch()
        time.sleep(0.01)


@pytest.mark.parametrize("job_id", [None, "job"])
def test_a_slot_whose_workers_never_get_to_work_is_given_up(
    store: StudyStore, pool_of: Callable[..., LocalPool], job_id: str | None
) -> None:
    if job_id is not None:  # what somebody does for another job is no reason to hope
        assert store.leases.claim("another/trial/0", owner="somebody", seconds=600.0)
    told = f"number {MAX_DEATHS} .exit status 1.; its last words: no torch here"
    with pool_of(DIE, job_id=job_id) as pool, pytest.raises(JobFailed, match=told):
        watch_deaths(pool)


@pytest.mark.parametrize("step", [1, -1], ids=["claims", "fewer, as jobs are deleted"])
def test_deaths_at_work_are_the_works_own_affair(
    store: StudyStore,
    pool_of: Callable[..., LocalPool],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    claims = itertools.count(0, step)
    monkeypatch.setattr(store.leases, "claims", lambda _: float(next(claims)))
    with pool_of(DIE, job_id="job") as pool:
        watch_deaths(pool)


def test_one_slot_that_cannot_work_does_not_end_what_others_are_at(
    store: StudyStore, pool_of: Callable[..., LocalPool]
) -> None:
    assert store.leases.claim("job/fold/0/1", owner="another slot's worker", seconds=600.0)
    with pool_of(DIE, job_id="job") as pool:
        watch_deaths(pool)


@pytest.mark.parametrize("job_id", [None, "job"])
def test_a_service_forgets_deaths_before_a_worker_that_lived_for_long(
    pool_of: Callable[..., LocalPool], monkeypatch: pytest.MonkeyPatch, job_id: str | None
) -> None:
    monkeypatch.setattr("workers.pool.STEADY_SECONDS", 0.0)
    gives_up = nullcontext() if job_id is None else pytest.raises(JobFailed)
    with pool_of(DIE, job_id=job_id) as pool, gives_up:
        watch_deaths(pool)


def test_no_two_pools_give_their_workers_equal_names(pool_of: Callable[..., LocalPool]) -> None:
    """Containers on one host may share its name and the numbers of their processes."""
    with pool_of(SLEEP) as one, pool_of(SLEEP) as other:
        assert one._slots[0].name != other._slots[0].name
