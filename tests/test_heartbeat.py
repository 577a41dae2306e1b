"""The pulse ends a worker whose work hangs, but not one whose database is away."""

import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from search.job_spec import JobSpec
from search.store import StudyStore, WorkerIdentity
from search.store.jobs import MAX_TICK
from workers import heartbeat
from workers.heartbeat import BEAT_SECONDS, Heartbeat

BEAT, LEAST = 0.02, 0.2  # seconds
AWAY_BEATS = 40  # several times longer than an epoch may take
LIMIT_SECONDS = 60.0


class Database:
    """Lets the store's beats fail for a while."""

    def __init__(self, store: StudyStore) -> None:
        self._beat = store.beats.beat
        self.failures_left = 0
        self.back = threading.Event()
        vars(store.beats).update(beat=self.beat)

    def beat(self, *arguments: Any, **options: Any) -> Any:
        if self.failures_left == 0:
            self.back.set()
            return self._beat(*arguments, **options)
        self.failures_left -= 1
        cause = Exception("the server is down")
        raise sa.exc.OperationalError("beat", {}, cause, connection_invalidated=True)


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the worker would be ended."""
    hung = threading.Event()
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", BEAT)
    monkeypatch.setattr(heartbeat, "LEAST_SECONDS", LEAST)
    monkeypatch.setattr(Heartbeat, "_end_hung_process", lambda _: hung.set())
    return hung


def beating(store: StudyStore, **options: Any) -> Heartbeat:
    return Heartbeat(
        store,
        store.jobs.create(JobSpec.parse({"data": "digits"})),
        worker=WorkerIdentity(id="one", host="here", device="cpu"),
        interrupted=threading.Event(),
        parent=os.getppid(),
        **options,
    )


def test_a_job_has_a_process_s_seconds_from_its_start_if_it_is_told_so(store: StudyStore) -> None:
    before = sum(os.times()[:4])
    of_all, of_now = beating(store, told=0.0), beating(store)
    jobs = {pulse: store.jobs.get(pulse._job.id) for pulse in (of_all, of_now)}
    assert jobs[of_all].processor_seconds >= before > 1.0 + jobs[of_now].processor_seconds
    assert of_all.told >= before  # the next heartbeat goes on from there
    for pulse in jobs:
        pulse.close()


def test_work_that_does_not_get_further_is_ended(store: StudyStore, hung: threading.Event) -> None:
    pulse = beating(store)
    pulse.expect(0.0)
    assert hung.wait(LIMIT_SECONDS)
    pulse.close()


def test_a_database_that_is_away_is_no_hang(store: StudyStore, hung: threading.Event) -> None:
    database, pulse = Database(store), beating(store)
    database.failures_left = AWAY_BEATS
    database.back.clear()
    pulse.expect(0.0)
    assert database.back.wait(LIMIT_SECONDS)
    assert not hung.is_set()
    assert hung.wait(LIMIT_SECONDS)  # once it is back the work must get further
    pulse.close()


def test_waiting_for_room_is_no_hang_and_ends_with_the_job(
    store: StudyStore, hung: threading.Event
) -> None:
    pulse = beating(store)
    pulse.expect(0.0)
    assert not pulse.wait_for_room(2.0 * LEAST)
    assert not hung.is_set()
    pulse.interrupted.set()
    assert pulse.wait_for_room(LIMIT_SECONDS)
    pulse.close()


def test_time_for_which_all_was_stopped_is_no_time_of_the_process(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = beating(store)
    pulse.close()
    now = frozen = 0.0

    def wait(seconds: float) -> bool:
        nonlocal now
        now += seconds + frozen
        return False

    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(pulse, "_closed", SimpleNamespace(wait=wait))
    for longer, counted in ((0.0, BEAT_SECONDS), (600.0, BEAT_SECONDS), (2.0, BEAT_SECONDS + 2.0)):
        frozen, before = longer, pulse.clock()
        assert not pulse._wait()
        assert pulse.clock() - before == pytest.approx(counted)


def test_a_beat_tells_for_how_long_the_database_was_there(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = beating(store)
    pulse.close()
    now, told = 100.0, list[float]()
    beat, failing = store.beats.beat, False

    def spy(*given: Any, alive: Any, **more: Any) -> Any:
        if failing:
            raise sa.exc.OperationalError("", None, Exception())
        told.append(alive())
        return beat(*given, **more)

    monkeypatch.setattr(pulse, "clock", lambda: now)
    vars(store.beats).update(beat=spy)
    pulse._beat()
    now = 130.0
    pulse._beat()
    failing = True
    with pytest.raises(sa.exc.OperationalError):
        pulse._beat()
    failing = False
    pulse._beat()  # nobody knows how long it was away
    assert told[1:] == [30.0, 0.0]


def test_the_jobs_clock_stands_while_the_database_is_away(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 600.0)
    pulse = beating(store)
    used, now = pulse.used, time.monotonic()
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: now + 600.0))
    assert pulse.used <= used + MAX_TICK + 1.0
    assert pulse.seconds_until(100.0) > 0.0
    monkeypatch.undo()
    pulse.close()
