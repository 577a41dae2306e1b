"""Stores of every backend: whatever is asked of a store is asked of each."""

import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from search.job import Job
from search.store import StudyStore
from tests.postgres import PostgresServer
from tests.store.harness import PROCESSES, Processes, set_barrier, some_spec

BACKENDS = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=set_barrier, initargs=(barrier,)
    ) as pool:
        yield Processes(pool)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store that does not exist yet."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/store/athanor.db"
        return
    server: PostgresServer = request.getfixturevalue("server")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store without jobs: copied for each test, for creating takes its time."""
    path = tmp_path_factory.mktemp("empty") / "athanor.db"
    StudyStore(f"sqlite:///{path}", create=True).close()
    return path


@pytest.fixture(scope="session")
def empty_database(server: PostgresServer) -> str:
    """The name of a database without jobs."""
    name = server.create()
    StudyStore(server.url(name), create=True).close()
    return name


@pytest.fixture
def store(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StudyStore]:
    if backend == "sqlite":
        path = tmp_path / "store" / "athanor.db"
        path.parent.mkdir()
        shutil.copyfile(request.getfixturevalue("empty_sqlite"), path)
        made = StudyStore(f"sqlite:///{path}")
        yield made
        made.close()
        return
    server: PostgresServer = request.getfixturevalue("server")
    name = server.create(like=request.getfixturevalue("empty_database"))
    made = StudyStore(server.url(name))
    yield made
    made.close()
    server.drop(name)


@pytest.fixture
def job(store: StudyStore) -> Job:
    return store.jobs.create(some_spec())
