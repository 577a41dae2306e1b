"""Where faults happen: stores of both kinds, each with its own folder and an audit."""

import shutil
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from athanor.places import Places
from benchmarks.mishaps.audit import Audit
from search.store import StudyStore
from tests.postgres import PostgresServer

Backend = Literal["sqlite", "postgresql"]
BACKENDS: tuple[Backend, ...] = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Place:
    """A store and the folder of its artifacts, diary and messages; can be sent to a process.

    Attributes:
        lease_seconds: how long a dead holder's lease lasts in this store.
    """

    backend: Backend
    url: str
    folder: Path
    lease_seconds: float

    @property
    def artifacts(self) -> Path:
        """Where jobs keep their files."""
        return self.folder / "artifacts"

    @property
    def cache(self) -> Path:
        """Where this host's speed is kept, for all places."""
        return Places.of(None, None).cache

    @property
    def diary(self) -> Path:
        """What workers noted of their own doings."""
        return self.folder / "diary.jsonl"

    @property
    def messages(self) -> Path:
        """What workers printed."""
        return self.folder / "messages.txt"

    def store(self, **options: Any) -> StudyStore:
        """Open the store."""
        return StudyStore(self.url, lease_seconds=self.lease_seconds, **options)

    def audit(self) -> Audit:
        """Return the place's audit; it is the database that keeps it."""
        return Audit(self.url)


class Ground:
    """Makes places below one folder; starts a PostgreSQL server at the first place there."""

    def __init__(self, folder: Path, *, lease_seconds: float) -> None:
        self.folder = folder
        self._lease_seconds = lease_seconds
        self._server: PostgresServer | None = None
        self._starting = threading.Lock()  # rows run side by side
        self._databases: dict[Path, str] = {}

    @property
    def server(self) -> PostgresServer:
        """The server of all places on PostgreSQL."""
        with self._starting:
            if self._server is None:
                self._server = PostgresServer()
            return self._server

    def place(self, backend: Backend, name: str, *, lease_seconds: float | None = None) -> Place:
        """Make a place with an empty store; leases last as long as usual on this ground."""
        place = self._empty(backend, name, lease_seconds=lease_seconds or self._lease_seconds)
        place.store(create=True).close()
        place.audit().install()
        return place

    def copy(self, place: Place, name: str) -> Place:
        """Make a place that has all that another one has; nobody may be at work there."""
        seconds = place.lease_seconds
        copied = self._empty(place.backend, name, lease_seconds=seconds, like=place)
        if place.backend == "sqlite":
            source, target = sqlite3.connect(_file(place)), sqlite3.connect(_file(copied))
            source.backup(target)
            source.close()
            target.close()
        if place.artifacts.exists():
            shutil.copytree(place.artifacts, copied.artifacts)
        return copied

    def close(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.close()

    def _empty(
        self, backend: Backend, name: str, *, lease_seconds: float, like: Place | None = None
    ) -> Place:
        folder = self.folder / name
        folder.mkdir(parents=True)
        url = f"sqlite:///{folder}/athanor.db"
        if backend == "postgresql":
            template = "template1" if like is None else self._databases[like.folder]
            self._databases[folder] = self.server.create(like=template)
            url = self.server.url(self._databases[folder])
        return Place(backend, url, folder, lease_seconds)


def _file(place: Place) -> str:
    return str(sa.engine.make_url(place.url).database)
