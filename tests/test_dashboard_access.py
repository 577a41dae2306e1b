"""Nobody sees or changes anything without the token, by whatever way they come."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from athanor.dashboard.server import DashboardOptions, DashboardServer
from athanor.dashboard.token import Token, given_token, new_token
from benchmarks.dashboard_routes import METHODS, all_paths
from search.job import Job
from search.store import StudyStore
from spaces.errors import InputError
from tests.dashboards import TOKEN, client_of, filled_store, places_in, served

FOREIGN = {"Origin": "http://elsewhere.example"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="module")
def job(folder: Path) -> Iterator[Job]:
    store, job = filled_store(folder)
    yield job
    store.close()


@pytest.fixture(scope="module")
def server(folder: Path, job: Job) -> Iterator[DashboardServer]:
    with served(folder) as server:
        yield server


def test_every_route_and_method_is_closed_without_the_token(
    server: DashboardServer, folder: Path
) -> None:
    store = StudyStore(places_in(folder).store_url, reads_only=True)
    paths = [*all_paths(places_in(folder), store), "/nowhere", "/jobs/x/y/z"]
    store.close()
    assert {"/events", "/metrics", "/dashboard/studies/1", "/api/studies/1"} <= set(paths)
    assert len(paths) > 40
    answers = {}
    with client_of(server, token=None) as client:
        for path in paths:
            for method in METHODS:
                answers[method, path] = client.request(method, path).status_code
    opened = {call for call, status in answers.items() if status != 401}
    assert opened == {(m, p) for m in ("GET", "HEAD") for p in ("/healthz", "/readyz")}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_what_is_open_tells_nothing(server: DashboardServer, path: str) -> None:
    with client_of(server, token=None) as client:
        assert client.get(path).text == "ok\n"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "ä" * 30])
def test_another_token_is_none(server: DashboardServer, token: str) -> None:
    with client_of(server, token=None) as client:
        header = (b"Authorization", f"Bearer {token}".strip().encode())
        assert client.get("/", headers=[header]).status_code == 401
        assert client.post("/login", data={"token": token}).status_code == 401
        assert "set-cookie" not in client.post("/login", data={"token": token}).headers


def test_a_browser_gets_a_page_to_log_in_and_a_cookie(server: DashboardServer) -> None:
    with client_of(server, token=None, Accept="text/html") as client:
        asked = client.get("/jobs/some")
        assert asked.status_code == 401 and 'name="token"' in asked.text
        answer = client.post("/login", data={"token": TOKEN})
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
        assert client.get("/").status_code == 200
        assert client.post("/logout").status_code == 303
        assert client.get("/").status_code == 401


def test_a_cookie_expires_and_cannot_be_prolonged(monkeypatch: pytest.MonkeyPatch) -> None:
    token = Token(TOKEN)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    cookie = token.cookie()
    assert token.accepts(cookie) and not Token(f"{TOKEN}x").accepts(cookie)
    until, _, signature = cookie.partition(".")
    assert not token.accepts(f"{int(until) + 1}.{signature}")
    for broken in ("", ".", "x.y", until, f"{until}.", f"{until}.ä"):
        assert not token.accepts(broken)
    monkeypatch.setattr("time.time", lambda: float(until))
    assert not token.accepts(cookie)


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    token = Token(TOKEN)
    assert not token.matches("x") and token.matches(TOKEN)
    assert compared == [(32, 32), (32, 32)]  # digests: not even the length is told
    assert token.accepts(token.cookie()) and len(compared) == 3


@pytest.mark.parametrize(
    "host",
    [
        "elsewhere.example",
        "127.0.0.1.elsewhere.example",
        "localhost.evil",
        "x@localhost",
        "",
        "localhost/healthz?",
        "127.0.0.1/readyz#",
        "127.0.0.1:8080/login",
        "127.0.0.1:port",
    ],
)
def test_a_foreign_host_is_refused_with_the_token(server: DashboardServer, host: str) -> None:
    with client_of(server, Host=host) as client:
        assert client.get("/").status_code == 403
        assert client.get("/healthz").status_code == 403


def test_addresses_and_names_that_were_given_are_let_in(folder: Path, job: Job) -> None:
    with (
        served(folder, DashboardOptions(names=("nas.local",))) as server,
        client_of(server) as client,
    ):
        for host in ("127.0.0.1:1", "localhost", "[::1]:80", "10.1.2.3", "NAS.local"):
            assert client.get("/healthz", headers={"Host": host}).status_code == 200, host


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        FOREIGN,
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},  # of another port
    ],
    ids=["other", "port", "null", "fetched", "neighbour"],
)
def test_a_foreign_page_is_refused_with_the_token(
    server: DashboardServer, method: str, headers: dict[str, str]
) -> None:
    with client_of(server, **headers) as client:
        assert client.request(method, "/api/studies/1").status_code == 403
        assert client.post("/login", data={"token": TOKEN}).status_code == 403
        own = {"Origin": server.address, "Sec-Fetch-Site": "same-origin"}
        assert client.get("/api/studies/1", headers=own).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/artifacts/1/../../etc/passwd",
        "/artifacts/1/%2e%2e/%2e%2e/token",
        "/artifacts/1/..%2f..%2ftoken",
        "/artifacts/1/..%5c..%5ctoken",
        "/static/..%2f..%2fetc/passwd",
        "/static/%2fetc/passwd",
        "/assets/..%2ftemplates%2flogin.html",
        "/assets//etc/passwd",
        "/jobs/..%2f..%2fetc/report",
        "/jobs/%2e%2e/report",
    ],
)
def test_no_path_leads_out_of_its_folder(server: DashboardServer, path: str) -> None:
    host, port = server.socket.getsockname()
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n"
    with socket.create_connection((host, port), timeout=30) as connection:  # as it stands
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.match(rb"HTTP/1.1 40[034] ", answer), answer[:200]
    assert b"root:" not in answer and TOKEN.encode() not in answer


def writes(store: StudyStore) -> list[tuple[str, str]]:
    """Return calls that change something, of all of the Optuna dashboard's."""
    return [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/studies"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("PUT", "/api/studies/1/note"),
        ("PUT", "/api/studies/1/1/note"),
        ("POST", "/incompatible-rdb-schema"),
        ("DELETE", "/artifacts/1/0a"),
    ]


