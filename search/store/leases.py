"""Leases: who works on what, until when, by the database's clock."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from search.store.engine import clock
from search.store.tables import leases

LEASE_SECONDS = 20.0  # how long after its holder's death a piece of work is taken over


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on `key` until it expires; a later holder has a larger fence."""

    key: str
    owner: str
    fence: int
    attempts: int


class Leases:
    """Claim, renew and release; each is one transaction that depends on the row it changes."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def claim(self, key: str, *, owner: str, seconds: float = LEASE_SECONDS) -> Lease | None:
        """Take a lease that nobody holds, or whose holder let it expire; None if it is held."""
        take = (
            sa.update(leases)
            .where(leases.c.key == key, leases.c.expires_at <= clock())
            .values(
                owner=owner,
                fence=leases.c.fence + 1,
                attempts=leases.c.attempts + 1,
                expires_at=clock() + seconds,
            )
        )
        with self._engine.begin() as connection:
            if not connection.execute(take).rowcount:
                if connection.scalar(sa.select(leases.c.key).where(leases.c.key == key)):
                    return None
                first = {"key": key, "owner": owner, "fence": 1, "attempts": 1}
                connection.execute(sa.insert(leases).values(**first, expires_at=clock() + seconds))
            row = connection.execute(sa.select(leases).where(leases.c.key == key)).one()
            return Lease(key=key, owner=owner, fence=row.fence, attempts=row.attempts)

    def renew(
        self, lease: Lease, *, seconds: float = LEASE_SECONDS, progressed: bool = False
    ) -> bool:
        """Prolong a lease; False if somebody else has taken it since.

        An expired lease that nobody claimed is renewed: its holder was slow, not replaced.

        Args:
            progressed: the work got forward, so the attempts before this one count no more.
        """
        values: dict[str, Any] = {"expires_at": clock() + seconds}
        if progressed:
            values["attempts"] = 1
        prolong = sa.update(leases).where(*self._mine(lease)).values(**values)
        with self._engine.begin() as connection:
            return bool(connection.execute(prolong).rowcount)

    def release(self, lease: Lease, *, refund: bool = False) -> None:
        """Let anyone claim the work from now on; a lease that was lost stays with its holder.

        Args:
            refund: the work was stopped in good order, which counts as no attempt.
        """
        expire = (
            sa.update(leases)
            .where(*self._mine(lease), leases.c.expires_at > 0.0)
            .values(expires_at=0.0, attempts=leases.c.attempts - int(refund))
        )
        with self._engine.begin() as connection:
            connection.execute(expire)

    def finish(self, lease: Lease) -> None:
        """Give a lease back whose work is done: its attempts are forgotten, its fence is not.

        A fence must grow for ever, or a holder that slept would take a later one's for its own.
        """
        done = (
            sa.update(leases)
            .where(*self._mine(lease))
            .values(expires_at=0.0, attempts=0, fence=leases.c.fence + 1)
        )
        with self._engine.begin() as connection:
            connection.execute(done)

    def held(self, prefix: str) -> set[str]:
        """Return the keys below `prefix` that somebody holds now."""
        query = sa.select(leases.c.key).where(
            leases.c.key.startswith(prefix, autoescape=True), leases.c.expires_at > clock()
        )
        with self._engine.connect() as connection:
            return set(connection.scalars(query))

    @staticmethod
    def _mine(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
        return leases.c.key == lease.key, leases.c.fence == lease.fence
