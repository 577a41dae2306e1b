"""What a pool makes of workers that die: it starts others, and gives up if none gets to work."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
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
def store(tmp_path: Path) -> Iterator[StudyStore]:
    made = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    yield made
    made.close()


@pytest.fixture
def pool_of(
    store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., LocalPool]:
    monkeypatch.setattr("workers.pool.BACKOFF_SECONDS", 0.0)

    def pool(program: str, *, size: int, claims: Callable[[], float]) -> LocalPool:
        monkeypatch.setattr(Command, "program", program, raising=False)
        command = Command(store_url=store.url, artifacts=tmp_path, cache=tmp_path, threads=1)
        return LocalPool(command, store=store, size=size, claims=claims)

    return pool


def processes(pool: LocalPool) -> list[Any]:
    return [slot.process for slot in pool._slots if slot.process is not None]


def test_many_workers_that_die_at_once_are_no_reason_to_give_up(
    pool_of: Callable[..., LocalPool],
) -> None:
    with pool_of(SLEEP, size=MAX_DEATHS + 1, claims=lambda: 1.0) as pool:
        for _ in range(2):
            victims = processes(pool)[:MAX_DEATHS]
            for victim in victims:
                os.kill(victim.pid, signal.SIGKILL)
                victim.wait()
            pool.watch()
            pool.watch()
            assert pool.running == MAX_DEATHS + 1


def watch_deaths(pool: LocalPool) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        pool.watch()
        time.sleep(0.01)


def test_a_slot_whose_workers_never_get_to_work_is_given_up(
    pool_of: Callable[..., LocalPool],
) -> None:
    told = f"number {MAX_DEATHS} .exit status 1.; its last words: no torch here"
    with (
        pool_of(DIE, size=1, claims=lambda: 1.0) as pool,
        pytest.raises(JobFailed, match=told),
    ):
        watch_deaths(pool)


@pytest.mark.parametrize("step", [1, -1], ids=["claims", "fewer, as jobs are deleted"])
def test_deaths_at_work_are_the_works_own_affair(
    pool_of: Callable[..., LocalPool], step: int
) -> None:
    claims = itertools.count(0, step)
    with pool_of(DIE, size=1, claims=lambda: float(next(claims))) as pool:
        end = time.monotonic() + LIMIT_SECONDS
        while pool._slots[0].starts <= 2 * MAX_DEATHS:
            assert time.monotonic() < end
            pool.watch()
            time.sleep(0.01)


def test_a_worker_that_has_lived_for_long_counts_no_deaths_before_it(
    pool_of: Callable[..., LocalPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.pool.STEADY_SECONDS", 0.0)
    with pool_of(DIE, size=1, claims=lambda: 1.0) as pool:
        end = time.monotonic() + LIMIT_SECONDS
        while pool._slots[0].starts <= 2 * MAX_DEATHS:
            assert time.monotonic() < end
            pool.watch()
            time.sleep(0.01)


def test_no_two_pools_give_their_workers_equal_names(pool_of: Callable[..., LocalPool]) -> None:
    """Containers on one host may share its name and the numbers of their processes."""
    with (
        pool_of(SLEEP, size=1, claims=lambda: 1.0) as one,
        pool_of(SLEEP, size=1, claims=lambda: 1.0) as other,
    ):
        assert one._slots[0].name != other._slots[0].name
