"""The database restarts or is out of reach, disks are full, a clock is wrong."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from benchmarks.mishaps.counting import SMALL, Count, settle, spec
from benchmarks.mishaps.diary import read
from benchmarks.mishaps.forwarder import Forwarder
from benchmarks.mishaps.places import Backend, Ground, Place
from benchmarks.mishaps.staff import Employee, wait_until
from search.job import Job
from search.store import StudyStore
from workers.environment import thread_environment

CLOCK_LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
HOUR = "+3600s"
LONG_TRIALS = 60  # of a job that a full disk must interrupt
SILENT_SECONDS = 10.0


def _staffed(place: Place, job: Job) -> list[Employee]:
    return [Employee(place, f"{number}", job_id=job.id) for number in range(2)]


def _reports(place: Place) -> int:
    return sum(entry["kind"] == "report" for entry in read(place.diary))


def _land(place: Place, staff: list[Employee], *, faults: int) -> Count:
    """Wait for the workers; all must have lived until the job had landed."""
    statuses = [worker.join() for worker in staff]
    count = settle(place, faults=faults, hits=0)
    return replace(count, errors=sum(status != 0 for status in statuses))


def server_restarts(ground: Ground, *, seconds: float) -> Count:
    """Stop the server within a job, at once and without a word, and start it again later."""
    place = ground.place("postgresql", f"restart-{seconds:g}")
    store = place.store()
    job = store.jobs.create(spec(SMALL))
    staff = _staffed(place, job)
    faults = 0
    for reports in (3, 12) if seconds < 10.0 else (5,):
        wait_until(lambda: _reports(place) >= reports, what=f"{reports} reports")  # noqa: B023
        ground.server.stop(mode="immediate" if faults else "fast")
        time.sleep(seconds)
        ground.server.start()
        faults += 1
    store.close()
    return _land(place, staff, faults=faults)


def out_of_reach(ground: Ground, *, seconds: float) -> Count:
    """Let no packet through to the server for a while: calls hang, nobody is told why."""
    direct = ground.place("postgresql", f"unreachable-{seconds:g}")
    with Forwarder(ground.server.port) as forwarder:
        url = sa.make_url(direct.url).set(port=forwarder.port)
        place = replace(direct, url=url.render_as_string(hide_password=False))
        store = direct.store()
        job = store.jobs.create(spec(SMALL))
        staff = _staffed(place, job)
        wait_until(lambda: _reports(place) >= 5, what="5 reports")
        forwarder.open = False
        time.sleep(seconds)
        forwarder.open = True
        store.close()
        return _land(direct, staff, faults=1)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small file system in memory at a folder; needs the right to do so."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", str(folder)],
        check=True,
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room in a file system; return the file to remove."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    return ballast


def disk_full(ground: Ground, *, what: str, backend: Backend = "sqlite") -> Count:
    """No room for checkpoints, or for the database's commits, until all work waits; then room."""
    place = ground.place(backend, f"full-{what}-{backend}")
    folder = place.artifacts if what == "checkpoints" else place.folder / "disk"
    with small_disk(folder, 64):
        if what == "commits" and backend == "sqlite":
            shutil.copy(place.folder / "athanor.db", folder)
            place = replace(place, url=f"sqlite:///{folder}/athanor.db")
        elif what == "commits":
            _move_tables(ground, place, folder)
        store = place.store()
        job = store.jobs.create(spec(SMALL, trials=LONG_TRIALS))
        staff = _staffed(place, job)
        wait_until(lambda: _reports(place) >= 4, what="4 reports")
        ballast = fill(folder)
        before, begin = _reports(place), time.monotonic()
        _wait_for_silence(place)
        meanwhile = _reports(place) - before  # a database still has room in its last pages
        missed = store.jobs.get(job.id).ended
        ballast.unlink()
        silent = round(time.monotonic() - begin)
        staff = _replace_dead(place, store, job, staff)
        count = _land(place, staff, faults=1) + Count(errors=int(missed))
        store.close()
        return count.with_notes(reports_until_full=meanwhile, seconds_full=silent)


def _wait_for_silence(place: Place) -> None:
    """Wait until no epoch has been reported for a while: all workers wait for room."""
    last, since = _reports(place), time.monotonic()

    def silent() -> bool:
        nonlocal last, since
        if _reports(place) != last:
            last, since = _reports(place), time.monotonic()
        return time.monotonic() - since > SILENT_SECONDS

    wait_until(silent, what="the full disk stops all workers")


def _move_tables(ground: Ground, place: Place, folder: Path) -> None:
    shutil.chown(folder, "postgres", "postgres")
    name = sa.make_url(place.url).database
    engine = sa.create_engine(
        ground.server.url(), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE TABLESPACE small LOCATION '{folder}'")
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET TABLESPACE small')


def _replace_dead(
    place: Place, store: StudyStore, job: Job, staff: list[Employee]
) -> list[Employee]:
    """Start workers anew, as a pool does, until all of them live or the job has ended."""
    living = []
    for number, worker in enumerate(staff):
        if not worker.alive and worker.join() != 0:
            store.beats.bury(worker.name, reason=f"it ended with status {worker.join()}")
            worker = Employee(place, f"{number}.again", job_id=job.id)
        living.append(worker)
    return living


def clock_ahead(ground: Ground) -> Count:
    """The clock of one of two workers' machines is an hour ahead: no lease expires by it."""
    place = ground.place("postgresql", "clock")
    store = place.store()
    job = store.jobs.create(spec(SMALL))
    command = [sys.executable, "-P", "-m", "workers.worker", "--job", job.id]
    folders = ["--artifacts", str(place.artifacts), "--cache", str(place.cache)]
    environment = {
        **thread_environment(1),
        "ATHANOR_STORE": place.url,
        "LD_PRELOAD": CLOCK_LIBRARY,
        "FAKETIME": HOUR,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    early = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    ahead = float(early.stdout) - time.time()
    with place.messages.open("ab") as messages:
        fast = subprocess.Popen([*command, *folders], env=environment, stderr=messages)
    wait_until(lambda: place.audit().holds(), what="the fast one works")
    on_time = Employee(place, "on time", job_id=job.id)
    on_time.join()
    status = fast.wait()
    records = store.trials(job).records()
    used = store.jobs.get(job.id).seconds_used
    store.close()
    owners = {hold.owner for hold in place.audit().holds()}
    wrong = status != 0 or len(owners) < 2 or abs(ahead - 3600.0) > 60.0 or used > 600.0
    count = settle(place, faults=1, hits=0) + Count(errors=int(wrong))
    return count.with_notes(trials=len(records), seconds_ahead=round(ahead))
