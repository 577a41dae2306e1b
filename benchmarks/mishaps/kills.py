"""Workers are killed: at random, right after a claim, or all at once with who started them."""

import json
import os
import random
import signal
import subprocess
import sys
import time

from benchmarks.mishaps.counting import MINUTE, SMALL, Count, held_by, settle, spec
from benchmarks.mishaps.diary import read
from benchmarks.mishaps.mishaps import DieAtClaim
from benchmarks.mishaps.places import Backend, Ground
from benchmarks.mishaps.staff import Employee, wait_until
from workers.data import load_data

REASON = "killed by the benchmark"
LONGEST_DELAY = 0.3  # seconds after an epoch's begin until the kill: most epochs are shorter
CLAIMS = ("prepare", "/trials", "trial/0", "trial/1", "/2", "assemble")  # "/2" is a fold


def random_kills(
    ground: Ground,
    backend: Backend,
    *,
    seed: int,
    kills: int,
    workers: int = 3,
    trials: int = 8,
) -> Count:
    """Kill random workers at random points of a whole job; others take their places at once.

    Like a pool of workers, whoever kills says at once that the worker is dead.
    """
    dice = random.Random(seed)
    place = ground.place(backend, f"kills-{backend}-{seed}")
    store = place.store()
    job = store.jobs.create(spec(SMALL, trials=trials, seed=seed))
    staff = [Employee(place, f"{number}.0", job_id=job.id) for number in range(workers)]
    epochs = trials * 3 + 3 * 6  # about as many as the job trains
    points = sorted(dice.randrange(1, epochs) for _ in range(kills))
    faults = hits = 0

    def ended() -> bool:
        return store.jobs.get(job.id).ended

    for point in points:

        def reached(point: int = point) -> bool:
            return ended() or len(read(place.diary)) >= 2 * point

        wait_until(reached, what=f"epoch {point} begins")
        time.sleep(dice.uniform(0.0, LONGEST_DELAY))
        if ended():
            break
        number = dice.randrange(workers)
        victim = staff[number]
        victim.kill()
        faults += 1
        hits += len(held_by(place, victim.name))
        store.beats.bury(victim.name, reason=REASON)
        staff[number] = Employee(place, f"{number}.{faults}", job_id=job.id)
    for worker in staff:
        worker.join()
    store.close()
    return settle(place, faults=faults, hits=hits).with_notes(faults_given=faults)


def killed_at_claim(
    ground: Ground, backend: Backend, *, number: int, keys: tuple[str, ...] = CLAIMS
) -> Count:
    """Kill a worker between its claim and the first renewal, and tell nobody; then the next one.

    Args:
        keys: ends of the keys of leases, in the order of a job; a worker is killed at each.
    """
    place = ground.place(backend, f"claim-{backend}-{number}")
    store = place.store()
    job = store.jobs.create(spec(MINUTE, seed=number))
    hits = 0
    for key in keys:
        victim = Employee(place, f"victim of {key}", job_id=job.id, mishap=DieAtClaim(key))
        victim.join()
        hits += len(held_by(place, victim.name))
    Employee(place, "other", job_id=job.id).join()
    store.close()
    taken_at = {(hold.key, hold.fence): hold.taken_at for hold in place.audit().holds()}
    delays = [
        taken.taken_at - taken_at[taken.key, taken.fence - 1] for taken in place.audit().takeovers()
    ]
    late = max(delays, default=0.0) - place.lease_seconds
    count = settle(place, faults=len(keys), hits=hits)
    return count.with_notes(seconds_after_the_lease=round(late, 2))


def all_killed(ground: Ground, backend: Backend, *, number: int, moment: int) -> Count:
    """Kill the submitting command and all of its workers; a worker started later lands the job.

    Args:
        moment: reports after which all are killed.
    """
    place = ground.place(backend, f"all-{backend}-{number}")
    asked = place.folder / "job.yaml"
    asked.write_text(json.dumps({**SMALL, "seed": number}))  # every JSON file is a YAML file
    command = [sys.executable, "-m", "athanor", "search", str(asked), "--store", place.url]
    process = subprocess.Popen(
        [*command, "--artifacts", str(place.artifacts), "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=place.messages.open("ab"),
        start_new_session=True,
    )
    store = place.store()

    def reached() -> bool:
        jobs = store.jobs.list()
        curves = (
            len(record.curve)
            for job in jobs
            if job.plan is not None
            for record in store.trials(job).records()
        )
        return sum(curves) >= moment

    wait_until(reached, what=f"{moment} epochs are reported")
    owners = {record.id for record in store.beats.all()}
    kill_tree(process.pid)
    process.wait()
    hits = sum(len(held_by(place, owner)) for owner in owners)
    job = store.jobs.list()[0]
    later = Employee(place, "later")  # waits for any work, as `athanor worker` does
    wait_until(lambda: store.jobs.get(job.id).ended, what="the job lands")
    later.end()
    openings = store.test.all(load_data("digits", cache=place.cache).test_rows)
    store.close()
    count = settle(place, faults=1, hits=hits)
    return count.with_notes(test_openings=len(openings))


def kill_tree(root: int) -> None:
    """Kill a process and all that it started, the starters first so that they restart nobody."""
    children = _children()
    found = [root]
    for process in found:
        found += children.get(process, [])
    for process in found:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/stat") as file:
                stat = file.read()
        except (OSError, ValueError):
            continue
        if entry.isdigit():
            parent = int(stat.rpartition(")")[2].split()[1])
            found.setdefault(parent, []).append(int(entry))
    return found
