"""Whether anything has changed in the database since somebody looked."""

import threading

import sqlalchemy as sa

from search.store.database import Database, Table


class Changes(Table):
    """Tells that there is nothing new, for a fraction of what it costs to read it all again."""

    def __init__(self, database: Database, *, query: str) -> None:
        super().__init__(database)
        self._query = query
        self._connection: sa.Connection | None = None
        self._opened = 0
        self._lock = threading.Lock()

    def mark(self) -> str:
        """Return a text that is another one once somebody else has written.

        It may change where nothing of ours did. On PostgreSQL a commit may become visible a moment
        after the mark has changed, so that whoever caches by it must look again now and then.
        """
        with self._lock:
            try:
                return self._ask()
            except sa.exc.DBAPIError:  # the connection may have died long ago
                self._close()
                return self._ask()

    def _ask(self) -> str:
        if self._connection is None:
            self._connection = self._reader.connect()  # the same one: SQLite's marks are its own
            self._opened += 1
        value = self._connection.exec_driver_sql(self._query).scalar()
        self._connection.rollback()
        return f"{self._opened}/{value}"

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
