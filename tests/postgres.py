"""A PostgreSQL server for tests: a cluster of its own, in memory-like haste, on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import sqlalchemy as sa

USER = "postgres"
SETTINGS = {
    "fsync": "off",  # nobody pulls the plug on a test
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "300",
}


def binaries() -> Path | None:
    """Return the folder of the newest server's programs, if one is installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class PostgresServer:
    """A server that can be started, stopped and restarted on the same port and data."""

    def __init__(self) -> None:
        programs = binaries()
        assert programs is not None, "PostgreSQL must be installed for a PostgresServer"
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="athanor-postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self._folder, USER, USER)
        self.port = free_port()
        self._run("initdb", "--auth=trust", f"--username={USER}", "--no-sync", "--locale=C.UTF-8")
        lines = [f"{name} = {value}" for name, value in SETTINGS.items()]
        lines += [f"port = {self.port}", f"unix_socket_directories = '{self._folder}'"]
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join(lines) + "\n")
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._data), *arguments]
        if os.geteuid() == 0:  # the server refuses to be run by root
            command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._folder)

    def start(self) -> None:
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder}/log")

    def stop(self, *, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def close(self) -> None:
        self.stop(mode="immediate")
        shutil.rmtree(self._folder)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self, *, like: str = "template1") -> str:
        """Make a database and return its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{like}"')
        return name

    def create_owned(self, name: str) -> None:
        """Make a user and a database of theirs, both of the same name."""
        self._execute(f'CREATE ROLE "{name}" LOGIN')
        self._execute(f'CREATE DATABASE "{name}" OWNER "{name}"')

    def drop_owned(self, name: str) -> None:
        """Remove a database and its owner."""
        self.drop(name)
        self._execute(f'DROP ROLE "{name}"')

    def drop(self, name: str) -> None:
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
