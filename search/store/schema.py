"""Create or upgrade the tables, by one process at a time; refuse those of a newer Athanor."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from search.store.engine import database_path, open_storage
from spaces.errors import StoreError

HEAD = "0001"
VERSION_TABLE = "athanor_version"
MIGRATIONS = Path(__file__).parent / "migrations"


def prepared_storage(url: str, *, create: bool) -> RDBStorage:
    """Open the storage with its tables at this version's schema.

    Args:
        create: make the database if it is not there; otherwise that is a `StoreError`.
    """
    path = database_path(url)
    if path.is_dir():
        raise StoreError(f"a study store must be a file, but {path} is a folder")
    if not path.exists() and not create:
        raise StoreError(f"no study store at {path}; a search or a submitted job creates one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            return _open_at_head(url, path)
    except OSError as failure:
        raise StoreError(f"the study store's folder must be writable: {failure}") from None
    except (sa.exc.DatabaseError, StorageInternalError) as failure:
        reason = str(getattr(failure, "orig", failure.__cause__) or failure).splitlines()[0]
        raise StoreError(f"{path} is not a usable study store: {reason}") from None


def _open_at_head(url: str, path: Path) -> RDBStorage:
    fresh = not path.exists() or path.stat().st_size == 0
    storage = open_storage(url, create=fresh)
    version = _version(storage.engine)
    if version != HEAD:
        if version is not None and version > HEAD:
            storage.engine.dispose()
            raise StoreError(
                f"the store's schema must be at most {HEAD}, but {path} has {version}; "
                "upgrade athanor-nas"
            )
        _upgrade(storage.engine)
        storage.engine.dispose()
        storage = open_storage(url, create=True)
    return storage


def _version(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return None
        version: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
        return version


def _upgrade(engine: sa.Engine) -> None:
    from alembic import command  # imported only where a schema changes: it takes 0.2 s
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock beside the database, so that two processes do not create it at once."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
