"""What tests of a store do to it: many at the same moment, or behind its back."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from threading import Barrier
from typing import Any

import sqlalchemy as sa

from search.job import Job
from search.job_spec import JobSpec
from search.plan import HostSpeed, Plan
from search.store import Lease, StudyStore
from spaces.architecture import Architecture, Stage, Stem
from spaces.cnn import CnnSpace
from spaces.limits import Limits
from spaces.recipe import Candidate, Recipe

PROCESSES = 6
THREADS = 8
START_SECONDS = 120.0  # for all processes to be there; only a hang takes this long

CANDIDATE = Candidate(
    architecture=Architecture(stem=Stem(width=8), stages=(Stage(depth=1, width=16),)),
    recipe=Recipe(),
)

PLAN = Plan(
    device={"device": "cpu"},
    speed=HostSpeed(images_per_second=5000.0, macs=3_000_000),
    threads=1,
    workers=2,
    search_rows=500,
    validation_rows=100,
    search_epochs=2,
    prior_macs=None,
    search_seconds=None,
    space=CnnSpace(),
    limits=Limits(macs=10**6),
    finalists=2,
    survivors=2,
    folds=3,
    final="bag",
    finalist_epochs=8,
    classes=10,
    image_shape=(8, 8, 1),
    data_fingerprint="d",
    folds_hash="f",
)

_together: Any = None  # the barrier of this process, if it is one of several


def set_barrier(barrier: Any) -> None:
    global _together
    _together = barrier


def wait_for_the_others() -> None:
    _together.wait(START_SECONDS)


def at_once(work: Callable[..., Any], *args: Any) -> Any:
    """Run in each process: wait until all are there, then do the work."""
    wait_for_the_others()
    return work(*args)


class Processes:
    """Runs the same work in all of its processes at the same time."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, work: Callable[..., Any], *args: Any) -> list[Any]:
        futures = [self._pool.submit(at_once, work, *args) for _ in range(PROCESSES)]
        return [future.result() for future in futures]


def in_threads(work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in all threads at the same time; each is told its number."""
    barrier = Barrier(THREADS)

    def together(number: int) -> Any:
        barrier.wait(START_SECONDS)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(together, range(THREADS)))


def some_spec(**changes: Any) -> JobSpec:
    return JobSpec.parse(
        {"data": "digits", "trials": 50, "strategy": "random", "discard_after": 0, **changes}
    )


def execute(url: str, statement: str, **values: Any) -> None:
    """Change the database behind the store's back."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(statement), values)


def shift_clock(url: str, job: Job, seconds: float) -> None:
    """Let `seconds` pass since the job's last tick."""
    statement = "UPDATE jobs SET ticked_at = ticked_at - :seconds WHERE id = :id"
    execute(url, statement, seconds=seconds, id=job.id)


def submit(store: StudyStore, *, name: str, at: float, priority: int = 0) -> Job:
    """Create a job that was submitted at second `at`."""
    made = store.jobs.create(some_spec(name=name, priority=priority))
    execute(store.url, "UPDATE jobs SET created_at = :at WHERE id = :id", at=at, id=made.id)
    return store.jobs.get(made.id)


def expired(store: StudyStore, key: str = "a/1", *, owner: str = "slow") -> Lease:
    """Return a lease whose time is over."""
    lease = store.leases.claim(key, owner=owner, seconds=-1.0)
    assert lease is not None
    return lease


def claimed(store: StudyStore, key: str = "a/1", *, owner: str = "me") -> Lease:
    """Return a lease that is held."""
    lease = store.leases.claim(key, owner=owner)
    assert lease is not None
    return lease


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that a database holds, by table."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        rows = {
            name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for name, table in metadata.tables.items()
        }
    return rows
