"""Set up before any test module is imported."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.postgres import PostgresServer, binaries

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from search.store import StudyStore

# Workers and training children run side by side on as few as two cores. With a thread pool
# each they fight for them and tests run into their timeouts; it must be set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    if binaries() is None and "CI" not in os.environ:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    started = PostgresServer()
    yield started
    started.close()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from tests.browsers import chromium

    with chromium() as started:
        yield started


@pytest.fixture
def store(tmp_path: Path) -> Iterator["StudyStore"]:
    """A new store of the usual kind; tests of stores have one of each kind."""
    from search.store import StudyStore  # what it imports must heed the line above

    made = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    yield made
    made.close()
