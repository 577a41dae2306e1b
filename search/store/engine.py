"""One connection pool a process, opened so that many workers can share one database."""

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url

from spaces.errors import StoreError

BUSY_TIMEOUT = 60.0  # seconds that a writer waits for another one
SCHEME = "sqlite:///"


class Connection(sqlite3.Connection):
    """A SQLite connection with a write-ahead log, so that readers never wait for a writer.

    `synchronous=FULL` costs one flush a commit and keeps the last commits on power loss.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=FULL")
        self.execute("PRAGMA foreign_keys=ON")


def database_path(url: str) -> Path:
    """Return the file of a SQLite URL; `StoreError` for any other database."""
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        raise StoreError(f"a store must be a URL like {SCHEME}PATH, but got {url!r}") from None
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise StoreError(f"a store must be a URL like {SCHEME}PATH, but got {url!r}")
    return Path(str(parsed.database))


def open_storage(url: str, *, create: bool) -> RDBStorage:
    """Open Optuna's storage on a pool of connections that every other table shares too.

    Every transaction starts with BEGIN IMMEDIATE: a claim that reads and then writes must
    hold the write lock from its first statement, or two workers take the same trial.
    """
    storage = RDBStorage(
        url,
        engine_kwargs={
            "connect_args": {
                "factory": Connection,
                "isolation_level": None,
                "timeout": BUSY_TIMEOUT,
            }
        },
        skip_table_creation=not create,
        skip_compatibility_check=not create,
    )
    sa.event.listen(storage.engine, "begin", _begin_immediate)
    return storage


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def clock() -> sa.ColumnElement[float]:
    """Return the database's own clock in seconds since 1970, alike for every worker."""
    return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float)
