"""Create or upgrade the tables, by one process at a time; refuse those of a newer Athanor."""

from pathlib import Path
from threading import Lock

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from search.store.database import Backend, backend_of
from search.store.patience import Patience
from spaces.errors import NoStore, StoreError

HEAD = "0010"
VERSION_TABLE = "athanor_version"
MIGRATIONS = Path(__file__).parent / "migrations"

_migrating = Lock()  # Alembic keeps the connection of a running migration in module globals


def prepared_storage(
    url: str, *, create: bool, patience: Patience, reads_only: bool = False
) -> RDBStorage:
    """Open the storage with its tables at this version's schema, when it is there at last.

    Args:
        create: make the store if it is not there; otherwise that is a `StoreError`.
        reads_only: nothing is written, and so no older schema is brought up to date.
    """
    backend = backend_of(url)
    try:
        if reads_only:
            return patience.call(lambda: _open_to_read(backend))
        return patience.call(lambda: _open_at_head(backend, create=create))
    except OSError as failure:
        raise StoreError(f"the study store's folder must be writable: {failure}") from None
    except (sa.exc.DatabaseError, StorageInternalError) as failure:
        reason = str(getattr(failure, "orig", failure.__cause__) or failure).splitlines()[0]
        raise StoreError(f"{backend.name} is not a usable study store: {reason}") from None


def _open_at_head(backend: Backend, *, create: bool) -> RDBStorage:
    if not create and not backend.exists():
        raise _missing(backend)
    with backend.locked(), _migrating:
        return _upgraded(backend)


def _upgraded(backend: Backend) -> RDBStorage:
    storage = backend.open(create=backend.empty())
    version = _version(storage.engine)
    if version == HEAD:
        return storage
    if version is None or version < HEAD:
        _upgrade(storage.engine)
    storage.engine.dispose()
    if version is not None and version > HEAD:
        raise _newer(backend, version)
    return backend.open(create=True)


def _open_to_read(backend: Backend) -> RDBStorage:
    """Open a store without a write, not even of a lock file beside it."""
    if not backend.exists() or backend.empty():
        raise _missing(backend)
    storage = backend.open(create=False, reads_only=True)
    version = _version(storage.engine)
    if version == HEAD:
        return storage
    storage.engine.dispose()
    if version is not None and version > HEAD:
        raise _newer(backend, version)
    raise StoreError(
        f"the store's schema must be {HEAD} to be read, but {backend.name} has "
        f"{version or 'none'}; `athanor migrate` brings it up to date"
    )


def _missing(backend: Backend) -> StoreError:
    return NoStore(f"no study store at {backend.name}; a search or a submitted job creates one")


def _newer(backend: Backend, version: str) -> StoreError:
    return StoreError(
        f"the store's schema must be at most {HEAD}, but {backend.name} has {version}; "
        "upgrade athanor-nas"
    )


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
