"""Stores of every backend. A new one joins by one more entry of `BACKENDS` and of `store_url`."""

import multiprocessing
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from search.job import Job
from search.store import StudyStore
from search.store.engine import database_path
from tests.store.harness import PROCESSES, Processes, set_barrier, some_spec

BACKENDS = ["sqlite"]


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=set_barrier, initargs=(barrier,)
    ) as pool:
        yield Processes(pool)


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that does not exist yet."""
    assert request.param == "sqlite"
    return f"sqlite:///{tmp_path}/store/athanor.db"


@pytest.fixture(scope="session")
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
