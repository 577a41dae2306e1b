"""PostgreSQL, for workers on more than one machine; through psycopg 3."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from optuna.storages import RDBStorage

DRIVER = "postgresql+psycopg"
SCHEMES = ("postgresql", "postgres", DRIVER)
CREATION_LOCK = 0x617468616E6F72  # "athanor": the advisory lock under which tables are made
# Two threads of a worker talk to the store, and a dashboard has a few more.
POOL_SIZE, MAX_OVERFLOW = 2, 8
CONNECT_ARGUMENTS = {
    "application_name": "athanor",
    "connect_timeout": 10,
    # a server that is gone is noticed within 20 seconds, not when the system gives up
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": (
        # a worker that is stopped within a transaction must not hold its locks for ever
        "-c idle_in_transaction_session_timeout=15s"
        # what was acknowledged must survive the server's death, however the server is set up
        " -c synchronous_commit=on"
    ),
}

READING_ARGUMENTS = {
    **CONNECT_ARGUMENTS,
    "options": f"{CONNECT_ARGUMENTS['options']} -c default_transaction_read_only=on",
}


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A store in a PostgreSQL database, which must exist."""

    url: sa.URL
    # the end of the log, which whoever writes moves on
    mark: ClassVar[str] = "SELECT pg_current_wal_insert_lsn()"

    @property
    def name(self) -> str:
        """How messages name the store: without its password."""
        return self.url.render_as_string(hide_password=True)

    def exists(self) -> bool:
        """Whether there is a store to open."""
        return not self.empty()

    def empty(self) -> bool:
        """Whether no table has been made yet."""
        with self._connection() as connection:
            return not sa.inspect(connection).has_table("studies")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold a lock of the database, so that two processes do not make the tables at once."""
        with self._connection() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(CREATION_LOCK)))
            yield  # whoever holds the lock gives it back with the connection

    def open(self, *, create: bool, reads_only: bool = False) -> RDBStorage:
        """Open Optuna's storage on a pool of connections that every other table shares too.

        Args:
            reads_only: no transaction can write.
        """
        url = self.url.render_as_string(hide_password=False)
        return RDBStorage(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna formats it
            engine_kwargs={
                "pool_pre_ping": True,
                "pool_size": POOL_SIZE,
                "max_overflow": MAX_OVERFLOW,
                "connect_args": READING_ARGUMENTS if reads_only else CONNECT_ARGUMENTS,
            },
            skip_table_creation=not create,
            skip_compatibility_check=not create,
        )

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        """Yield a connection outside the pool and any transaction."""
        engine = sa.create_engine(
            self.url,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args=CONNECT_ARGUMENTS,
        )
        with engine.connect() as connection:
            yield connection
