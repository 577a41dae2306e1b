"""What is written under a lease counts as long as nobody else has had it, and no longer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from search.job import Job
from search.row_sketch import RowSketch
from search.store import StaleFence, StudyStore
from tests.store.harness import CANDIDATE, claimed, contents, expired, in_threads

Write = Callable[[StudyStore, Job], object]


def report(store: StudyStore, job: Job) -> object:
    trial = store.trials(job).open(0)
    return store.trials(job).report(trial, epoch=2, score=0.9)


def tell(store: StudyStore, job: Job) -> None:
    trial = store.trials(job).open(0)
    store.trials(job).tell(trial, "complete", score=0.9)


def describe(store: StudyStore, job: Job) -> None:
    trial = store.trials(job).open(0)
    store.trials(job).describe(trial, CANDIDATE)


def suggest(store: StudyStore, job: Job) -> object:
    trial = store.trials(job).open(0)
    return trial.suggest_float("y", 0.0, 1.0)


def record_fold(store: StudyStore, job: Job) -> None:
    (task,) = store.folds.all(job.id)
    store.folds.record(task, files="f", score=0.5, report={})


WRITES: list[Write] = [
    report,
    tell,
    describe,
    suggest,
    record_fold,
    lambda store, job: store.folds.give_up(store.folds.all(job.id)[0], reason="no time"),
    lambda store, job: store.trials(job).enqueue({"x": 0.5}),
    lambda store, job: store.jobs.move(job.id, before="queued", after="preparing"),
    lambda store, job: store.trials(job).ask(),
    lambda store, job: store.test.open(job.id, rows=RowSketch("t"), by="me", reason="landing"),
]


@pytest.fixture
def started(store: StudyStore, job: Job) -> Job:
    """A job with one trial that runs and one fold that is planned."""
    trial = store.trials(job).ask()
    trial.suggest_float("x", 0.0, 1.0)
    store.trials(job).report(trial, epoch=1, score=0.5)
    store.folds.plan(job.id, trials=[0], folds=range(1))
    return job


@pytest.mark.parametrize("write", WRITES)
def test_who_lost_the_lease_writes_nothing(store: StudyStore, started: Job, write: Write) -> None:
    slow = expired(store)
    new = claimed(store, owner="next")
    before = contents(store.url)
    with pytest.raises(StaleFence, match=r"a/1 .* from slow"), store.fenced(slow):
        write(store, started)
    assert contents(store.url) == before
    with store.fenced(new):
        write(store, started)
    assert contents(store.url) != before


@pytest.mark.parametrize("write", WRITES)
def test_a_slow_holder_whom_nobody_replaced_writes(
    store: StudyStore, started: Job, write: Write
) -> None:
    before = contents(store.url)
    with store.fenced(expired(store)):
        write(store, started)
    assert contents(store.url) != before


def test_a_finished_or_deleted_lease_is_no_longer_ones_own(store: StudyStore, job: Job) -> None:
    lease = claimed(store, f"{job.id}/trial/0")
    store.leases.finish(lease)
    with pytest.raises(StaleFence), store.fenced(lease):
        store.jobs.list()
    again = claimed(store, f"{job.id}/trial/0")
    store.delete(job)
    with pytest.raises(StaleFence), store.fenced(again):
        store.jobs.list()
    assert store.jobs.list() == []


def test_a_lease_is_not_taken_over_between_check_and_commit(store: StudyStore) -> None:
    """On PostgreSQL by the lock on the lease's row, on SQLite by the only writer's."""
    slow = expired(store)
    with ThreadPoolExecutor(1) as pool:
        with store.fenced(slow), store._database.engine.begin():
            claim = pool.submit(store.leases.claim, "a/1", owner="next")
            with pytest.raises(TimeoutError):
                claim.result(timeout=0.5)
        lease = claim.result()
    assert lease is not None and lease.fence == slow.fence + 1


def test_other_threads_are_not_fenced(store: StudyStore) -> None:
    """The heartbeat's, which must be able to ask whether the lease was lost."""
    slow = expired(store)
    claimed(store, owner="next")
    with store.fenced(slow):
        assert in_threads(lambda _: store.leases.renew(slow)) == [False] * 8


def test_the_fence_comes_down_with_the_block(store: StudyStore) -> None:
    outer, inner = claimed(store, "a/1"), expired(store, "a/2")
    claimed(store, "a/2", owner="next")
    with store.fenced(outer):
        with pytest.raises(StaleFence), store.fenced(inner):
            store.jobs.list()
        assert store.jobs.list() == []
    assert store.leases.held("a/") == {"a/1", "a/2"}
