"""A database that is away for a while costs time, and no result."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from search.job import Job
from search.row_sketch import RowSketch
from search.store import Lease, StudyStore, is_away
from search.store.patience import Patience
from tests.postgres import PostgresServer
from tests.store.harness import CANDIDATE, claimed, contents, execute, some_spec

Call = Callable[[StudyStore, Job], object]


@contextmanager
def answers_lost(store: StudyStore) -> Iterator[list[int]]:
    """Let each first commit of a call succeed and its answer be lost; count these."""
    dialect: Any = store._database.engine.dialect
    commit, lost = dialect.do_commit, [0]

    def commit_without_answer(connection: Any) -> None:
        commit(connection)
        if lost[0] == 0:
            lost[0] += 1
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    def answer(_: float) -> bool:
        return False

    store.patience.wait = answer
    dialect.do_commit = commit_without_answer
    try:
        yield lost
    finally:
        dialect.do_commit = commit


@pytest.fixture
def backend() -> str:
    """An answer is lost between two machines; SQLite has no such thing."""
    return "postgresql"


def lease_of(job: Job) -> Lease:
    """Return the lease that each job's test has made, held or not."""
    return Lease(key=f"{job.id}/x", owner="me", fence=1, attempts=1)


CALLS: dict[str, Call] = {
    "create": lambda s, j: s.jobs.create(some_spec(name="second")),
    "stop": lambda s, j: s.jobs.stop(j.id, state="cancelled"),
    "pause": lambda s, j: s.jobs.pause(j.id, paused=True),
    "move": lambda s, j: s.jobs.move(j.id, before="queued", after="preparing"),
    "renew": lambda s, j: s.leases.renew(lease_of(j), progressed=True),
    "release": lambda s, j: s.leases.release(lease_of(j), refund=True),
    "finish": lambda s, j: s.leases.finish(lease_of(j)),
    "plan": lambda s, j: s.folds.plan(j.id, trials=[1, 2], folds=range(3)),
    "open": lambda s, j: s.test.open(j.id, rows=RowSketch(j.id), by="me", reason="landing"),
    "describe": lambda s, j: s.trials(j).describe(s.trials(j).open(0), CANDIDATE),
    "report": lambda s, j: s.trials(j).report(s.trials(j).open(0), epoch=1, score=0.5),
    "tell": lambda s, j: s.trials(j).tell(s.trials(j).open(0), "complete", score=0.5),
}


def rows(store: StudyStore) -> Counter[str]:
    return Counter({name: len(table) for name, table in contents(store.url).items()})


@pytest.mark.parametrize("call", CALLS)
def test_a_call_whose_answer_was_lost_is_made_again_with_the_same_effect(
    store: StudyStore, job: Job, call: str
) -> None:
    other = store.jobs.create(some_spec())
    for each in (job, other):
        store.trials(each).ask()
        claimed(store, f"{each.id}/x")
    before = rows(store)
    CALLS[call](store, other)
    after = rows(store)
    with answers_lost(store) as lost:
        CALLS[call](store, job)
    assert lost == [1]
    again = rows(store)
    again.subtract(after)
    after.subtract(before)
    assert again == after
    if call in ("renew", "release", "finish"):
        execute(store.url, "UPDATE leases SET expires_at = 0")
        same = [claimed(store, f"{each.id}/x").attempts for each in (job, other)]
        assert same[0] == same[1]


def test_a_claim_whose_answer_was_lost_is_the_claimers(store: StudyStore) -> None:
    claimed(store, "x/2", owner="somebody")
    with answers_lost(store) as lost:
        mine = store.leases.claim("x/1", owner="me")
        assert store.leases.claim("x/2", owner="me") is None
    assert lost == [1]
    assert mine == Lease(key="x/1", owner="me", fence=1, attempts=1)
    assert store.leases.renew(mine)


def test_a_claim_that_lost_its_answer_and_then_the_race_is_nobodys(store: StudyStore) -> None:
    others = StudyStore(store.url)

    def overtake(_: float) -> bool:
        execute(store.url, "UPDATE leases SET expires_at = 0")
        assert others.leases.claim("x/1", owner="other") is not None
        return False

    with answers_lost(store):
        store.patience.wait = overtake
        assert store.leases.claim("x/1", owner="me") is None
    others.close()


def test_a_long_wait_is_told_once_and_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    tries = iter(range(4))

    def work() -> str:
        if next(tries) < 3:
            full = psycopg.errors.DiskFull("could not extend file:\n  No space left on device")
            raise sa.exc.OperationalError("INSERT ...", {}, full)
        return "done"

    patience = Patience(lambda _: False, tell=told.append, what="the store")
    monkeypatch.setattr("search.store.patience.TOLD_AFTER", 0.0)
    assert patience.call(work) == "done"
    assert told == [
        "waiting for the store: could not extend file: No space left on device",
        "the store is back after 0 seconds",
    ]
    assert patience.call(lambda: "at once") == "at once"
    assert len(told) == 2


def test_patience_ends_when_it_is_told_to() -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 4

    def away() -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("gone"))

    with pytest.raises(DBAPIError):
        Patience(wait).call(away)
    assert waits == sorted(waits) and len(set(waits)) == 4


def test_a_restarted_server_is_waited_for(store: StudyStore, server: PostgresServer) -> None:
    waited: list[float] = []

    def start(seconds: float) -> bool:
        if not waited:
            server.start()
        waited.append(seconds)
        return False

    job = store.jobs.create(some_spec())
    trial = store.trials(job).ask()
    store.patience.wait = start
    server.stop()
    store.trials(job).report(trial, epoch=1, score=0.5)
    assert waited and store.trials(job).records()[0].curve == {1: 0.5}


def test_without_patience_an_absent_server_is_an_error(
    store: StudyStore, server: PostgresServer
) -> None:
    server.stop()
    try:
        with pytest.raises(DBAPIError) as caught:
            store.jobs.list()
        assert is_away(caught.value)
    finally:
        server.start()


def test_a_wrong_statement_is_no_absence(store: StudyStore) -> None:
    with pytest.raises(DBAPIError) as caught:
        execute(store.url, "SELECT nothing FROM nowhere")
    assert not is_away(caught.value)
    assert not is_away(ValueError("x"))