def test_nothing_is_written_unless_asked_for(server: DashboardServer, job: Job) -> None:
    with client_of(server) as client:
        for method, path in writes(server.store):
            answer = client.request(method, path, json={"version": 1, "body": "x"})
            assert answer.status_code == 403 and "changes nothing" in answer.text
        assert client.get("/api/studies/1").json()["note"]["version"] == 0


def test_notes_may_be_written_if_asked_for_and_what_workers_found_never(
    folder: Path, job: Job
) -> None:
    with (
        served(folder, DashboardOptions(writable=True)) as server,
        client_of(server, Origin=server.address) as client,
    ):
        for method, path in writes(server.store):
            status = client.request(method, path, json={"version": 1, "body": "mine"}).status_code
            assert status == (204 if path.endswith("/note") else 403), path
        study = client.get("/api/studies/1").json()
        assert study["note"] == {"version": 1, "body": "mine"}
        assert [trial["note"]["body"] for trial in study["trials"]] == ["mine", "", "", ""]
        assert len(server.store.studies.names()) == 1


def test_the_token_is_in_no_log_and_no_answer(
    server: DashboardServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="uvicorn"), client_of(server) as client:
        told = "".join(client.get(p).text for p in ("/", "/metrics", "/nowhere", "/api/meta"))
        client.post("/login", data={"token": f"{TOKEN}x"})
    out, err = capfd.readouterr()
    assert TOKEN not in told + out + err + caplog.text + repr(server.token) + str(server.token)


def test_others_are_let_in_only_with_a_token_of_yours(
    folder: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATHANOR_DASHBOARD_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "10.1.2.3"):
        with pytest.raises(InputError, match="--token-file or ATHANOR_DASHBOARD_TOKEN"):
            DashboardServer(places_in(folder), DashboardOptions(host=host, port=0))
    with served(folder, DashboardOptions(host="0.0.0.0")) as server:
        assert server.address.startswith("http://127.0.0.1:")
    with served(folder) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_token_that_can_be_guessed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("short\n")
    with pytest.raises(InputError, match=r"at least 16 characters, but that of .* has 5"):
        given_token(file)
    with pytest.raises(InputError, match="readable"):
        given_token(tmp_path / "none")
    monkeypatch.setenv("ATHANOR_DASHBOARD_TOKEN", TOKEN)
    from_environment = given_token(None)
    assert from_environment is not None and from_environment.matches(TOKEN)
    assert not new_token().matches(TOKEN)


def test_a_port_that_is_taken_is_said(server: DashboardServer, folder: Path) -> None:
    port = server.socket.getsockname()[1]
    with pytest.raises(InputError, match=str(port)):
        DashboardServer(places_in(folder), DashboardOptions(port=port))


def test_the_command_prints_a_link_that_logs_in_and_ends_by_ctrl_c(folder: Path, job: Job) -> None:
    """The link is printed once; the token in it is the only thing that opens the dashboard."""
    command = [sys.executable, "-m", "athanor", "dashboard", "--port", "0"]
    environment = {k: v for k, v in os.environ.items() if k != "ATHANOR_DASHBOARD_TOKEN"}
    with subprocess.Popen(
        [*command, "--store", places_in(folder).store_url],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        link = process.stdout.readline().split()[0]
        address, _, token = link.partition("/#")
        transport = httpx.HTTPTransport(retries=10)
        with httpx.Client(base_url=address, transport=transport, timeout=30) as client:
            assert client.get("/").status_code == 401
            client.headers["Authorization"] = f"Bearer {token}"
            assert client.get("/").status_code == 200
            with client.stream("GET", "/events") as events:  # an open page does not hold it
                lines = events.iter_lines()
                assert next(lines).startswith("data: ")
                process.send_signal(signal.SIGINT)
                assert not any(line.startswith("event: error") for line in lines)
        rest, errors = process.communicate(timeout=30)
        assert (process.returncode, rest, errors) == (130, "", "")
