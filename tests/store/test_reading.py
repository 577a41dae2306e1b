"""A store that reads only: it sees everything, changes nothing, and keeps nobody waiting."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from search.job import Job
from search.store import StudyStore
from spaces.errors import JobError, StoreError
from tests.dashboards import fill
from tests.store.harness import PLAN, contents, execute


@pytest.fixture
def reader(store: StudyStore) -> Iterator[StudyStore]:
    opened = StudyStore(store.url, reads_only=True)
    yield opened
    opened.close()


def test_it_reads_what_others_write(store: StudyStore, reader: StudyStore, job: Job) -> None:
    assert [each.id for each in reader.jobs.under_way()] == [job.id]
    fill(store, job)
    seen = reader.trials(reader.jobs.get(job.id))
    assert [record.score for record in seen.leaderboard()] == [0.9, 0.9, 0.7, 0.4]
    store.trials(job).ask()
    assert len(seen.records()) == 5


def test_it_writes_nothing(store: StudyStore, reader: StudyStore, job: Job) -> None:
    fill(store, job)
    refused = (sa.exc.DBAPIError, StorageInternalError)
    seen = reader.trials(job)
    for write in (
        lambda: reader.jobs.tick(job.id),
        lambda: reader.jobs.pause(job.id, paused=True),
        lambda: reader.leases.claim("key", owner="me"),
        lambda: seen.study.set_user_attr("mine", 1),
        lambda: optuna.delete_study(study_name=job.id, storage=seen.study._storage),
    ):
        with pytest.raises(refused):
            write()
    assert store.jobs.get(job.id) == job
    assert len(store.trials(job).records()) == 4


def test_it_makes_no_study(store: StudyStore, reader: StudyStore, job: Job) -> None:
    store.jobs.move(job.id, before="queued", after="preparing")
    store.jobs.set_plan(job.id, PLAN)
    planned = reader.jobs.get(job.id)
    assert not reader.has_study(planned) and store.has_study(planned)
    with pytest.raises(JobError, match="no study yet"):
        reader.trials(planned)
    fill(store, planned)
    assert reader.has_study(planned)
    assert len(reader.trials(planned).records()) == 4


def test_it_knows_no_trials_of_a_job_whose_study_was_deleted(
    store: StudyStore, reader: StudyStore, job: Job
) -> None:
    fill(store, job)
    again = store.jobs.create(job.spec.model_copy(update={"lands": job.id}))
    store.jobs.move(again.id, before="queued", after="preparing")
    store.jobs.set_plan(again.id, PLAN)
    landing = reader.jobs.get(again.id)
    assert reader.has_study(landing) and len(reader.trials(landing).records()) == 4
    store.delete(job)
    assert not reader.has_study(landing)


def test_its_open_transaction_stops_no_writer(
    store: StudyStore, reader: StudyStore, job: Job
) -> None:
    with reader._rdb.engine.connect() as connection:
        connection.execute(sa.text("SELECT count(*) FROM jobs")).scalar()
        fill(store, job)
        store.jobs.tick(job.id)
    assert len(reader.trials(job).records()) == 4


def test_a_mark_changes_with_every_write_of_others(
    store: StudyStore, reader: StudyStore, job: Job
) -> None:
    marks = [reader.changes.mark()]
    for write in (
        lambda: store.jobs.tick(job.id),
        lambda: store.leases.claim("key", owner="me"),
        lambda: fill(store, job),
        lambda: store.trials(job).study.set_user_attr("mine", 1),
        lambda: store.delete(job),
    ):
        write()
        marks.append(reader.changes.mark())
    assert len(set(marks)) == len(marks)


def test_a_mark_stays_while_nobody_writes(reader: StudyStore, backend: str) -> None:
    mark = reader.changes.mark()
    reader.jobs.list()
    if backend == "sqlite":  # PostgreSQL writes its log for reasons of its own, too
        assert reader.changes.mark() == mark


def test_studies_are_read_without_their_trials(store: StudyStore, job: Job) -> None:
    fill(store, job)
    store.trials(job).study.set_user_attr("mine", {"a": 1})
    (record,) = store.studies.all()
    store.trials(job).study._storage.set_study_system_attr(record.number, "note", "text")
    assert record == store.studies.find(record.number)
    assert store.studies.names() == {record.number: job.id}
    assert record.directions == [optuna.study.StudyDirection.MAXIMIZE]
    assert record.user_attributes == {"mine": {"a": 1}}
    assert store.studies.system_attributes(record.number) == {"note": '"text"'}
    assert store.studies.exists(job.id) and not store.studies.exists("other")
    assert store.studies.find(record.number + 1) is None


def test_jobs_are_counted_and_those_that_ended_apart(store: StudyStore, job: Job) -> None:
    ended = [store.jobs.create(job.spec) for _ in range(3)]
    for each in ended:
        store.jobs.stop(each.id, state="cancelled")
    assert store.jobs.states() == {"queued": 1, "cancelled": 3}
    assert [each.id for each in store.jobs.under_way()] == [job.id]
    assert [each.id for each in store.jobs.latest_ended(2)] == [ended[2].id, ended[1].id]


def test_takeovers_are_claims_after_the_first(store: StudyStore) -> None:
    def hold(key: str, *, times: int, finish: bool) -> None:
        for owner in range(times):
            lease = store.leases.claim(key, owner=f"{key} {owner}")
            assert lease is not None
            if finish and owner == times - 1:
                store.leases.finish(lease)
            else:
                store.leases.release(lease)

    hold("a/trial/0", times=1, finish=True)
    hold("a/trial/1", times=3, finish=True)
    hold("a/fold/1/2", times=2, finish=False)
    hold("a/trials", times=5, finish=False)
    hold("b/trial/0", times=1, finish=False)
    assert store.leases.takeovers() == {"a": 3, "b": 0}


def test_it_leaves_an_older_schema_to_whoever_asks_for_it(store: StudyStore) -> None:
    store.close()
    execute(store.url, "UPDATE athanor_version SET version_num = '0001'")
    before = contents(store.url)
    with pytest.raises(StoreError, match=r"must be .* has 0001; `athanor migrate`") as caught:
        StudyStore(store.url, reads_only=True)
    assert "\n" not in str(caught.value) and contents(store.url) == before


def test_it_refuses_a_newer_schema(store: StudyStore) -> None:
    store.close()
    execute(store.url, "UPDATE athanor_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"at most .* has 9999; upgrade"):
        StudyStore(store.url, reads_only=True)


def test_it_makes_no_store_where_there_is_none(store_url: str, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match="no study store at"):
            StudyStore(store_url, reads_only=True)
    assert not list(tmp_path.iterdir())


def test_it_leaves_no_lock_file(store: StudyStore, backend: str, tmp_path: Path) -> None:
    if backend == "sqlite":
        lock = tmp_path / "store" / "athanor.db.lock"
        store.close()
        lock.unlink()
        StudyStore(store.url, reads_only=True).close()
        assert not lock.exists()
