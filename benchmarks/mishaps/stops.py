"""A worker sleeps past its lease, is replaced, wakes up: what it still writes is counted."""

import hashlib
import itertools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.mishaps.counting import MINUTE, Count, held_by, settle, spec
from benchmarks.mishaps.diary import read
from benchmarks.mishaps.mishaps import StopAt
from benchmarks.mishaps.places import Backend, Ground, Place
from benchmarks.mishaps.staff import Employee, wait_until
from search.job import Job
from search.store import StudyStore

LEASE_SECONDS = 6.0  # every point is a job that waits for a lease to expire
FIRST, SECOND = "first", "second"  # the two jobs; only the first one's writes are looked at


def template(ground: Ground, backend: Backend) -> Place:
    """Make a place with two queued jobs, of which the first one is urgent."""
    place = ground.place(backend, f"stops-{backend}", lease_seconds=LEASE_SECONDS)
    store = place.store()
    store.jobs.create(spec(MINUTE, name=FIRST, priority=1))
    store.jobs.create(spec(MINUTE, name=SECOND))
    store.close()
    return place


def stopped_at(ground: Ground, source: Place, *, point: int, land: bool) -> Count | None:
    """Stop a worker at one point, let another one take over, let the first one go on.

    Args:
        land: the job, too, instead of ending with the part at which the worker was stopped.

    Returns:
        None if the job has no such point: it has ended before.
    """
    place = ground.copy(source, f"stops-{source.backend}-{point}")
    store = place.store()
    first = next(job for job in store.jobs.list() if job.spec.name == FIRST)
    sleeper = Employee(place, "sleeper", mishap=StopAt(point, within=first.id))
    wait_until(
        lambda: sleeper.stopped or store.jobs.get(first.id).ended or not sleeper.alive,
        what=f"point {point} is reached",
    )
    if not sleeper.stopped:
        sleeper.end()
        store.close()
        return None
    keys = held_by(place, sleeper.name)
    other = Employee(place, "other", job_id=first.id)
    wait_until(lambda: _taken_over(place, store, first, keys), what="another one has taken over")
    before = _what_counts(place, store, first, keys)
    sleeper.signal(signal.SIGCONT)
    if land:
        other.join()
    wait_until(lambda: _works_on(place, sleeper, SECOND), what="the sleeper does other work")
    after = _what_counts(place, store, first, keys)
    late = sum(value != after.get(name) for name, value in before.items())
    status = sleeper.end()
    other.end()
    store.close()
    count = settle(place, faults=1, hits=len(keys), late_writes=late)
    return count if status == 4 else count + Count(errors=1)


def some_points(ground: Ground, backend: Backend, *, points: tuple[int, ...]) -> Count:
    """Stop workers at some points, side by side; jobs go on until the sleepers do other work."""
    source = template(ground, backend)
    with ThreadPoolExecutor(len(points)) as pool:
        counts = pool.map(lambda point: stopped_at(ground, source, point=point, land=False), points)
        return sum(filter(None, counts), Count()).with_notes(last_point=max(points))


def all_points(ground: Ground, backend: Backend, *, at_once: int, every: int) -> Count:
    """Stop a worker at every n-th point of a job, one job a point, several jobs side by side."""
    source, total = template(ground, backend), Count()
    with ThreadPoolExecutor(at_once) as pool:
        for first in itertools.count(1, at_once * every):
            batch = range(first, first + at_once * every, every)
            counts = list(
                pool.map(lambda point: stopped_at(ground, source, point=point, land=True), batch)
            )
            total = sum(filter(None, counts), total)
            if None in counts:
                return total.with_notes(every=every)
    raise AssertionError("a job has an end")


def _taken_over(place: Place, store: StudyStore, job: Job, keys: list[str]) -> bool:
    """Whether what the sleeper held has been finished by another one, or the job has ended.

    With a trial or a fold the sleeper wakes up while the job goes on.
    """
    if store.jobs.get(job.id).ended:
        return True
    done = {hold.key for hold in place.audit().holds() if hold.ended and hold.owner == "other"}
    return bool(keys) and all(key in done and _is_part(key) for key in keys)


def _is_part(key: str) -> bool:
    return key.split("/")[1] in ("trial", "fold")


def _works_on(place: Place, worker: Employee, name: str) -> bool:
    return any(
        entry["kind"] == "claim" and entry["owner"] == worker.name and entry["key"].startswith(name)
        for entry in read(place.diary)
    )


def _what_counts(place: Place, store: StudyStore, job: Job, keys: list[str]) -> dict[str, Any]:
    """Return all rows and files of a job that count, or of those parts that are finished."""
    parts = [key.split("/")[1:] for key in keys]
    if store.jobs.get(job.id).ended:
        parts = []
    found: dict[str, Any] = {}
    files: list[str] = []
    for table, row in _rows(place.url, job.id):
        kind = ["trial", str(row["number"])] if table == "trials" else None
        if table == "fold_results":
            kind = ["fold", str(row["trial"]), str(row["fold"])]
        if parts and kind not in parts:
            continue
        found[f"{table} {next(iter(row.values()))} {kind}"] = row
        files += [row["files"]] if row.get("files") else []
    for name in files:
        found |= _hashes(place.artifacts / job.id / name)
    return found


def _rows(url: str, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a job's trials, with all that hangs on them, folds and result."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    tables = metadata.tables
    with engine.connect() as connection:
        study = connection.scalar(
            sa.select(tables["studies"].c.study_id).where(tables["studies"].c.study_name == job_id)
        )
        for trial in connection.execute(
            sa.select(tables["trials"]).where(tables["trials"].c.study_id == study)
        ).mappings():
            row = {name: str(value) for name, value in trial.items()}
            for name in sorted(tables):
                if name.startswith("trial_") and name != "trial_heartbeats":
                    mine = tables[name].c.trial_id == trial["trial_id"]
                    query = sa.select(tables[name]).where(mine)
                    row[name] = str(sorted(map(str, connection.execute(query))))
            yield "trials", row
        for name in ("fold_results", "test_openings"):
            query = sa.select(tables[name]).where(tables[name].c.job_id == job_id)
            for found in connection.execute(query).mappings():
                yield name, dict(found)
        result: dict[str, Any] | None = connection.scalar(
            sa.select(tables["jobs"].c.result).where(tables["jobs"].c.id == job_id)
        )
        yield "jobs", {"id": job_id, "result": str(result), "files": (result or {}).get("model")}


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
