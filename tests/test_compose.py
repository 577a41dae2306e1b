"""The compose files: valid, and each service's own command does its part against a real server."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from search.store import StudyStore
from tests.postgres import PostgresServer, free_port

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"
PROGRAMS = {
    "athanor": [sys.executable, "-m", "athanor"],
    "python": [sys.executable],
    "ray": [str(Path(sys.executable).with_name("ray"))],
    "sh": ["sh"],
}
TOKEN = "a-token-for-the-dashboard"
RAY_STATUS = ("status", f"--address={LOOPBACK}:6379")
LIMIT_SECONDS = 200.0  # for a small job to land; only a hang takes as long
JOB = """\
data: digits
trials: 3
workers: 1
folds: 3
finalists: 1
search_rows: 200
search_epochs: 2
baselines: false
space: {width: [8], stages: [2, 2], depth: [1, 1]}
"""


def filled_in(text: str, variables: dict[str, str]) -> str:
    """Substitute variables as compose does: ${NAME}, ${NAME:-default}, ${NAME:?message}."""

    def value(match: re.Match[str]) -> str:
        name, kind, more = match["name"], match["kind"], match["more"]
        if variables.get(name):
            return variables[name]
        assert kind != ":?", f"{name}: {more}"
        return more or ""

    names = r"\$\{(?P<name>\w+)(?P<kind>:[-?])?(?P<more>[^}]*)\}"
    return re.sub(names, value, text).replace("$$", "$")


class Services:
    """The services of the compose file, run as processes of this machine.

    The database's host name becomes this machine's address by libpq's own environment variable, and
    that of Ray's head by substitution, so that commands and URLs stay those of the file.
    """

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self.dashboard_port = free_port()
        variables = {
            "ATHANOR_DB_PASSWORD": "secret",
            "ATHANOR_DB_PORT": str(server.port),
            "ATHANOR_DASHBOARD_PORT": str(self.dashboard_port),
            "ATHANOR_DASHBOARD_TOKEN": TOKEN,
            "ATHANOR_RAY_TOKEN": "0123456789abcdef0123456789abcdef",
        }
        text = (ROOT / "docker-compose.yml").read_text().replace("ray-head:", f"{LOOPBACK}:")
        text = text.replace(f"  {LOOPBACK}:\n", "  ray-head:\n")  # where it names the service
        text = text.replace("ray start ", f"ray start --node-ip-address={LOOPBACK} ")
        self._services: dict[str, Any] = yaml.safe_load(filled_in(text, variables))["services"]
        self._server, self._folder = server, folder

    def command(self, name: str, *instead: str) -> list[str]:
        service = self._services[name]
        program, *options = service.get("entrypoint", ["athanor"])
        return [*PROGRAMS[program], *options, *(instead or service["command"])]

    def healthcheck(self, name: str) -> list[str]:
        kind, program, *arguments = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return [*PROGRAMS[program], *arguments]

    def environment(self, name: str) -> dict[str, str]:
        folders = {"ATHANOR_ARTIFACTS": "artifacts", "ATHANOR_CACHE": "cache"}
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **{key: str(self._folder / value) for key, value in folders.items()},
            **self._services[name]["environment"],
            "PGHOSTADDR": LOOPBACK,
            "PGPORT": str(self._server.port),
        }

    def run(self, name: str, *instead: str) -> str:
        done = subprocess.run(
            self.command(name, *instead),
            env=self.environment(name),
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def healthy(self, name: str) -> bool:
        check = subprocess.run(
            self.healthcheck(name),
            env=self.environment(name),
            cwd=self._folder,
            capture_output=True,
            check=False,
        )
        return check.returncode == 0

    def landed(self, job_id: str) -> bool:
        """Whether a job is done, asked without a process that would keep workers waiting."""
        store = StudyStore(self._server.url("athanor"))
        try:
            job = store.jobs.get(job_id)
            assert job.error is None, job.error
            return job.state == "done"
        finally:
            store.close()

    def end(self) -> None:
        """Kill what is left: a container's end takes its daemons along, such as those of Ray."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("ATHANOR_ARTIFACTS") == str(self._folder / "artifacts"):
                    process.kill()

    def start(self, name: str, *more: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*self.command(name), *more],
            env=self.environment(name),
            cwd=self._folder,
            stdout=sys.stderr,
        )


@pytest.fixture
def services(server: PostgresServer, tmp_path: Path) -> Iterator[Services]:
    server.create_owned("athanor")
    made = Services(server, tmp_path)
    yield made
    made.end()
    server.drop_owned("athanor")


def wait_until(ready: Any) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not ready():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.5)


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.gpu.yml"])
def test_the_files_follow_the_compose_specification(name: str) -> None:
    checked = subprocess.run(
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / name)],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_password_and_a_token_are_asked_for() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    with pytest.raises(AssertionError, match="choose a password"):
        filled_in(text, {})
    with pytest.raises(AssertionError, match="choose a token"):
        filled_in(text, {"ATHANOR_DB_PASSWORD": "secret"})


def test_a_submitted_job_lands_by_the_services_own_commands(
    services: Services, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    assert "schema" in services.run("migrate")
    assert not services.healthy("worker")
    worker, dashboard = services.start("worker"), services.start("dashboard")
    try:
        job = services.run("athanor", "submit", "job.yaml").strip()
        wait_until(lambda: services.healthy("worker"))
        wait_until(lambda: services.healthy("dashboard"))

        wait_until(lambda: services.landed(job))
        (row,) = json.loads(services.run("athanor", "jobs", "--json"))
        assert (row["job"], row["state"]) == (job, "done")
        address = f"http://127.0.0.1:{services.dashboard_port}/api/studies"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request) as answer:
            assert job in answer.read().decode()
        services.run("athanor", "export", job, "--out", "best")
        assert (tmp_path / "best" / "model.json").is_file()
        worker.send_signal(signal.SIGTERM)  # as compose does; it may take 30 s
        assert worker.wait(30) == 130
        assert not services.healthy("worker")
    finally:
        for process in (worker, dashboard):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_job_lands_on_the_ray_profile_s_own_commands(services: Services, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    services.run("migrate")
    job = services.run("athanor", "submit", "job.yaml").strip()
    started = [services.start("ray-head", f"--node-ip-address={LOOPBACK}")]
    try:
        wait_until(lambda: services.healthy("ray-head"))
        started.append(services.start("ray-worker", f"--node-ip-address={LOOPBACK}"))
        # nodes that start on one machine at the same moment choose the same socket
        wait_until(lambda: services.run("ray-head", *RAY_STATUS).count(" node_") == 2)
        slots = services.start("ray-slots")
        started.append(slots)
        wait_until(lambda: services.landed(job))
        slots.send_signal(signal.SIGTERM)
        assert slots.wait(60) == 130
    finally:
        for process in reversed(started):  # the head goes last
            process.terminate()
            process.wait(60)
