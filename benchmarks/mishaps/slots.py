"""Slots of Ray Tune and their workers are killed through a whole job."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.mishaps.counting import SMALL, Count, held_by, settle, spec
from benchmarks.mishaps.places import Ground, Place
from benchmarks.mishaps.staff import wait_until
from search.job import Job
from search.store import StudyStore
from workers.pool import LOCAL, RaySlots, WorkerCommand
from workers.ray_pool import RayPool

SLOTS = 2
EPOCHS = 30  # of a trial, which lasts for seconds: so a kill finds its victim at work


def ray_slots_killed(ground: Ground, *, kills: int, seed: int) -> Count:
    """Kill random slots or the workers in them; the rows must equal those of an undisturbed job.

    Each is at work when it is killed. A slot is killed at every other fault, which its worker
    survives only to hand its work back.
    """
    calm, place = ground.place("sqlite", f"calm-{seed}"), ground.place("sqlite", f"ray-{seed}")
    wanted, _, _ = _run(calm, seed=seed, kills=0)
    rows, faults, hits = _run(place, seed=seed, kills=kills)
    count = settle(place, faults=faults, hits=hits)
    return count + Count(errors=int(rows != wanted))


def _run(place: Place, *, seed: int, kills: int) -> tuple[list[Any], int, int]:
    """Land a job on slots of Ray; return its rows, the faults given, and how many hit work."""
    dice, store = random.Random(seed), place.store()
    job = store.jobs.create(spec(SMALL, seed=seed, search_epochs=EPOCHS, discard_after=0))
    command = WorkerCommand(
        store_url=place.url,
        artifacts=place.artifacts,
        cache=place.cache,
        threads=1,
        workers=SLOTS,
        job_id=job.id,
    )
    faults = hits = 0
    with RayPool(command, size=SLOTS, slots=RaySlots(LOCAL)) as pool:
        for number in range(kills):
            reports = number * EPOCHS  # one kill for each trial

            def reached(reports: int = reports) -> bool:
                pool.watch()
                done = store.jobs.get(job.id)
                return done.ended or (
                    _reported(store, done) >= reports and bool(_at_work(store, job))
                )

            wait_until(reached, what=f"{reports} reports")
            victims = sorted(_at_work(store, job))
            if store.jobs.get(job.id).ended or not victims:
                break
            process, owner = dice.choice(victims)
            if number % 2:
                os.kill(_parent(process), signal.SIGKILL)
            else:
                os.kill(process, signal.SIGKILL)
                hits += len(held_by(place, owner))
            faults += 1

        def landed() -> bool:
            pool.watch()
            return pool.finished

        wait_until(landed, what="the job lands")
    trials = [
        (record.number, record.state, record.curve, record.candidate)
        for record in store.trials(job).records()
    ]
    folds = [(task.trial, task.fold, task.state, task.score) for task in store.folds.all(job.id)]
    store.close()
    return [trials, folds], faults, hits


def _reported(store: StudyStore, job: Job) -> int:
    if job.plan is None:
        return 0
    return sum(len(record.curve) for record in store.trials(job).records())


def _at_work(store: StudyStore, job: Job) -> set[tuple[int, str]]:
    """Return the process ids and names of a job's workers that hold something, by their beats."""
    busy = {record.id for record in store.beats.all() if record.doing}
    return {(process, name) for process, name in _workers(job) if name in busy}


def _workers(job: Job) -> set[tuple[int, str]]:
    """Return the process ids and names of a job's workers."""
    found = set()
    for entry in _commands():
        arguments = entry[1].split("\0")
        if "workers.worker" in arguments and job.id in arguments:
            found.add((entry[0], arguments[arguments.index("--name") + 1]))
    return found


def _commands() -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_bytes().decode()
        except OSError:  # it has ended since
            continue


def _parent(process: int) -> int:
    stat = Path(f"/proc/{process}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])
