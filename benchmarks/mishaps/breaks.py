"""Trials that hang or kill their workers, and checkpoints that are torn."""

import random
from pathlib import Path
from typing import Any

from benchmarks.mishaps.counting import MINUTE, Count, held_by, settle, spec
from benchmarks.mishaps.mishaps import BreakIn, Kind
from benchmarks.mishaps.places import Backend, Ground
from benchmarks.mishaps.staff import Employee
from workers.checkpoints import load_checkpoint

REASONS = {
    "segfault": "its worker died of SIGSEGV",
    "out of memory": "its worker was killed (SIGKILL)",
}
CALM = {"workers": 1, "trials": 3}


def hangs(ground: Ground, backend: Backend, *, number: int) -> Count:
    """An epoch of a trial, or of a fold, never ends: once, so that its next holder finishes it."""
    place = ground.place(backend, f"hang-{backend}-{number}")
    store = place.store()
    job = store.jobs.create(spec(MINUTE, seed=number))
    key = ("trial/0", "trial/1", "/2")[number % 3]
    mishap = BreakIn("hang", key, once=True)
    first = Employee(place, "first", job_id=job.id, mishap=mishap)
    status = first.join()
    Employee(place, "second", job_id=job.id).join()
    store.close()
    count = settle(place, faults=1, hits=1)
    return count if status == 5 else count + Count(errors=1)


def poison(ground: Ground, backend: Backend, *, kind: Kind) -> Count:
    """A trial kills each worker that trains it: it is given up, the job lands without it."""
    place = ground.place(backend, f"poison-{backend}-{kind.replace(' ', '-')}")
    store = place.store()
    job = store.jobs.create(spec({**MINUTE, **CALM}))
    mishap, faults, hits = BreakIn(kind, "trial/1"), 0, 0
    while not store.jobs.get(job.id).ended:
        worker = Employee(place, f"worker-{faults}", job_id=job.id, mishap=mishap)
        if worker.join() == 0:
            break
        faults += 1
        hits += len(held_by(place, worker.name))
        store.beats.bury(worker.name, reason=REASONS[kind])  # as a pool does
    records = store.trials(job).records()
    store.close()
    quarantined = [record for record in records if record.state == "failed"]
    named = all(REASONS[kind] in record.note for record in quarantined)
    count = settle(place, faults=faults, hits=hits)
    wrong = len(quarantined) != 1 or not named
    return count.with_notes(attempts=faults) + Count(errors=int(wrong))


def torn_checkpoints(ground: Ground, *, offsets: int) -> Count:
    """Truncate and flip the newest checkpoint at many places: the one before it is used."""
    place = ground.place("sqlite", "torn")
    store = place.store()
    job = store.jobs.create(spec({**MINUTE, **CALM}, search_epochs=3))
    mishap = BreakIn("out of memory", "trial/0", after=2)
    Employee(place, "worker", job_id=job.id, mishap=mishap).join()
    store.close()
    folder = place.artifacts / job.id / "trials" / "0"
    newest = sorted(folder.glob("*/epoch-*.json"))[-1]
    aside = newest.rename(newest.with_suffix(".aside"))
    older = _loaded(folder)
    aside.rename(newest)
    dice, faults, wrong = random.Random(0), 0, int(older is None or _loaded(folder) == older)
    for path in (newest, newest.with_suffix(".safetensors")):
        whole = path.read_bytes()
        for offset in sorted(dice.sample(range(len(whole)), min(offsets, len(whole)))):
            flipped = bytearray(whole)
            flipped[offset] ^= 1 << dice.randrange(8)
            for torn in (whole[:offset], bytes(flipped)):
                path.write_bytes(torn)
                faults += 1
                wrong += _loaded(folder) != older
        path.write_bytes(whole)
    return Count(runs=1, faults=faults, errors=wrong)


def _loaded(folder: Path) -> Any:
    """Return the numbers of the checkpoint that would be used; they tell epochs apart."""
    loaded = load_checkpoint(folder)
    return None if loaded is None else loaded[1].numbers
