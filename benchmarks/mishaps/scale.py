"""Many workers and many trials: how much of the time is left for training."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from benchmarks.mishaps.counting import MINUTE, Count, settle, spec
from benchmarks.mishaps.diary import Diary, read
from benchmarks.mishaps.places import Backend, Ground, Place
from benchmarks.mishaps.staff import Employee
from search.store import StudyStore, WorkerIdentity
from spaces.limits import Complexity
from spaces.recipe import Candidate
from workers.epoch_report import EpochReport
from workers.training import Training

REPORTS = 10  # of a trial
TRIAL_SECONDS = 60.0
STEP_SECONDS = 0.5  # between two looks, as between two steps, whether the work must stop
COPIED = (
    "trial_params",
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_values",
    "trial_intermediate_values",
)


@dataclass(frozen=True, slots=True)
class Sleepy:
    """Simulated training: an epoch of a trial is a sleep, all that surrounds it is real.

    So many workers could not train on a few cores; a nap's checkpoint and report are real ones.
    """

    seconds: float

    def prepare(self, store: StudyStore, diary: Diary, place: Place) -> None:
        """Sleep from now on."""
        train = Training._train_epoch

        def sleep(training: Training, interrupt: Callable[[], None], *more: Any) -> EpochReport:
            lease = diary.lease
            if lease is None or "/trial/" not in lease.key:
                return train(training, interrupt, *more)
            begin = time.monotonic()
            while (left := begin + self.seconds - time.monotonic()) > 0.0:
                interrupt()
                time.sleep(min(left, STEP_SECONDS))
            diary.note("slept", owner=lease.owner, seconds=self.seconds, end=time.monotonic())
            epoch = len(training.curve) + 1
            training.schedule.step = round(training.schedule.total_steps * epoch / REPORTS)
            return EpochReport(
                epoch=epoch,
                images=len(training.rows.train_labels),
                train_loss=1.0 / epoch,
                train_accuracy=1.0 - 0.5 / epoch,
                train_seconds=self.seconds,
                validation_loss=1.0 / epoch,
                validation_accuracy=1.0 - 0.5 / epoch,
                validation_seconds=1e-3,
            )

        Training._train_epoch = sleep  # type: ignore[assignment, method-assign]


def utilisation(ground: Ground, *, workers: int, trials: int, seconds: float) -> Count:
    """Let many workers train sleeping trials; the share of their time that they slept.

    A worker's time is from its first trial's begin to its last trial's last report, so all that
    comes between two epochs or two trials is overhead: store, network, checkpoints.
    """
    place = ground.place("postgresql", f"scale-{workers}")
    store = place.store()
    changes = {"trials": trials, "search_epochs": REPORTS, "search_rows": 100}
    job = store.jobs.create(spec(MINUTE, **changes))
    nap = Sleepy(seconds / REPORTS)
    staff = [
        Employee(place, f"worker-{number}", job_id=job.id, mishap=nap) for number in range(workers)
    ]
    for worker in staff:
        worker.join()
    store.close()
    slept: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for entry in read(place.diary):
        if entry["kind"] == "slept":
            slept[entry["owner"]].append((entry["end"] - entry["seconds"], entry["end"]))
    total = sum(end - begin for naps in slept.values() for begin, end in naps)
    spans = sum(max(naps)[1] - min(naps)[0] for naps in slept.values())
    count = settle(place, faults=0, hits=0)
    return count.with_notes(
        utilisation=round(total / spans, 4), workers=len(slept), seconds_a_trial=seconds
    )


def store_share(ground: Ground, backend: Backend, *, trials: int, measured: int) -> Count:
    """Measure the store's time for a trial in a study of many, against a trial of a minute."""
    place = ground.place(backend, f"long-{backend}")
    store = place.store()
    job = store.jobs.create(spec(MINUTE, trials=trials + measured + 1, discard_after=1))
    _trial(store, job)
    store.close()
    _multiply(place.url, times=trials)
    store = place.store()
    begin = time.perf_counter()
    store.trials(job).records()
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    for _ in range(measured):
        _trial(store, job)
    seconds = (time.perf_counter() - begin) / measured
    count = len(store.trials(job).records())
    store.close()
    return Count(
        runs=1,
        trials_lost=trials + measured + 1 - count,
        notes={
            "trials": trials,
            "store_share_of_a_minute": round(seconds / TRIAL_SECONDS, 5),
            "first_read_share_of_a_minute": round(first / TRIAL_SECONDS, 5),
        },
    )


def _trial(store: StudyStore, job: Any) -> None:
    """Do all calls that a worker makes for a trial of a minute, training apart."""
    worker = WorkerIdentity(id="one", host="here", device="cpu")
    trials = store.trials(job)
    trials.running()
    store.leases.held(f"{job.id}/trial/")
    asking = store.leases.claim(f"{job.id}/trials", owner=worker.id)
    assert asking is not None
    with store.fenced(asking):
        store.jobs.get(job.id)
        trials.records()
        trial = trials.ask()
    store.leases.finish(asking)
    lease = store.leases.claim(f"{job.id}/trial/{trial.number}", owner=worker.id)
    assert lease is not None
    with store.fenced(lease):
        candidate = _candidate(trial, job)
        trials.describe(trial, candidate, Complexity(parameters=1, macs=1, activations=1))
        trials.equal(candidate)
        for epoch in range(1, REPORTS + 1):
            store.leases.renew(lease, progressed=True)
            trials.report(trial, epoch=epoch, score=0.5 + trial.number * 1e-6 + epoch * 1e-3)
        trials.describe_pace(trial, train=1e-3, predict=1e-3)
        trials.tell(trial, "complete", score=0.6, seconds=60.0, files="trials/0/1")
    store.leases.finish(lease)
    for _ in range(int(TRIAL_SECONDS)):
        store.beats.beat(worker, job.id, None)


def _candidate(trial: Any, job: Any) -> Candidate:
    return job.spec.space.suggest(trial, side=8, epochs=REPORTS)  # type: ignore[no-any-return]


def _multiply(url: str, *, times: int) -> None:
    """Add a study's only trial so many times again, with all that hangs on it."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    with engine.begin() as connection:
        trials = metadata.tables["trials"]
        trial = dict(connection.execute(sa.select(trials)).mappings().one())
        first = trial["trial_id"] + 1
        new = [{**trial, "trial_id": first + n, "number": n + 1} for n in range(times)]
        connection.execute(sa.insert(trials), new)
        for name in COPIED:
            table = metadata.tables[name]
            key = next(iter(table.primary_key)).name
            rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for row in rows:
                row.pop(key)
            many = [{**row, "trial_id": first + n} for n in range(times) for row in rows]
            if many:
                connection.execute(sa.insert(table), many)
        if engine.dialect.name == "postgresql":
            text = "SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), :last)"
            connection.execute(sa.text(text), {"last": first + times})
