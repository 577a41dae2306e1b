"""What only SQLite can get wrong: files that are none, and how its connections are opened."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from search.store import StudyStore, WorkerIdentity
from spaces.errors import StoreError
from tests.store.harness import some_spec


@pytest.fixture
def backend() -> str:
    return "sqlite"


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


def test_a_missing_store_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no study store at .*athanor\.db"):
        StudyStore(f"sqlite:///{tmp_path}/store/athanor.db")
    assert not list(tmp_path.iterdir())


def test_a_path_may_hold_braces(tmp_path: Path) -> None:
    """Optuna formats the URL."""
    store = StudyStore(f"sqlite:///{tmp_path}/a{{b}}{{0}}/athanor.db", create=True)
    assert store.jobs.get(store.jobs.create(some_spec()).id)
    assert (tmp_path / "a{b}{0}" / "athanor.db").is_file()
    store.close()


def test_the_silence_of_workers_is_told_while_one_of_them_holds_the_write_lock(
    store: StudyStore,
) -> None:
    """Or a worker that is stopped within a transaction could not be found, and killed."""
    store.beats.wait(WorkerIdentity(id="stopped", host="here", device="cpu"))
    stopped = sqlite3.connect(str(sa.make_url(store.url).database), isolation_level=None)
    stopped.execute("BEGIN IMMEDIATE")
    assert store.beats.silence(["stopped"]).keys() == {"stopped"}
    stopped.close()


def test_connections_are_durable_and_do_not_block_readers(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write-ahead log, a flush a commit (FULL is 2), foreign keys, patience."""
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
