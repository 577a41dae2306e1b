"""Leases: who works on what, until when, by the database's clock."""

import itertools
from collections import Counter
from typing import Any

import sqlalchemy as sa

from search.store.database import Table, clock, insert_new
from search.store.fences import Lease
from search.store.patience import patient
from search.store.tables import leases


class Leases(Table):
    """Claim, renew and release; each is one transaction that depends on the row it changes."""

    def claim(self, key: str, *, owner: str, seconds: float | None = None) -> Lease | None:
        """Take a lease that nobody holds, or whose holder let it expire; None if it is held.

        Args:
            owner: unlike all others, and never at one key twice at once: if the answer to a
                claim is lost, what `owner` is found to hold is what it has just claimed.
            seconds: until it expires unless it is renewed; as the store was opened by default.
        """
        attempts = itertools.count(1)
        return self.patience.call(
            lambda: self._claim(key, owner, seconds=seconds, again=next(attempts) > 1)
        )

    def _claim(self, key: str, owner: str, *, seconds: float | None, again: bool) -> Lease | None:
        until = clock() + (self._database.lease_seconds if seconds is None else seconds)
        take = (
            sa.update(leases)
            .where(leases.c.key == key, leases.c.expires_at <= clock())
            .values(
                owner=owner,
                fence=leases.c.fence + 1,
                attempts=leases.c.attempts + 1,
                expires_at=until,
            )
        )
        first = {"key": key, "owner": owner, "fence": 1, "attempts": 1}
        with self._engine.begin() as connection:
            taken = connection.execute(take).rowcount or insert_new(
                connection, leases, {**first, "expires_at": until}
            )
            if not taken and not again:
                return None
            row = connection.execute(sa.select(leases).where(leases.c.key == key)).one()
            if row.owner != owner:
                return None
            return Lease(key=key, owner=owner, fence=row.fence, attempts=row.attempts)

    @patient
    def renew(self, lease: Lease, *, progressed: bool = False) -> bool:
        """Prolong a lease; False if somebody else has taken it since.

        An expired lease that nobody claimed is renewed: its holder was slow, not replaced.

        Args:
            progressed: the work got forward, so the attempts before this one count no more.
        """
        with self._engine.begin() as connection:
            seconds = self._database.lease_seconds
            return prolong(connection, lease, seconds=seconds, progressed=progressed)

    @patient
    def release(self, lease: Lease, *, refund: bool = False, reason: str | None = None) -> None:
        """Let anyone claim the work from now on; a lease that was lost stays with its holder.

        Args:
            refund: the work was stopped in good order, which counts as no attempt.
            reason: why it was stopped otherwise.
        """
        values: dict[str, Any] = {"expires_at": 0.0}
        values |= {"attempts": leases.c.attempts - 1} if refund else {"reason": reason}
        expire = sa.update(leases).where(*_is(lease), leases.c.expires_at > 0.0).values(**values)
        with self._engine.begin() as connection:
            connection.execute(expire)

    @patient
    def finish(self, lease: Lease) -> None:
        """Give a lease back whose work is done: its attempts are forgotten, its fence is not.

        A fence must grow for ever, or a holder that slept would take a later one's for its own.
        """
        done = (
            sa.update(leases)
            .where(*_is(lease))
            .values(expires_at=0.0, attempts=0, fence=leases.c.fence + 1, reason=None)
        )
        with self._engine.begin() as connection:
            connection.execute(done)

    @patient
    def reason(self, lease: Lease) -> str | None:
        """Return why the last attempt before this lease ended badly, if anybody knows."""
        with self._engine.connect() as connection:
            query = sa.select(leases.c.reason).where(leases.c.key == lease.key)
            reason: str | None = connection.scalar(query)
            return reason

    @patient
    def claims(self, prefix: str = "") -> float:
        """Return a number that changes with every claim of a key below `prefix`."""
        below = leases.c.key.startswith(prefix, autoescape=True)
        with self._engine.connect() as connection:
            return float(
                connection.scalar(sa.select(sa.func.sum(leases.c.fence)).where(below)) or 0
            )

    @patient
    def takeovers(self) -> dict[str, int]:
        """Return by job how often a trial or fold was claimed again after its first claim.

        A fence counts claims, and the end once; it ends with no attempts left to count.
        """
        ended = sa.case((leases.c.attempts == 0, 1), else_=0)
        query = sa.select(leases.c.key, leases.c.fence - ended - 1)
        found: Counter[str] = Counter()
        with self._reader.connect() as connection:
            for key, again in connection.execute(query):
                job, kind, *_ = key.split("/")
                if kind in ("trial", "fold"):
                    found[job] += max(0, again)
        return dict(found)

    @patient
    def held(self, prefix: str) -> set[str]:
        """Return the keys below `prefix` that somebody holds now."""
        with self._engine.connect() as connection:
            return live_keys(connection, prefix)


def prolong(
    connection: sa.Connection, lease: Lease, *, seconds: float, progressed: bool = False
) -> bool:
    """Renew a lease within a transaction; see `Leases.renew`."""
    values: dict[str, Any] = {"expires_at": clock() + seconds}
    if progressed:
        values |= {"attempts": 1, "reason": None}
    change = sa.update(leases).where(*_is(lease)).values(**values)
    return bool(connection.execute(change).rowcount)


def live_keys(connection: sa.Connection, prefix: str = "") -> set[str]:
    """Return the keys below `prefix` that somebody holds now."""
    below = leases.c.key.startswith(prefix, autoescape=True)
    query = sa.select(leases.c.key).where(below, leases.c.expires_at > clock())
    return set(connection.scalars(query))


def _is(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    return leases.c.key == lease.key, leases.c.fence == lease.fence
