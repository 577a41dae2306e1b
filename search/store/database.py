"""One connection pool a process, opened so that many workers can share one database."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from search.store.fences import Fence
from search.store.patience import Patience
from search.store.postgresql import DRIVER, SCHEMES, PostgreSQL
from search.store.sqlite import READS, SCHEME, SQLite
from spaces.errors import StoreError

LEASE_SECONDS = 20.0  # how long after its holder's death a piece of work is taken over


class Backend(Protocol):
    """What the store needs to know of a kind of database.

    Attributes:
        mark: a query whose result changes when somebody else has written.
    """

    mark: ClassVar[str]

    @property
    def name(self) -> str:
        """How messages name the store."""

    def exists(self) -> bool:
        """Whether there is a store to open."""

    def empty(self) -> bool:
        """Whether no table has been made yet."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from making tables over a block."""

    def open(self, *, create: bool, reads_only: bool = False) -> RDBStorage:
        """Open Optuna's storage; `create` makes its tables, `reads_only` refuses to write."""


def backend_of(url: str) -> Backend:
    """Return the database that a URL names; `StoreError` if no store can be kept there."""
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        raise _unusable(url) from None
    if parsed.drivername in SCHEMES and parsed.database:
        return PostgreSQL(parsed.set(drivername=DRIVER))
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise _unusable(url)
    return SQLite(Path(str(parsed.database)))


def _unusable(url: str) -> StoreError:
    return StoreError(
        f"a store must be a URL like {SCHEME}PATH or postgresql://USER@HOST/NAME, but got {url!r}"
    )


class Database:
    """What all tables share: the connections, the fence, and patience when they fail."""

    def __init__(self, engine: sa.Engine, patience: Patience, *, lease_seconds: float) -> None:
        self.engine = engine
        self.lease_seconds = lease_seconds
        self.fence = Fence(engine)
        self.patience = patience


class Table:
    """The parent of those that read and write a table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = database.engine
        self._reader = database.engine.execution_options(**{READS: True})

    @property
    def patience(self) -> Patience:
        """For calls that may be made twice."""
        return self._database.patience


class clock(FunctionElement[float]):
    """The database's own clock in seconds since 1970, alike for every worker.

    It goes on within a transaction.
    """

    type = sa.Float()
    inherit_cache = True


@compiles(clock, "sqlite")
def _sqlite_clock(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(clock, "postgresql")
def _postgresql_clock(*_: Any, **__: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def insert_new(connection: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    """Insert a row unless there is one with its key; return whether it is new."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(table).values(**values).on_conflict_do_nothing()
    return connection.execute(insert.returning(*table.primary_key)).first() is not None


def lock_table(connection: sa.Connection, table: sa.Table) -> None:
    """Keep others from writing a table until the transaction ends.

    On SQLite every transaction does so for all tables.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f'LOCK TABLE "{table.name}" IN SHARE ROW EXCLUSIVE MODE')
