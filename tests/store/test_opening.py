"""A store is made once, opened again, and refuses what it cannot read."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage

from search.store import StudyStore
from spaces.errors import StoreError
from tests.store.harness import PROCESSES, Processes, dump, execute, some_spec


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
