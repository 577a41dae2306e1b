"""The embedded database: one file on a local disk, shared by the processes of one machine."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from optuna.storages import RDBStorage

from spaces.errors import StoreError

BUSY_TIMEOUT = 60.0  # seconds that a writer waits for another one
SCHEME = "sqlite:///"
READS = "athanor_reads"  # execution option of a transaction that writes nothing


class Connection(sqlite3.Connection):
    """A SQLite connection with a write-ahead log, so that readers never wait for a writer.

    `synchronous=FULL` costs one flush a commit and keeps the last commits on power loss.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=FULL")
        self.execute("PRAGMA foreign_keys=ON")


class ReadingConnection(sqlite3.Connection):
    """A connection on which every statement that would write fails; the log is as it finds it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA query_only=ON")


@dataclass(frozen=True, slots=True)
class SQLite:
    """A store in a SQLite file."""

    path: Path
    # a connection's own: it changes when another one has written
    mark: ClassVar[str] = "PRAGMA data_version"

    @property
    def name(self) -> str:
        """How messages name the store."""
        return str(self.path)

    def exists(self) -> bool:
        """Whether there is a store to open.

        Raises:
            StoreError: there is something else.
        """
        if self.path.is_dir():
            raise StoreError(f"a study store must be a file, but {self.path} is a folder")
        return self.path.exists()

    def empty(self) -> bool:
        """Whether no table has been made yet."""
        return not self.path.exists() or self.path.stat().st_size == 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold a file lock beside the database, so that two processes do not create it at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(self.path.name + ".lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def open(self, *, create: bool, reads_only: bool = False) -> RDBStorage:
        """Open Optuna's storage on a pool of connections that every other table shares too.

        A transaction starts with BEGIN IMMEDIATE unless it is known to read only: a claim that
        reads and then writes must hold the write lock from its first statement, or two workers
        take the same trial.

        Args:
            reads_only: no transaction takes the write lock, and none can write.
        """
        storage = RDBStorage(
            f"{SCHEME}{self.path}".replace("{", "{{").replace("}", "}}"),  # Optuna formats it
            engine_kwargs={
                "connect_args": {
                    "factory": ReadingConnection if reads_only else Connection,
                    "isolation_level": None,
                    "timeout": BUSY_TIMEOUT,
                },
                "execution_options": {READS: reads_only},
            },
            skip_table_creation=not create,
            skip_compatibility_check=not create,
        )
        sa.event.listen(storage.engine, "begin", _begin)
        return storage


def _begin(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get(READS, False)
    connection.exec_driver_sql("BEGIN DEFERRED" if reads else "BEGIN IMMEDIATE")
