"""Patience with a database that is away: restarted, out of reach, or without room on its disk.

Files that find no room, or whose disk has trouble, are waited for in the same way.
"""

import errno
import functools
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

PATIENCE_SECONDS = 900.0  # for which a database may be away before that is an error
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds between two attempts; doubled each time
TOLD_AFTER = 2.0  # seconds of waiting, after which people are told

# SQLSTATE: connection lost, resources (disk full), server shut down or starting, idle too
# long within a transaction, deadlock or another one's change in between.
AWAY_STATES = ("08", "53", "57P", "25P03", "40")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# of a disk, or of one that another machine shares, which may be mounted anew
DISK_TROUBLE = (errno.EIO, errno.ESTALE, errno.EROFS, errno.ETIMEDOUT)
AWAY_ERRORS = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")

Wait = Callable[[float], bool]  # waits for so many seconds; true: stop waiting
Tell = Callable[[str], None]

R = TypeVar("R")
Method = TypeVar("Method", bound=Callable[..., Any])


def no_wait(seconds: float) -> bool:
    """Have no patience."""
    return True


def say_nothing(message: str) -> None:
    """Wait without a word."""


class Patience:
    """Calls again what failed because the database is away.

    Only for calls that may be made twice: the first one's commit may have succeeded before
    the answer was lost.

    Attributes:
        wait: called between two attempts; by default there is no second one.
        tell: called with a line for people when a wait gets long, and when it has ended.
        what: is waited for.
        away: whether an error says that it is worth waiting; by default `is_away`.
    """

    def __init__(
        self,
        wait: Wait = no_wait,
        *,
        tell: Tell = say_nothing,
        what: str = "the store",
        away: Callable[[BaseException], bool] | None = None,
    ) -> None:
        self.wait, self.tell, self.what = wait, tell, what
        self._away = away or is_away

    def call(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, when the database is back at the latest."""
        begin, pause, told = time.monotonic(), FIRST_PAUSE, False
        while True:
            try:
                done = work()
            except Exception as failure:
                waited = time.monotonic() - begin
                if waited > PATIENCE_SECONDS or not self._away(failure):
                    raise
                if waited > TOLD_AFTER and not told:
                    self._tell(f"waiting for {self.what}: {reason(failure)}")
                    told = True
                if self.wait(pause):
                    raise
            else:
                if told:
                    self._tell(f"{self.what} is back after {time.monotonic() - begin:.0f} seconds")
                return done
            pause = min(2.0 * pause, LONGEST_PAUSE)

    def _tell(self, message: str) -> None:
        with suppress(OSError):  # messages may go to the disk that is full
            self.tell(message)


def patient(method: Method) -> Method:
    """Call a method again while the database is away; it must be safe to be called twice.

    Its object has a `Patience` as its attribute `patience`.
    """

    @functools.wraps(method)
    def patiently(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.patience.call(lambda: method(self, *args, **kwargs))

    return cast(Method, patiently)


def reason(failure: BaseException) -> str:
    """Say on one line why something is away, in the words of the database itself."""
    if isinstance(failure, StorageInternalError) and failure.__cause__ is not None:
        failure = failure.__cause__
    cause = failure.orig if isinstance(failure, sa.exc.DBAPIError) else failure
    return " ".join(str(cause or failure).split())


def may_be_written_later(failure: BaseException) -> bool:
    """Whether an error says that a file could be written later: there is no room, or no disk."""
    return isinstance(failure, OSError) and failure.errno in NO_ROOM + DISK_TROUBLE


def is_away(failure: BaseException) -> bool:
    """Whether an error says that the database is away, not that the statement was wrong.

    A disk without room counts as well, whoever meets it.
    """
    if isinstance(failure, OSError):
        return failure.errno in NO_ROOM
    if isinstance(failure, StorageInternalError):  # Optuna's wrapping of SQLAlchemy's error
        return failure.__cause__ is not None and is_away(failure.__cause__)
    if isinstance(failure, sa.exc.TimeoutError):  # of the pool: all connections hang
        return True
    if not isinstance(failure, sa.exc.DBAPIError):
        return False
    if failure.connection_invalidated:
        return True
    cause = failure.orig
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", "")
        return name.startswith(AWAY_ERRORS)
    state = getattr(cause, "sqlstate", None)
    if state is None:  # no answer from the server at all
        return isinstance(failure, sa.exc.OperationalError | sa.exc.InterfaceError)
    return str(state).startswith(AWAY_STATES)
