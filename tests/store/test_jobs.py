"""A job moves from state to state once, and its time and its trials are counted exactly."""

import pytest

from search.job import Job
from search.row_sketch import RowSketch
from search.store import StudyStore
from search.store.jobs import MAX_TICK
from spaces.errors import JobError
from tests.store.harness import (
    PLAN,
    THREADS,
    claimed,
    contents,
    execute,
    in_threads,
    shift_clock,
    some_spec,
    submit,
)


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
    plan = PLAN.model_copy(update={"first_trials": ({"width": 8}, {"width": 16})})
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


def test_jobs_of_equal_priority_share_the_workers(store: StudyStore) -> None:
    jobs = [submit(store, name=name, at=at) for at, name in enumerate("abc")]
    for expected in [*jobs, *jobs, jobs[0]]:
        following = store.jobs.next()
        assert following == expected
        claimed(store, f"{following.id}/trial/{len(store.leases.held(following.id))}")
    urgent = submit(store, name="urgent", at=9, priority=1)
    claimed(store, f"{urgent.id}/trial/0")
    assert store.jobs.next() == urgent


def test_a_paused_job_rests_until_it_is_let_go_on(store: StudyStore, job: Job) -> None:
    assert store.jobs.pause(job.id, paused=True)
    assert not store.jobs.pause(job.id, paused=True)
    assert store.jobs.get(job.id).paused and store.jobs.next() is None
    before = store.jobs.tick(job.id)
    shift_clock(store.url, job, 3.0)
    assert store.jobs.tick(job.id) == before
    assert store.jobs.pause(job.id, paused=False)
    assert store.jobs.next() == job
    store.jobs.stop(job.id, state="cancelled")
    assert not store.jobs.pause(job.id, paused=True)


def test_a_deleted_job_leaves_nothing_but_the_openings_of_its_test_set(
    store: StudyStore, job: Job
) -> None:
    kept = submit(store, name="kept", at=5)
    store.jobs.move(kept.id, before="queued", after="preparing")
    empty = contents(store.url)
    doomed = submit(store, name="doomed", at=6)
    trial = store.trials(doomed).ask()
    store.trials(doomed).report(trial, epoch=1, score=0.5)
    store.folds.plan(doomed.id, trials=[0], folds=range(2))
    claimed(store, f"{doomed.id}/trial/0")
    opening = store.test.open(doomed.id, rows=RowSketch("t"), by="me", reason="landing")
    store.delete(doomed)
    left = contents(store.url)
    assert left.pop("test_openings") and empty.pop("test_openings") == []
    assert left == empty and store.test.all(RowSketch("t")) == [opening]
    with pytest.raises(JobError):
        store.jobs.get(doomed.id)


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
