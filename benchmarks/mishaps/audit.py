"""What the database itself saw: triggers note every change of hands, end and overwritten report.

They are no part of what is tested and see every writer, whatever it believes of itself.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

COLUMNS = "kind, place, before, after, fence, expires, more_attempts"
TYPES = ("TEXT", "TEXT", "TEXT", "TEXT", "INTEGER", "DOUBLE PRECISION", "INTEGER")
NOTED = {  # per table: when a row is noted after an update, and what is noted of it
    "leases": (
        "NEW.fence <> OLD.fence OR NEW.owner <> OLD.owner OR NEW.expires_at = 0",
        "'lease', NEW.key, OLD.owner, NEW.owner, NEW.fence, NEW.expires_at,"
        " NEW.attempts - OLD.attempts",
    ),
    "trials": (
        "OLD.state IN ('COMPLETE', 'PRUNED', 'FAIL')",
        "'trial', CAST(NEW.trial_id AS TEXT), CAST(OLD.state AS TEXT),"
        " CAST(NEW.state AS TEXT), NULL, NULL, NULL",
    ),
    "fold_results": (
        "OLD.state <> 'planned'",
        "'fold', CAST(NEW.trial AS TEXT), OLD.state, NEW.state, NULL, NULL, NULL",
    ),
    "trial_intermediate_values": (
        "TRUE",
        "'report', CAST(NEW.trial_id AS TEXT), CAST(OLD.intermediate_value AS TEXT),"
        " CAST(NEW.intermediate_value AS TEXT), NULL, NULL, NULL",
    ),
}
FIRST_CLAIMS = "'lease', NEW.key, '', NEW.owner, NEW.fence, NEW.expires_at, NEW.attempts"


@dataclass(frozen=True, slots=True)
class Hold:
    """One holder's time with a lease, as the database saw it.

    Attributes:
        ended: whether the holder gave the lease back, with the work done or in good order.
        taken_at: when it was taken, in seconds since 1970 by the database's clock.
    """

    key: str
    owner: str
    fence: int
    taken_at: float
    ended: bool


class Audit:
    """Reads and installs the triggers of one database."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def install(self) -> None:
        """Let the database note changes from now on."""
        sqlite = self._engine.dialect.name == "sqlite"
        with self._engine.begin() as connection:
            serial = "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "SERIAL PRIMARY KEY"
            stamp = (
                "((julianday('now') - 2440587.5) * 86400.0)"
                if sqlite
                else "EXTRACT(EPOCH FROM clock_timestamp())"
            )
            columns = ", ".join(map(" ".join, zip(COLUMNS.split(", "), TYPES, strict=True)))
            connection.exec_driver_sql(
                f"CREATE TABLE audit (id {serial}, {columns},"
                f" at DOUBLE PRECISION DEFAULT ({stamp}))"
            )
            for table, (condition, values) in NOTED.items():
                _trigger(connection, table, "UPDATE", condition, values, sqlite=sqlite)
            _trigger(connection, "leases", "INSERT", "TRUE", FIRST_CLAIMS, sqlite=sqlite)

    def holds(self) -> list[Hold]:
        """Return who held what, in the order of the claims of each key."""
        holds = []
        for key, changes in self._leases().items():
            for number, change in enumerate(changes):
                if not change["expires"]:
                    continue  # given back, or buried
                after = changes[number + 1] if number + 1 < len(changes) else None
                ended = after is not None and _ended(change, after)
                holds.append(Hold(key, change["after"], change["fence"], change["at"], ended))
        return holds

    def takeovers(self) -> list[Hold]:
        """Return the holds of those who went on with what another one had left unfinished."""
        by_key: dict[str, list[Hold]] = defaultdict(list)
        for hold in self.holds():
            by_key[hold.key].append(hold)
        return [
            later
            for holds in by_key.values()
            for former, later in pairwise(holds)
            if not former.ended and later.owner != former.owner
        ]

    def double_results(self) -> int:
        """Return how many ended trials or folds were changed, and how many reports overwritten."""
        ended = ("COMPLETE", "PRUNED", "FAIL")
        rows = self._rows("kind <> 'lease'")
        return sum(row["kind"] != "trial" or row["before"] in ended for row in rows)

    def _leases(self) -> dict[str, list[dict[str, Any]]]:
        changes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self._rows("kind = 'lease'"):
            changes[row["place"]].append(row)
        return changes

    def _rows(self, condition: str) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.text(f"SELECT * FROM audit WHERE {condition} ORDER BY id")
            ).mappings()
            return [dict(row) for row in rows]


def _ended(claim: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether what came after a claim gave the lease back: with the work done, or refunded."""
    if after["expires"]:
        return False
    return bool(after["fence"] > claim["fence"] or after["more_attempts"] < 0)


def _trigger(
    connection: sa.Connection, table: str, event: str, condition: str, values: str, *, sqlite: bool
) -> None:
    name = f"audit_{table}_{event.lower()}"
    insert = f"INSERT INTO audit ({COLUMNS}) VALUES ({values})"
    if sqlite:
        connection.exec_driver_sql(
            f"CREATE TRIGGER {name} AFTER {event} ON {table} WHEN {condition} BEGIN {insert}; END"
        )
        return
    connection.exec_driver_sql(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {insert}; RETURN NULL; END $$"
    )
    connection.exec_driver_sql(
        f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW"
        f" WHEN ({condition}) EXECUTE FUNCTION {name}()"
    )
