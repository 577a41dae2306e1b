"""Set up before any test module is imported."""

import os
from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer, binaries

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
