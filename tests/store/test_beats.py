"""A beat keeps the lease, counts the time, shows the worker and brings the news."""

import pytest

from search.job import Job
from search.job_spec import JobSpec
from search.store import StudyStore, WorkerIdentity
from search.store.beats import LOST_SECONDS
from tests.store.harness import claimed, execute, expired, shift_clock

ME = WorkerIdentity(id="host/1", host="host", device="cpu")
YOU = WorkerIdentity(id="host/2", host="host", device="NVIDIA H200")


def test_a_beat_renews_the_lease_and_counts_the_time(store: StudyStore, job: Job) -> None:
    lease = expired(store, f"{job.id}/trial/7")
    before = store.jobs.tick(job.id)
    shift_clock(store.url, job, 3.0)
    beat = store.beats.beat(ME, job.id, lease)
    assert beat.lease_held and not beat.job_stopped
    assert 3.0 <= beat.seconds_used - before < 6.0
    assert store.leases.held(job.id) == {lease.key}


@pytest.mark.parametrize(("alive", "counted"), [(0.0, False), (20.0, False), (61.0, True)])
def test_a_slow_database_counts_where_a_worker_has_lived_all_the_time(
    store: StudyStore, job: Job, alive: float, counted: bool
) -> None:
    before = store.jobs.tick(job.id)
    shift_clock(store.url, job, 60.0)
    beat = store.beats.beat(ME, job.id, None, alive=lambda: alive)
    assert (beat.seconds_used - before >= 60.0) is counted


def test_processor_seconds_of_all_who_work_add_up(store: StudyStore) -> None:
    job = store.jobs.create(JobSpec.parse({"data": "digits"}), processor_seconds=0.5)
    store.jobs.tick(job.id, processor_seconds=0.25)
    store.beats.beat(ME, job.id, None, processor_seconds=2.0)
    store.jobs.move(job.id, before="queued", after="preparing")
    store.beats.beat(YOU, job.id, None, processor_seconds=1.5)
    store.beats.beat(ME, job.id, None)
    store.jobs.tick(job.id)
    found = store.jobs.get(job.id)
    assert found.processor_seconds == 4.25
    assert found.processor_phases == {"queued": 0.0, "preparing": 2.75}


def test_hands_of_a_job_are_those_who_work_on_it_or_wait(store: StudyStore, job: Job) -> None:
    other = store.jobs.create(JobSpec.parse({"data": "digits"}))
    elsewhere, unfit = (WorkerIdentity(id=f"x/{n}", host="x", device="cpu") for n in range(2))
    store.beats.beat(ME, job.id, None)
    store.beats.wait(YOU)
    store.beats.beat(elsewhere, other.id, None)
    store.beats.tell_unfit(unfit, {job.id: "no data"})
    assert store.beats.hands(job.id) == 2 and store.beats.hands(other.id) == 3
    store.beats.leave(YOU)
    assert store.beats.hands(job.id) == 1


def test_a_beat_tells_that_the_lease_was_lost(store: StudyStore, job: Job) -> None:
    slow = expired(store, f"{job.id}/trial/7")
    claimed(store, slow.key, owner="next")
    assert not store.beats.beat(ME, job.id, slow).lease_held
    assert store.beats.beat(ME, job.id, None).lease_held


@pytest.mark.parametrize("end", ["cancelled", "paused", "deleted"])
def test_a_beat_tells_that_the_job_has_stopped(store: StudyStore, job: Job, end: str) -> None:
    assert not store.beats.beat(ME, job.id, None).job_stopped
    if end == "cancelled":
        store.jobs.stop(job.id, state="cancelled")
    elif end == "paused":
        store.jobs.pause(job.id, paused=True)
    else:
        store.delete(job)
    assert store.beats.beat(ME, job.id, None).job_stopped


def test_workers_are_listed_with_what_they_do(store: StudyStore, job: Job) -> None:
    store.beats.wait(YOU)
    store.beats.beat(ME, job.id, claimed(store, f"{job.id}/trial/7", owner=ME.id))
    mine, yours = store.beats.all()
    assert (mine.id, mine.job_id, mine.doing) == (ME.id, job.id, f"{job.id}/trial/7")
    assert (yours.id, yours.device, yours.job_id, yours.doing) == (YOU.id, YOU.device, None, None)
    assert 0.0 <= mine.silent < LOST_SECONDS
    store.beats.beat(ME, job.id, None)
    assert store.beats.all()[0].doing is None


def test_who_leaves_or_is_silent_for_long_is_no_longer_listed(store: StudyStore) -> None:
    store.beats.wait(ME)
    store.beats.wait(YOU)
    store.beats.leave(ME)
    assert [worker.id for worker in store.beats.all()] == [YOU.id]
    execute(store.url, "UPDATE workers SET seen_at = seen_at - :s", s=LOST_SECONDS + 1.0)
    assert store.beats.all() == []
    store.beats.wait(YOU)
    assert [worker.id for worker in store.beats.all()] == [YOU.id]


def test_the_silence_of_workers_is_told_however_long_it_is(store: StudyStore) -> None:
    store.beats.wait(ME)
    store.beats.wait(YOU)
    execute(store.url, "UPDATE workers SET seen_at = seen_at - 1000 WHERE id = :id", id=YOU.id)
    silence = store.beats.silence([ME.id, YOU.id, "nobody"])
    assert silence.keys() == {ME.id, YOU.id}
    assert silence[ME.id] < LOST_SECONDS < 1000.0 <= silence[YOU.id]


def test_what_a_dead_worker_held_is_free_at_once_and_says_why(store: StudyStore, job: Job) -> None:
    store.beats.beat(ME, job.id, claimed(store, f"{job.id}/trial/7", owner=ME.id))
    other = claimed(store, f"{job.id}/trial/8", owner=YOU.id)
    store.beats.bury(ME.id, reason="its worker died of SIGSEGV")
    store.beats.bury(ME.id, reason="nobody knows")
    assert store.leases.held(job.id) == {other.key} and store.beats.all() == []
    next_ = claimed(store, f"{job.id}/trial/7", owner=YOU.id)
    assert next_.attempts == 2
    assert store.leases.reason(next_) == "its worker died of SIGSEGV"
    assert store.leases.renew(next_, progressed=True) and store.leases.reason(next_) is None
