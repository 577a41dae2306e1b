"""What only PostgreSQL can get wrong: servers that are away, passwords, stopped transactions."""

import pytest
import sqlalchemy as sa

from search.store import StudyStore
from spaces.errors import StoreError
from tests.postgres import PostgresServer, free_port


@pytest.fixture
def backend() -> str:
    return "postgresql"


def test_usual_spellings_name_the_same_store(store: StudyStore) -> None:
    for scheme in ("postgres", "postgresql"):
        again = StudyStore(store.url.replace("postgresql+psycopg", scheme))
        assert again.jobs.list() == []
        again.close()


def test_an_absent_server_is_named_without_its_password() -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/athanor"
    for create in (False, True):
        with pytest.raises(StoreError, match=r"me:\*\*\*@.* is not a usable study store") as caught:
            StudyStore(url, create=create)
        assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_database_that_does_not_exist_is_not_made(server: PostgresServer) -> None:
    with pytest.raises(StoreError, match='database "nothing" does not exist'):
        StudyStore(server.url("nothing"), create=True)


def test_a_worker_that_is_stopped_within_a_transaction_does_not_keep_its_locks(
    store: StudyStore,
) -> None:
    with store._database.engine.connect() as connection:
        timeout = connection.scalar(sa.text("SHOW idle_in_transaction_session_timeout"))
    assert timeout == "15s"


def test_commits_are_durable_on_a_server_that_is_set_up_for_haste(
    server: PostgresServer, store: StudyStore
) -> None:
    with sa.create_engine(server.url(), poolclass=sa.NullPool).connect() as connection:
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == "off"
    with store._database.engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == "on"
