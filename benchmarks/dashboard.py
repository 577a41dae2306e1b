"""The dashboard on a study of 5,000 trials, against `optuna-dashboard URL` alone; and its locks.

Both serve the same study, 20 parameters and 30 reported epochs a trial, to one client that asks
them in turn as the page in a browser does: the whole study, then again what is new, while a worker
reports an epoch of one more trial each second. The times are the server's, until its answer begins.
optuna-dashboard answers for ten seconds from a copy of the trials, then reads all of them again, as
a page's poll every ten seconds makes it do: it is compared by its fastest answer, from the copy,
with our usual one, which has the last epoch in it; the longest of both are told. Then every route
is tried without the token, and the processor time of the server is taken while pages are open and
nothing happens.

    python benchmarks/dashboard.py --prepare    puts the study into a store, in the cache
    python benchmarks/dashboard.py --quick      under a minute; the last line is JSON
    python benchmarks/dashboard.py              three minutes: more rounds
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from athanor.dashboard.study_pages import LOOK_SECONDS
from athanor.places import Places
from benchmarks.dashboard_routes import METHODS, all_paths
from benchmarks.large_study import make_study
from benchmarks.results import machine, print_table
from search.store import StudyStore
from tests.postgres import free_port

TRIALS = 5000
TOKEN = "a-token-for-the-benchmark"
START_SECONDS = 120.0  # until a server answers; only a hang takes as long
EPOCH_SECONDS = 1.0
POLL_SECONDS = 10.0  # as a study's page in a browser asks
IDLE_SECONDS = {True: 10.0, False: 30.0}  # by quick
ROUNDS = {True: 2, False: 12}
THEIRS, OURS = "optuna-dashboard", "athanor"


def store_file() -> Path:
    """Return where the study is kept."""
    return Places.of(None, None).cache / f"large-study-{TRIALS}.db"


def prepare() -> None:
    """Put the study into a store of its own, if it is not there yet."""
    if store_file().exists():
        return
    partial = store_file().with_suffix(".partial")
    for leftover in partial.parent.glob(f"{partial.name}*"):
        leftover.unlink()
    partial.parent.mkdir(parents=True, exist_ok=True)
    store = StudyStore(f"sqlite:///{partial}", create=True)
    make_study(store, trials=TRIALS)
    with store._rdb.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    partial.rename(store_file())


class Server:
    """A dashboard in a process of its own, and a client of it."""

    def __init__(self, name: str, command: list[str], port: int) -> None:
        self.name = name
        environment = {**os.environ, "ATHANOR_DASHBOARD_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=START_SECONDS
        )

    def wait(self, path: str) -> None:
        """Wait until it answers a question."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(httpx.TransportError):
                self.client.get(path).raise_for_status()
                return
            time.sleep(0.2)
        raise RuntimeError(f"{self.name} must answer within {START_SECONDS:.0f} seconds, but not")

    def seconds(self, path: str) -> float:
        """Return how long the server takes to answer."""
        begin = time.perf_counter()
        with self.client.stream("GET", path) as answer:
            spent = time.perf_counter() - begin
            assert answer.status_code == 200, answer.status_code
            for _ in answer.iter_raw():
                pass
        return spent

    def processor_seconds(self) -> float:
        """Return the processor time that it has taken."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """End it."""
        self.client.close()
        self.process.terminate()
        self.process.wait()


@contextmanager
def training(store: StudyStore) -> Iterator[list[float]]:
    """Report epochs of a trial as a worker does; yield how long each report took."""
    ending, waits = threading.Event(), list[float]()
    (job,) = store.jobs.list()
    trial = store.trials(job).ask()

    def report() -> None:
        for epoch in itertools.count(1):
            if ending.wait(EPOCH_SECONDS):
                return
            begin = time.perf_counter()
            store.jobs.tick(job.id)
            trial.report(0.5, epoch)
            waits.append(time.perf_counter() - begin)

    thread = threading.Thread(target=report)
    thread.start()
    try:
        yield waits
    finally:
        ending.set()
        thread.join()


def measure(servers: list[Server], *, rounds: int, store: StudyStore) -> dict[str, Any]:
    """Ask both in turn; return what the page and the poll take, in seconds."""
    pages: dict[str, list[float]] = {server.name: [] for server in servers}
    polls: dict[str, list[float]] = {server.name: [] for server in servers}
    with training(store) as waits:
        for _ in range(rounds):
            for server in servers:
                for path, times in (("after=0", pages), (f"after={TRIALS}", polls)):
                    if server.name == OURS:
                        _wait_for_news(waits)
                    times[server.name].append(server.seconds(f"/api/studies/1?{path}"))
    page = statistics.median(pages[OURS])
    return {
        "study_page_s": page,
        "study_page_theirs_s": min(pages[THEIRS]),
        "study_page_speedup": min(pages[THEIRS]) / page,
        "longest_theirs_s": max(pages[THEIRS] + polls[THEIRS]),
        "longest_s": max(pages[OURS] + polls[OURS]),
        "poll_s": statistics.median(polls[OURS]),
        "poll_theirs_from_copy_s": min(polls[THEIRS]),
        "longest_write_of_a_worker_s": max(waits, default=None),
    }


def _wait_for_news(reports: list[float]) -> None:
    """Wait until one more epoch has been reported."""
    before = len(reports)
    while len(reports) == before:
        time.sleep(0.01)


def idle_share(server: Server, *, seconds: float) -> float:
    """Return the share of a core that a server takes while an overview and a study are open.

    What was written last has been read by then, and nothing more is written.
    """
    poll = f"/api/studies/1?after={TRIALS}"
    with server.client.stream("GET", "/events") as events:
        next(events.iter_raw())
        server.client.get(poll)
        time.sleep(1.04 * LOOK_SECONDS)
        server.client.get(poll)
        before, begin = server.processor_seconds(), time.monotonic()
        while time.monotonic() < begin + seconds:
            time.sleep(POLL_SECONDS)
            server.client.get(poll)
        return (server.processor_seconds() - before) / (time.monotonic() - begin)


def open_routes(server: Server, paths: list[str]) -> dict[str, Any]:
    """Try every route and method without the token; return how many are open."""
    with httpx.Client(base_url=server.client.base_url, timeout=30.0) as client:
        answers = {
            (method, path): client.request(method, path).status_code
            for path in paths
            for method in METHODS
        }
    health = {call for call in answers if call[1] in ("/healthz", "/readyz")}
    opened = [call for call, status in answers.items() if status != 401 and call not in health]
    return {
        "routes_walked": len(answers),
        "routes_open": len(opened),
        "health_routes_open": sum(answers[call] != 401 for call in health),
    }


@contextmanager
def both_served(path: Path) -> Iterator[list[Server]]:
    """Serve a store by both."""
    scripts = Path(sys.executable).parent
    ports = free_port(), free_port()
    url = f"sqlite:///{path}"
    theirs = [str(scripts / "optuna-dashboard"), url, "--port", str(ports[0])]
    ours = [sys.executable, "-m", "athanor", "dashboard", "--store", url, "--port", str(ports[1])]
    servers = [Server(THEIRS, theirs, ports[0]), Server(OURS, ours, ports[1])]
    try:
        servers[0].wait("/api/meta")
        servers[1].wait("/api/studies/1")  # which it reads by itself when it starts
        yield servers
    finally:
        for server in servers:
            server.close()


def figures(*, quick: bool) -> dict[str, Any]:
    """Measure everything on a copy of the study."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "athanor.db"
        path.write_bytes(store_file().read_bytes())
        store = StudyStore(f"sqlite:///{path}")
        with both_served(path) as servers:
            told = measure(servers, rounds=ROUNDS[quick], store=store)
            told |= {"idle_share_of_a_core": idle_share(servers[1], seconds=IDLE_SECONDS[quick])}
            told |= open_routes(servers[1], all_paths(Places.of(str(path), None), store))
        store.close()
    return told


def main() -> int:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--prepare", action="store_true", help="only make the study")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    if options.prepare:
        prepare()
        return 0
    if not store_file().exists():
        print("benchmarks/dashboard.py --prepare makes the study first", file=sys.stderr)
        names = ("routes_walked", "routes_open", "study_page_speedup", "poll_s")
        print(json.dumps(dict.fromkeys(names)))
        return 1
    told = figures(quick=options.quick)
    shown = [{"figure": name, "value": value} for name, value in told.items()]
    print_table(shown, ("figure", "value"))
    told |= {"trials": TRIALS, "machine": machine()}
    if options.out is not None:
        options.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
