"""The rows of the table: which fault, how often, on which store."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.mishaps.breaks import hangs, poison, torn_checkpoints
from benchmarks.mishaps.claims import claimed_at_once
from benchmarks.mishaps.counting import Count
from benchmarks.mishaps.kills import all_killed, killed_at_claim, random_kills
from benchmarks.mishaps.outages import clock_ahead, disk_full, out_of_reach, server_restarts
from benchmarks.mishaps.places import BACKENDS, Backend, Ground
from benchmarks.mishaps.plain_optuna import claimed_at_once as claimed_from_optuna
from benchmarks.mishaps.plain_optuna import plain_optuna
from benchmarks.mishaps.ray_tune import ray_tune
from benchmarks.mishaps.scale import store_share, utilisation
from benchmarks.mishaps.slots import ray_slots_killed
from benchmarks.mishaps.stops import all_points, some_points

AT_ONCE = 4  # runs side by side that mostly wait for a lease to expire
EVERY = 8  # points at which workers are stopped: a job has some 480, each takes 5 seconds
OUTAGE_SECONDS = 60.0

Run = Callable[[Ground], Count]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; `number` is the same for a fault whoever meets it, wherever."""

    number: int
    what: str
    store: str
    run: Run


def _many(runs: Iterable[Run], *, at_once: int = 1) -> Run:
    """Return a run of several, side by side, whose counts add up."""
    all_of_them = list(runs)

    def run(ground: Ground) -> Count:
        with ThreadPoolExecutor(at_once) as pool:
            return sum(pool.map(lambda each: each(ground), all_of_them), Count())

    return run


def quick() -> list[Row]:
    """Return rows that take less than a minute, a few at a time."""
    rows = []
    for backend in BACKENDS:
        points = partial(some_points, backend=backend, points=(26, 45))
        claims = partial(killed_at_claim, backend=backend, number=0, keys=("trial/1", "/2"))
        kills = partial(random_kills, backend=backend, seed=0, kills=6, workers=2, trials=4)
        claimers = (12, 36) if backend == "postgresql" else (8, 24)
        rows += [
            Row(3, "asleep past the lease", backend, points),
            Row(2, "killed between claim and first renewal", backend, claims),
            Row(1, "kill -9 at random points", backend, kills),
            Row(9, "claims at once", backend, _claims(backend, *claimers)),
        ]
    return sorted(rows, key=lambda row: (3, 2, 1, 9).index(row.number))  # the longest first


def _claims(backend: Backend, claimers: int, trials: int) -> Run:
    return partial(claimed_at_once, backend=backend, claimers=claimers, trials=trials)


def full() -> list[Row]:
    """Return all rows of Athanor."""
    rows = []
    for backend in BACKENDS:
        killed = [partial(random_kills, backend=backend, seed=s, kills=20) for s in range(10)]
        claims = [partial(killed_at_claim, backend=backend, number=n) for n in range(2)]
        points = partial(all_points, backend=backend, at_once=AT_ONCE, every=EVERY)
        hung = [partial(hangs, backend=backend, number=n) for n in range(3)]
        broken = [partial(poison, backend=backend, kind=k) for k in ("segfault", "out of memory")]
        ended = [
            partial(all_killed, backend=backend, number=n, moment=m)
            for n, m in enumerate((1, 6, 12, 18))
        ]
        claimers = (64, 1000) if backend == "postgresql" else (8, 500)
        rows += [
            Row(1, "kill -9 at 20 random points of a job", backend, _many(killed)),
            Row(
                2,
                "killed between claim and first renewal",
                backend,
                _many(claims, at_once=2),
            ),
            Row(3, f"asleep past the lease, every {EVERY}th point", backend, points),
            Row(4, "an epoch never ends", backend, _many(hung, at_once=AT_ONCE)),
            Row(5, "a trial kills its workers", backend, _many(broken)),
            Row(9, "claims at once", backend, _claims(backend, *claimers)),
            Row(10, "everything killed at once", backend, _many(ended, at_once=2)),
        ]
    rows += [
        Row(6, "server restarted twice", "postgresql", partial(server_restarts, seconds=1.0)),
        Row(
            6,
            "server gone for a minute",
            "postgresql",
            partial(server_restarts, seconds=OUTAGE_SECONDS),
        ),
        Row(
            6,
            "server out of reach for a minute",
            "postgresql",
            partial(out_of_reach, seconds=OUTAGE_SECONDS),
        ),
        Row(7, "disk full in a checkpoint", "sqlite", partial(disk_full, what="checkpoints")),
        Row(7, "disk full in a commit", "sqlite", partial(disk_full, what="commits")),
        Row(
            7,
            "disk full in a commit",
            "postgresql",
            partial(disk_full, what="commits", backend="postgresql"),
        ),
        Row(8, "torn checkpoints", "files", partial(torn_checkpoints, offsets=100)),
        Row(
            11,
            "Ray slots killed",
            "sqlite",
            _many(partial(ray_slots_killed, kills=6, seed=s) for s in range(2)),
        ),
        Row(12, "a clock an hour ahead", "postgresql", clock_ahead),
    ]
    return sorted(rows, key=lambda row: row.number)


def scale() -> list[Row]:
    """Return what is measured with many workers, and in a long study."""
    many = partial(utilisation, workers=32, trials=64, seconds=60.0)
    rows = [Row(13, "32 workers, trials of a minute, ten reports each", "postgresql", many)]
    for backend in BACKENDS:
        share = partial(store_share, backend=backend, trials=10_000, measured=20)
        rows.append(Row(14, "a study of 10,000 trials", backend, share))
    return rows


def rivals() -> list[Row]:
    """Return the same faults for plain Optuna and for Ray Tune with OptunaSearch."""
    rows = []
    faults: dict[int, Any] = {
        0: "none",
        1: "random kills",
        2: "killed at claim",
        3: "stopped",
        4: "hang",
        5: "poison",
        10: "all killed",
    }
    for number, fault in faults.items():
        for backend in BACKENDS:
            runs = range(3) if number == 1 else range(1)
            kills = 20 if number == 1 else 0
            optuna = [
                partial(plain_optuna, backend=backend, fault=fault, seed=s, kills=kills)
                for s in runs
            ]
            rows.append(Row(number, fault, f"Optuna, {backend}", _many(optuna)))
        if number != 2:  # its driver claims for all
            tune = partial(ray_tune, fault=fault, seed=0, kills=20 if number == 1 else 0)
            rows.append(Row(number, fault, "Ray Tune", tune))
    restart = partial(plain_optuna, backend="postgresql", fault="database restart", seed=0, kills=0)
    rows.append(Row(6, "database restart", "Optuna, postgresql", restart))
    for backend, claimers, trials in (("sqlite", 8, 500), ("postgresql", 64, 1000)):
        claims = partial(claimed_from_optuna, backend=backend, claimers=claimers, trials=trials)
        rows.append(Row(9, "claims at once", f"Optuna, {backend}", claims))
    return sorted(rows, key=lambda row: row.number)
