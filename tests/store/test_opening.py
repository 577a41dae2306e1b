"""A store is made once, opened again, and refuses what it cannot read."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from search.how_to_train import HOW_TO_TRAIN
from search.store import StudyStore
from spaces.errors import StoreError
from tests.postgres import PostgresServer
from tests.store.harness import PLAN, PROCESSES, Processes, contents, execute, some_spec


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


def test_threads_that_create_different_stores_at_once_all_succeed(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{number}/athanor.db" for number in range(6)]
    with ThreadPoolExecutor(len(urls)) as pool:
        made = list(pool.map(open_new, urls))
    for url, job_id in zip(urls, made, strict=True):
        store = StudyStore(url)
        assert [job.id for job in store.jobs.list()] == [job_id]
        store.close()


def test_a_creation_that_was_killed_half_way_is_completed(store_url: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()  # of a SQLite store
    half = RDBStorage(store_url)  # Optuna's tables are there, ours are not
    half.engine.dispose()
    store = StudyStore(store_url)
    assert store.jobs.list() == []
    store.trials(store.jobs.create(some_spec())).ask()
    store.close()


def test_a_newer_schema_is_refused_and_left_alone(store: StudyStore) -> None:
    store.close()
    execute(store.url, "UPDATE athanor_version SET version_num = '9999'")
    before = contents(store.url)
    for create in (False, True):
        with pytest.raises(StoreError, match=r"at most .* has 9999; upgrade") as caught:
            StudyStore(store.url, create=create)
        assert "\n" not in str(caught.value)
    assert contents(store.url) == before


def test_an_older_schema_is_brought_up_to_date_with_what_it_holds(store_url: str) -> None:
    store = StudyStore(store_url, create=True)
    made = store.jobs.create(some_spec())
    lease = store.leases.claim("a/1", owner="me")
    store.close()
    execute(store_url, "DROP TABLE workers")
    for column in ("paused", "processor_seconds", "processor_phases"):
        execute(store_url, f"ALTER TABLE jobs DROP COLUMN {column}")
    execute(store_url, "ALTER TABLE jobs ADD COLUMN trials_asked INTEGER NOT NULL DEFAULT 7")
    execute(store_url, "ALTER TABLE leases DROP COLUMN reason")
    for column in ("row_count", "smallest"):
        execute(store_url, f"ALTER TABLE test_openings DROP COLUMN {column}")
    for table in ("fold_results", "test_openings"):
        execute(store_url, f"ALTER TABLE {table} RENAME COLUMN score TO accuracy")
    execute(store_url, "UPDATE athanor_version SET version_num = '0001'")
    again = StudyStore(store_url)
    found = again.jobs.get(made.id)
    assert found == replace(made, processor_phases={}) and lease is not None
    assert again.leases.renew(lease) and again.beats.all() == []
    again.close()


def test_results_from_before_say_how_many_networks_members_have(store_url: str) -> None:
    store = StudyStore(store_url, create=True)
    made = store.jobs.create(some_spec())
    store.close()
    result = '{"folds": 3, "members": [{"trial": 0, "weight": 1.0}]}'
    execute(store_url, "UPDATE jobs SET result = :result", result=result)
    for column in ("row_count", "smallest"):
        execute(store_url, f"ALTER TABLE test_openings DROP COLUMN {column}")
    execute(store_url, "UPDATE athanor_version SET version_num = '0008'")
    again = StudyStore(store_url)
    found = again.jobs.get(made.id).result
    again.close()
    assert found is not None
    assert found["members"] == [{"networks": 3, "trial": 0, "weight": 1.0}]


@pytest.mark.parametrize("searched", [True, False])
def test_plans_from_before_settle_how_to_train_or_nothing(store_url: str, searched: bool) -> None:
    store = StudyStore(store_url, create=True)
    made = store.jobs.create(some_spec())
    store.close()
    plan = PLAN.to_json()
    del plan["settled"]
    plan["search_recipe"] = searched
    execute(store_url, "UPDATE jobs SET plan = :plan", plan=json.dumps(plan))
    execute(store_url, "UPDATE athanor_version SET version_num = '0009'")
    again = StudyStore(store_url)
    found = again.jobs.get(made.id).plan
    again.close()
    assert found is not None and set(found.settled) == (set() if searched else set(HOW_TO_TRAIN))


def test_a_missing_store_is_not_made_unasked(store_url: str) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match=r"no study store at .*; a search or a submitted job"):
            StudyStore(store_url)


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://host/name",
        "postgresql://host",
        "postgresql+psycopg2://host/name",
        "athanor.db",
        "",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_other_urls_are_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="must be a URL like sqlite:///PATH or postg") as caught:
        StudyStore(url, create=True)
    assert repr(url) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_away_at_first_is_waited_for(server: PostgresServer) -> None:
    """As when workers start while their server does."""
    url, waits = server.url(server.create()), itertools.count(1)
    StudyStore(url, create=True).close()
    server.stop()

    def wait(_: float) -> bool:
        if next(waits) == 2:
            server.start()
        return False

    store = StudyStore(url, wait=wait)
    assert store.jobs.list() == [] and next(waits) > 2
    store.close()
