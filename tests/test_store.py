"""The store's contract: what every backend must hold, however many workers come at once.

A new backend joins by one more entry of `BACKENDS` and of `store_url`.
"""

import itertools
import multiprocessing
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import Trial

from search.job import Job, JobSpec
from search.plan import HostSpeed, Plan
from search.store import Lease, StudyStore, Trials
from search.store.engine import database_path
from search.store.jobs import MAX_TICK
from search.store.trials import Ending
from spaces.architecture import Architecture, Stage, Stem
from spaces.cnn import CnnSpace
from spaces.errors import JobError, StoreError
from spaces.limits import Complexity, Limits
from spaces.recipe import Candidate, Recipe

BACKENDS = ["sqlite"]
PROCESSES = 6
THREADS = 8
START_SECONDS = 120.0  # for all processes to be there; only a hang takes this long

CANDIDATE = Candidate(
    architecture=Architecture(stem=Stem(width=8), stages=(Stage(depth=1, width=16),)),
    recipe=Recipe(),
)

# --- processes that start at the same moment -------------------------------------------------

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


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=set_barrier, initargs=(barrier,)
    ) as pool:
        yield Processes(pool)


def in_threads(work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in all threads at the same time; each is told its number."""
    barrier = Barrier(THREADS)

    def together(number: int) -> Any:
        barrier.wait(START_SECONDS)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(together, range(THREADS)))


# --- stores, jobs and what a test does to them directly ---------------------------------------


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that does not exist yet."""
    assert request.param == "sqlite"
    return f"sqlite:///{tmp_path}/store/athanor.db"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store without jobs: copied for each test, for creating takes its time."""
    path = tmp_path_factory.mktemp("empty") / "athanor.db"
    StudyStore(f"sqlite:///{path}", create=True).close()
    return path


@pytest.fixture
def store(store_url: str, empty_store: Path) -> Iterator[StudyStore]:
    path = database_path(store_url)
    path.parent.mkdir()
    with closing(sqlite3.connect(empty_store)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
    made = StudyStore(store_url)
    yield made
    made.close()


@pytest.fixture
def job(store: StudyStore) -> Job:
    return store.jobs.create(some_spec())


def some_spec(**changes: Any) -> JobSpec:
    return JobSpec.parse(
        {"data": "digits", "trials": 50, "strategy": "random", "discard_after": 0, **changes}
    )


def execute(url: str, statement: str, **values: Any) -> None:
    """Change the database behind the store's back."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(statement), values)
    engine.dispose()


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


def dump(path: Path) -> list[str]:
    """Return all that a SQLite file holds."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


# --- opening ----------------------------------------------------------------------------------


def test_a_created_store_is_opened_again_with_what_it_holds(store_url: str) -> None:
    first = StudyStore(store_url, create=True)
    made = first.jobs.create(some_spec(name="mine"))
    first.close()
    for create in (False, True):
        again = StudyStore(store_url, create=create)
        assert again.jobs.get(made.id) == made
        again.close()


def open_new(url: str) -> str:
    store = StudyStore(url, create=True)
    job = store.jobs.create(some_spec())
    store.close()
    return job.id


def test_processes_that_create_a_store_at_once_all_succeed(
    processes: Processes, store_url: str
) -> None:
    made = processes.run(open_new, store_url)
    store = StudyStore(store_url)
    assert {job.id for job in store.jobs.list()} == set(made) and len(set(made)) == PROCESSES
    store.close()


def test_a_creation_that_was_killed_half_way_is_completed(store_url: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    half = RDBStorage(store_url)  # Optuna's tables are there, ours are not
    half.engine.dispose()
    store = StudyStore(store_url)
    assert store.jobs.list() == []
    store.trials(store.jobs.create(some_spec())).ask()
    store.close()


def test_a_newer_schema_is_refused_and_left_alone(
    store: StudyStore, store_url: str, tmp_path: Path
) -> None:
    store.close()
    execute(store_url, "UPDATE athanor_version SET version_num = '9999'")
    before = dump(tmp_path / "store" / "athanor.db")
    for create in (False, True):
        with pytest.raises(StoreError, match=r"at most .* has 9999; upgrade") as caught:
            StudyStore(store_url, create=create)
        assert "\n" not in str(caught.value)
    assert dump(tmp_path / "store" / "athanor.db") == before


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("size", [30, 100, 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, create: bool, size: int
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"These are notes, and no database.\n".ljust(size, b"!"))
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"notes\.txt is not a usable study store") as caught:
        StudyStore(f"sqlite:///{path}", create=create)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("create", [False, True])
def test_a_folder_is_no_store(tmp_path: Path, create: bool) -> None:
    with pytest.raises(StoreError):
        StudyStore(f"sqlite:///{tmp_path}", create=create)


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="must be writable"):
        StudyStore(f"sqlite:///{tmp_path}/file/athanor.db", create=True)


def test_a_missing_store_is_not_made_unasked(store_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no study store at .*athanor\.db"):
        StudyStore(store_url)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    ["postgresql://host/name", "mysql+pymysql://host/name", "athanor.db", "", "sqlite://"],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(StoreError, match="must be a URL like sqlite:///PATH") as caught:
        StudyStore(url, create=True)
    assert repr(url) in str(caught.value)


def test_a_store_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="sqlite:///PATH"):
        StudyStore("sqlite:///:memory:", create=True)
    assert not list(tmp_path.iterdir())


def test_connections_are_durable_and_do_not_block_readers(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite alone: write-ahead log, a flush a commit (FULL is 2), foreign keys, patience."""
    seen: list[Any] = []

    def ask(connection: sqlite3.Connection, *_: Any) -> None:
        for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout"):
            seen.extend(connection.execute(f"PRAGMA {pragma}").fetchone())

    sa.event.listen(sa.pool.Pool, "checkout", ask)
    try:
        store.jobs.list()
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", ask)
    assert seen == ["wal", 2, 1, 60_000]


# --- leases -----------------------------------------------------------------------------------


def test_the_first_claim_gets_the_lease_and_the_second_does_not(store: StudyStore) -> None:
    lease = store.leases.claim("a/1", owner="me")
    assert lease == Lease(key="a/1", owner="me", fence=1, attempts=1)
    assert store.leases.claim("a/1", owner="you") is None
    assert store.leases.claim("a/1", owner="me") is None
    assert store.leases.claim("a/2", owner="you") is not None


def test_held_leases_are_listed_below_their_prefix_only(store: StudyStore) -> None:
    for key in ("a_1/trial/1", "a_1/trial/2", "a_1/fold/1", "ab1/trial/3"):
        claimed(store, key)
    expired(store, "a_1/trial/9")
    store.leases.release(claimed(store, "a_1/trial/8"))
    store.leases.finish(claimed(store, "a_1/trial/7"))
    assert store.leases.held("a_1/trial/") == {"a_1/trial/1", "a_1/trial/2"}
    assert store.leases.held("nobody/") == set()


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_an_expired_lease_goes_to_the_next_with_a_larger_fence(
    store: StudyStore, seconds: float
) -> None:
    first = store.leases.claim("a/1", owner="slow", seconds=seconds)
    second = store.leases.claim("a/1", owner="next")
    assert first is not None and second is not None
    assert (second.owner, second.fence, second.attempts) == ("next", first.fence + 1, 2)


def test_who_lost_a_lease_changes_nothing(store: StudyStore) -> None:
    old = expired(store)
    new = claimed(store, owner="next")
    assert not store.leases.renew(old)
    store.leases.release(old)
    store.leases.finish(old)
    assert store.leases.held("a/") == {"a/1"}
    assert store.leases.claim("a/1", owner="third") is None
    assert store.leases.renew(new)


def test_an_expired_lease_that_nobody_claimed_is_renewed(store: StudyStore) -> None:
    slow = expired(store)
    assert store.leases.held("a/") == set()
    assert store.leases.renew(slow)
    assert store.leases.held("a/") == {"a/1"}
    assert store.leases.claim("a/1", owner="next") is None


def test_renewing_sets_a_new_end(store: StudyStore) -> None:
    lease = claimed(store)
    assert store.leases.renew(lease, seconds=-1.0)
    assert claimed(store, owner="next").fence == 2


def test_a_released_lease_is_free_and_its_attempts_are_counted(store: StudyStore) -> None:
    for attempt in range(1, 5):
        lease = claimed(store, owner=f"worker {attempt}")
        assert (lease.fence, lease.attempts) == (attempt, attempt)
        store.leases.release(lease)
        store.leases.release(lease)


def test_progress_forgets_the_attempts_before(store: StudyStore) -> None:
    for attempt in (1, 2, 3):
        lease = claimed(store)
        assert lease.attempts == attempt
        assert store.leases.renew(lease)
        store.leases.release(lease)
    assert store.leases.renew(lease, progressed=True)
    store.leases.release(lease)
    assert claimed(store).attempts == 2


def test_work_that_was_stopped_in_good_order_counts_as_no_attempt(store: StudyStore) -> None:
    for fence in (1, 2, 3):
        lease = claimed(store)
        assert (lease.fence, lease.attempts) == (fence, 1)
        store.leases.release(lease, refund=True)


def test_who_lost_a_lease_does_not_touch_the_attempts(store: StudyStore) -> None:
    old = expired(store)
    new = claimed(store, owner="next")
    store.leases.release(old, refund=True)
    assert not store.leases.renew(old, progressed=True)
    store.leases.release(new)
    assert claimed(store).attempts == 3


def test_a_finished_lease_is_free_and_its_attempts_are_forgotten(store: StudyStore) -> None:
    expired(store)
    lease = claimed(store, owner="next")
    store.leases.finish(lease)
    assert store.leases.held("a/") == set()
    assert not store.leases.renew(lease)
    assert claimed(store).attempts == 1


def test_a_fence_grows_even_after_the_work_was_finished(store: StudyStore) -> None:
    """Or a worker that slept would take the newcomer's lease for its own."""
    asleep = expired(store)
    store.leases.finish(claimed(store, owner="next"))
    newcomer = claimed(store, owner="newcomer")
    assert newcomer.fence > asleep.fence
    assert not store.leases.renew(asleep)


KEYS = 100


def claim_all(store: StudyStore, first: int) -> list[str]:
    """Claim as many of the keys as can be had, from a place of one's own."""
    keys = [f"k/{(first + number) % KEYS}" for number in range(KEYS)]
    return [key for key in keys if store.leases.claim(key, owner=str(first)) is not None]


def claim_all_in_process(url: str) -> list[str]:
    store = StudyStore(url)
    wait_for_the_others()
    got = claim_all(store, 0)
    store.close()
    return got


def test_threads_claim_each_key_exactly_once(store: StudyStore) -> None:
    got = in_threads(lambda number: claim_all(store, number * KEYS // THREADS))
    assert Counter(itertools.chain(*got)) == {f"k/{number}": 1 for number in range(KEYS)}


def test_processes_claim_each_key_exactly_once(processes: Processes, store: StudyStore) -> None:
    got = processes.run(claim_all_in_process, store.url)
    assert Counter(itertools.chain(*got)) == {f"k/{number}": 1 for number in range(KEYS)}


def test_an_expired_lease_is_taken_over_by_one(store: StudyStore) -> None:
    expired(store)
    got = in_threads(lambda number: store.leases.claim("a/1", owner=str(number)))
    assert [lease.fence for lease in got if lease is not None] == [2]


# --- jobs -------------------------------------------------------------------------------------


def test_a_new_job_is_queued_and_read_back_as_it_was_asked(store: StudyStore) -> None:
    spec = some_spec(name="mine", budget="90s", priority=3)
    made = store.jobs.create(spec, seconds_used=1.5)
    assert made.id.startswith("mine-")
    assert (made.state, made.priority, made.spec, made.seconds_used) == ("queued", 3, spec, 1.5)
    assert (made.plan, made.error, made.result, made.phases) == (None, None, None, {"queued": 0.0})
    assert store.jobs.get(made.id) == made


def test_jobs_are_listed_newest_first(store: StudyStore) -> None:
    made = [submit(store, name=name, at=at) for name, at in (("b", 20), ("c", 30), ("a", 10))]
    assert store.jobs.list() == [made[1], made[0], made[2]]


def test_an_unknown_id_is_answered_with_those_there_are(store: StudyStore) -> None:
    with pytest.raises(JobError, match="no job 'nothing' in this store; the store holds none"):
        store.jobs.get("nothing")
    known = [submit(store, name=name, at=at) for at, name in enumerate("ab")]
    with pytest.raises(JobError, match=f"the latest are {known[1].id}, {known[0].id}"):
        store.jobs.get("nothing")


def test_a_job_moves_only_from_the_state_that_is_named(store: StudyStore, job: Job) -> None:
    assert not store.jobs.move(job.id, before="searching", after="landing")
    assert store.jobs.get(job.id) == job
    assert store.jobs.move(job.id, before="queued", after="preparing")
    assert not store.jobs.move(job.id, before="queued", after="preparing")
    assert store.jobs.get(job.id).state == "preparing"
    assert not store.jobs.move("nothing", before="queued", after="preparing")


def test_one_of_many_moves_a_job(store: StudyStore, job: Job) -> None:
    moved = in_threads(lambda _: store.jobs.move(job.id, before="queued", after="preparing"))
    assert sorted(moved) == [False] * (THREADS - 1) + [True]


def test_phases_say_how_much_time_was_used_when_they_began(store: StudyStore) -> None:
    made = store.jobs.create(some_spec(), seconds_used=4.0)
    store.jobs.move(made.id, before="queued", after="preparing")
    execute(store.url, "UPDATE jobs SET seconds_used = 9.0")
    store.jobs.move(made.id, before="preparing", after="searching")
    assert store.jobs.get(made.id).phases == {"queued": 0.0, "preparing": 4.0, "searching": 9.0}


def test_a_plan_is_written_once_and_begins_the_search(store: StudyStore, job: Job) -> None:
    plan = Plan(
        device={"device": "cpu"},
        speed=HostSpeed(images_per_second=5000.0, macs=3_000_000),
        threads=1,
        search_rows=500,
        validation_rows=100,
        search_epochs=4,
        search_seconds=None,
        space=CnnSpace(),
        limits=Limits(macs=10**6),
        finalists=2,
        survivors=2,
        folds=4,
        finalist_epochs=8,
        classes=10,
        image_shape=(8, 8, 1),
        data_fingerprint="d",
        folds_hash="f",
    )
    assert not store.jobs.set_plan(job.id, plan)
    store.jobs.move(job.id, before="queued", after="preparing")
    assert store.jobs.set_plan(job.id, plan)
    assert not store.jobs.set_plan(job.id, plan)
    read = store.jobs.get(job.id)
    assert read.state == "searching" and read.plan == plan


def test_a_result_is_recorded_only_while_the_job_is_being_assembled(
    store: StudyStore, job: Job
) -> None:
    assert not store.jobs.finish(job.id, result={"accuracy": 0.9})
    execute(store.url, "UPDATE jobs SET state = 'assembling'")
    assert store.jobs.finish(job.id, result={"accuracy": 0.9})
    assert not store.jobs.finish(job.id, result={"accuracy": 0.1})
    read = store.jobs.get(job.id)
    assert read.ended and read.state == "done" and read.result == {"accuracy": 0.9}


def test_a_job_is_stopped_once_and_keeps_the_reason(store: StudyStore, job: Job) -> None:
    assert store.jobs.stop(job.id, state="failed", error="no network fits")
    assert not store.jobs.stop(job.id, state="cancelled")
    read = store.jobs.get(job.id)
    assert (read.ended, read.state, read.error) == (True, "failed", "no network fits")


def test_the_next_job_is_chosen_by_priority_then_by_age(store: StudyStore) -> None:
    assert store.jobs.next() is None
    expected = [
        submit(store, name="old-urgent", at=20, priority=5),
        submit(store, name="new-urgent", at=30, priority=5),
        submit(store, name="oldest", at=1),
        submit(store, name="humble", at=0, priority=-1),
    ]
    for each in expected:
        assert store.jobs.next() == each
        store.jobs.stop(each.id, state="cancelled")
    assert store.jobs.next() is None


def test_the_time_between_two_ticks_is_counted(store: StudyStore, job: Job) -> None:
    before = store.jobs.tick(job.id)
    shift_clock(store.url, job, 3.0)
    used = store.jobs.tick(job.id)
    assert 3.0 <= used - before < 3.0 + MAX_TICK
    assert store.jobs.get(job.id).seconds_used == used


def test_each_second_counts_once_whoever_ticks(store: StudyStore, job: Job) -> None:
    before = store.jobs.tick(job.id)
    shift_clock(store.url, job, 3.0)
    used = max(in_threads(lambda _: store.jobs.tick(job.id)))
    # Were it counted by each thread, it would be 24.
    assert 3.0 <= used - before < 6.0


@pytest.mark.parametrize("silence", [MAX_TICK + 0.5, 3600.0, -3600.0])
def test_a_long_silence_and_a_clock_set_back_are_not_counted(
    store: StudyStore, job: Job, silence: float
) -> None:
    before = store.jobs.tick(job.id)
    shift_clock(store.url, job, silence)
    assert store.jobs.tick(job.id) == before
    shift_clock(store.url, job, 2.0)
    assert store.jobs.tick(job.id) >= before + 2.0


def test_trial_slots_are_given_out_exactly(store: StudyStore, job: Job) -> None:
    def take(_: int) -> int:
        taken = 0
        while store.jobs.take_trial_slot(job.id, limit=50):
            taken += 1
        return taken

    assert sum(in_threads(take)) == 50


def test_without_a_limit_there_is_always_a_slot(store: StudyStore, job: Job) -> None:
    assert all(store.jobs.take_trial_slot(job.id, limit=None) for _ in range(5))


def test_slots_come_back(store: StudyStore, job: Job) -> None:
    def take() -> bool:
        return store.jobs.take_trial_slot(job.id, limit=2)

    assert [take(), take(), take()] == [True, True, False]
    store.jobs.give_trial_slot_back(job.id)
    assert [take(), take()] == [True, False]
    assert store.jobs.return_trial_slots(job.id, asked=1, limit=2)
    assert [take(), take()] == [True, False]
    assert not store.jobs.return_trial_slots(job.id, asked=2, limit=2)
    assert not take()


# --- trials -----------------------------------------------------------------------------------


def suggest(trial: Trial) -> tuple[float, str]:
    return trial.suggest_float("x", 0.0, 1.0), trial.suggest_categorical("kind", ["a", "b"])


def finished(
    trials: Trials,
    ending: Ending,
    *scores: float,
    parameters: int | None = None,
    candidate: Candidate = CANDIDATE,
) -> int:
    """Run a trial that reports these scores; return its number."""
    trial = trials.ask()
    complexity = None if parameters is None else Complexity(parameters=parameters, macs=9)
    trials.describe(trial, candidate, complexity)
    for epoch, score in enumerate(scores, start=1):
        trials.report(trial, epoch=epoch, score=score)
    trials.tell(trial, ending, score=scores[-1] if scores else None)
    return trial.number


def test_a_trial_is_recorded_from_ask_to_tell(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    (record,) = trials.records()
    assert (record.number, record.state, record.score) == (0, "running", None)
    trials.describe(trial, CANDIDATE, Complexity(parameters=12, macs=34))
    trials.describe_pace(trial, train=0.25, predict=0.125)
    assert not trials.report(trial, epoch=1, score=0.5)
    assert not trials.report(trial, epoch=2, score=0.75)
    assert trials.records()[0].score == 0.75
    trials.tell(trial, "complete", score=0.75, seconds=1.5, files="trials/0/1", note="well")
    (record,) = trials.records()
    assert record.finished and record.state == "complete"
    assert record.curve == {1: 0.5, 2: 0.75} and record.candidate == CANDIDATE
    assert (record.parameters, record.macs) == (12, 34)
    assert (record.train_pace, record.predict_pace, record.seconds) == (0.25, 0.125, 1.5)
    assert (record.files, record.note) == ("trials/0/1", "well")


@pytest.mark.parametrize(
    "ending", ["pruned", "infeasible", "diverged", "out of memory", "out of time", "failed"]
)
def test_other_endings_are_told_apart_and_are_no_finish(
    store: StudyStore, job: Job, ending: Ending
) -> None:
    trials = store.trials(job)
    finished(trials, ending, 0.5)
    (record,) = trials.records()
    assert (record.state, record.finished, record.score) == (ending, False, 0.5)
    assert trials.running() == []


def test_an_epoch_at_a_high_rate_does_not_lower_what_the_rung_gave(
    store: StudyStore, job: Job
) -> None:
    trials = store.trials(job)
    finished(trials, "out of time", 0.82, 0.78)
    finished(trials, "complete", 0.82, 0.78)
    assert [record.score for record in trials.records()] == [0.82, 0.78]


def test_the_leaderboard_puts_finished_trials_first_and_then_the_best(
    store: StudyStore, job: Job
) -> None:
    trials = store.trials(job)
    low = finished(trials, "complete", 0.2, 0.6)
    stopped = finished(trials, "pruned", 0.9)
    high = finished(trials, "complete", 0.3, 0.8)
    finished(trials, "infeasible")
    copied = finished(trials, "copied", 0.7)
    trials.ask()
    board = [record.number for record in trials.leaderboard()]
    assert board == [high, copied, low, stopped]


def test_equal_scores_go_to_the_earlier_trial(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    made = [finished(trials, "complete", 0.5, parameters=size) for size in (300, 100, 200)]
    assert [record.number for record in trials.leaderboard()] == made


def test_a_running_trial_is_reopened_as_the_same_and_can_be_told(
    store: StudyStore, job: Job
) -> None:
    """Pins what we need of `optuna.trial.Trial(study, trial_id)`."""
    trial = store.trials(job).ask()
    values = suggest(trial)
    store.trials(job).report(trial, epoch=1, score=0.25)
    other = StudyStore(store.url)
    trials = other.trials(job)
    (again,) = trials.running()
    assert again.number == trial.number and suggest(again) == values
    assert again.params == trial.params
    trials.report(again, epoch=2, score=0.5)
    trials.tell(again, "complete", score=0.5)
    other.close()
    (record,) = store.trials(job).records()
    assert (record.number, record.curve, record.score) == (0, {1: 0.25, 2: 0.5}, 0.5)


def test_a_reopened_trial_draws_what_its_first_holder_would_have(
    store: StudyStore, job: Job
) -> None:
    """A holder that dies between two suggestions changes nothing of what is drawn."""
    expected = suggest(store.trials(store.jobs.create(some_spec())).ask())
    store.trials(job).ask().suggest_float("x", 0.0, 1.0)
    other = StudyStore(store.url)
    (again,) = other.trials(job).running()
    assert again.params == {"x": expected[0]} and suggest(again) == expected
    other.close()


def test_an_epoch_that_was_reported_keeps_its_first_score(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    trials.report(trial, epoch=1, score=0.5)
    trials.report(trial, epoch=1, score=0.9)
    (again,) = trials.running()
    trials.report(again, epoch=1, score=0.1)
    assert trials.records()[0].curve == {1: 0.5}


def test_a_report_says_when_to_stop(store: StudyStore) -> None:
    trials = store.trials(store.jobs.create(some_spec(discard_after=1, keep=1)))
    first, second = trials.ask(), trials.ask()
    assert not trials.report(first, epoch=1, score=0.5)
    assert trials.report(second, epoch=1, score=0.4)
    assert not trials.report(first, epoch=2, score=0.1)


@pytest.mark.parametrize("ending", ["complete", "pruned", "failed"])
def test_a_trial_ends_once(store: StudyStore, job: Job, ending: Ending) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    trials.tell(trial, "complete", score=0.5)
    before = trials.records()
    with pytest.raises(ValueError):
        trials.tell(trial, ending, score=0.9)
    assert trials.records() == before


def test_a_complete_trial_needs_a_score(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    with pytest.raises(ValueError):
        trials.tell(trial, "complete")
    assert trials.records()[0].state == "running"


def test_only_a_complete_trial_of_an_equal_candidate_is_equal(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    other = CANDIDATE.model_copy(update={"recipe": Recipe(epochs=3)})
    finished(trials, "pruned", 0.5)
    finished(trials, "complete", 0.5, candidate=other)
    assert trials.equal(CANDIDATE) is None
    number = finished(trials, "complete", 0.5)
    finished(trials, "copied", 0.5)
    found = trials.equal(CANDIDATE)
    assert found is not None and found.number == number


def test_jobs_have_studies_of_their_own(store: StudyStore, job: Job) -> None:
    other = store.jobs.create(some_spec())
    store.trials(job).ask()
    assert store.trials(other).records() == []


def test_equal_parameters_are_queued_once(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    for _ in range(2):
        trials.enqueue({"x": 0.25})
    assert [record.state for record in trials.records()] == ["waiting"]
    assert suggest(trials.ask())[0] == 0.25


def open_study(url: str, job: Job) -> int:
    store = StudyStore(url)
    number = store.trials(job).ask().number
    store.close()
    return number


def test_processes_that_open_a_new_study_at_once_share_it(
    processes: Processes, store: StudyStore, job: Job
) -> None:
    numbers = processes.run(open_study, store.url, job)
    assert sorted(numbers) == list(range(PROCESSES))


QUEUED = 60
ASKED = QUEUED // PROCESSES + 1  # of each process: one more than there are for it


def ask_queued(url: str, job: Job) -> list[tuple[int, float]]:
    store = StudyStore(url)
    trials = store.trials(job)
    wait_for_the_others()
    taken = [trials.ask() for _ in range(ASKED)]
    values = [(trial.number, trial.suggest_float("x", 0.0, 100.0)) for trial in taken]
    store.close()
    return values


def test_processes_take_each_queued_trial_exactly_once(
    processes: Processes, store: StudyStore, job: Job
) -> None:
    trials = store.trials(job)
    for number in range(QUEUED):
        trials.enqueue({"x": float(number)})
    taken = list(itertools.chain(*processes.run(ask_queued, store.url, job)))
    numbers = Counter(number for number, _ in taken)
    assert numbers == {number: 1 for number in range(PROCESSES * ASKED)}
    queued = {number: value for number, value in taken if number < QUEUED}
    assert queued == {number: float(number) for number in range(QUEUED)}


# --- results of folds, openings of test sets --------------------------------------------------


def test_folds_are_planned_best_finalist_first_and_only_once(store: StudyStore, job: Job) -> None:
    store.folds.plan(job.id, trials=[7, 3], folds=(0, 2))
    store.folds.plan(job.id, trials=[1, 2, 3], folds=range(5))
    tasks = store.folds.all(job.id)
    order = [(task.place, task.trial, task.fold) for task in tasks]
    assert order == [(0, 7, 0), (0, 7, 2), (1, 3, 0), (1, 3, 2)]
    assert all(task.pending and not task.done and task.accuracy is None for task in tasks)


def test_many_that_plan_at_once_plan_once(store: StudyStore, job: Job) -> None:
    in_threads(lambda number: store.folds.plan(job.id, trials=[number], folds=range(3)))
    assert len({task.trial for task in store.folds.all(job.id)}) == 1
    assert len(store.folds.all(job.id)) == 3


def test_jobs_have_folds_of_their_own(store: StudyStore, job: Job) -> None:
    other = store.jobs.create(some_spec())
    store.folds.plan(job.id, trials=[0], folds=range(2))
    assert store.folds.all(other.id) == []
    store.folds.plan(other.id, trials=[0], folds=range(3))
    store.folds.record(store.folds.all(other.id)[0], files="f", accuracy=0.5, report={})
    assert [task.pending for task in store.folds.all(job.id)] == [True, True]


def test_the_first_result_of_a_fold_counts(store: StudyStore, job: Job) -> None:
    store.folds.plan(job.id, trials=[7], folds=range(2))
    task = store.folds.all(job.id)[1]
    store.folds.record(task, files="7-1/1", accuracy=0.9, report={"epochs": 3})
    store.folds.record(task, files="7-1/2", accuracy=0.1, report={})
    store.folds.give_up(task, reason="no time left")
    first, second = store.folds.all(job.id)
    assert first.pending and second.done
    assert (second.files, second.accuracy, second.report) == ("7-1/1", 0.9, {"epochs": 3})


def test_a_fold_that_was_given_up_stays_so_and_says_why(store: StudyStore, job: Job) -> None:
    store.folds.plan(job.id, trials=[7], folds=range(1))
    (task,) = store.folds.all(job.id)
    store.folds.give_up(task, reason="no time left")
    store.folds.record(task, files="7-0/1", accuracy=0.9, report={})
    (task,) = store.folds.all(job.id)
    assert not task.done and not task.pending and task.files is None
    assert (task.state, task.report) == ("given up", {"reason": "no time left"})


def test_a_job_opens_its_test_set_once(store: StudyStore) -> None:
    first = store.test.open("job", test_fingerprint="t", by="me", reason="landing")
    again = store.test.open("job", test_fingerprint="t", by="you", reason="once more")
    assert first == again and store.test.all("t") == [first]
    assert (first.job_id, first.opened_by, first.reason) == ("job", "me", "landing")
    assert first.accuracy is None and first.opened_at > 0


def test_another_job_or_another_test_set_is_another_opening(store: StudyStore) -> None:
    first = store.test.open("job", test_fingerprint="t", by="me", reason="landing")
    second = store.test.open("other", test_fingerprint="t", by="me", reason="landing")
    third = store.test.open("job", test_fingerprint="u", by="me", reason="landing")
    assert store.test.all("t") == [first, second]
    assert store.test.all("u") == [third]
    assert store.test.all("nothing") == []


def test_many_that_open_a_test_set_at_once_open_it_once(store: StudyStore) -> None:
    def opened(number: int) -> int:
        return store.test.open("job", test_fingerprint="t", by=str(number), reason="landing").id

    assert len(set(in_threads(opened))) == 1 and len(store.test.all("t")) == 1


def test_an_opening_is_scored_once(store: StudyStore) -> None:
    first = store.test.open("job", test_fingerprint="t", by="me", reason="landing")
    other = store.test.open("other", test_fingerprint="t", by="me", reason="landing")
    store.test.score(first, accuracy=0.75)
    store.test.score(first, accuracy=0.99)
    assert [opening.accuracy for opening in store.test.all("t")] == [0.75, None]
    assert store.test.open("job", test_fingerprint="t", by="me", reason="").accuracy == 0.75
    assert other.accuracy is None
