"""Fences: what the holder of a lease writes counts only as long as nobody else has it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from search.store.tables import leases


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on `key` until it expires; a later holder has a larger fence."""

    key: str
    owner: str
    fence: int
    attempts: int


class StaleFence(Exception):
    """Somebody else has had the lease since: nothing of this transaction was written."""


class Fence:
    """Checks a lease in every transaction of the thread that works under it.

    The check is the transaction's first statement, before any of Optuna's or ours, and locks
    the lease's row until the end: nobody can take the lease over between check and commit.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._held = threading.local()
        sa.event.listen(engine, "begin", self._check)

    @contextmanager
    def around(self, lease: Lease) -> Iterator[None]:
        """Check this lease in each transaction that this thread begins within the block.

        Raises:
            StaleFence: from any call to the store within the block.
        """
        before = self._lease
        self._held.lease = lease
        try:
            yield
        finally:
            self._held.lease = before

    @property
    def _lease(self) -> Lease | None:
        return getattr(self._held, "lease", None)

    def _check(self, connection: sa.Connection) -> None:
        lease = self._lease
        if lease is None:
            return
        mine = sa.select(leases.c.fence).where(
            leases.c.key == lease.key, leases.c.fence == lease.fence
        )
        if connection.scalar(mine.with_for_update(read=True)) is None:
            raise StaleFence(f"{lease.key} has been taken over from {lease.owner}")
