"""What a row of the table counts, and how it is counted once the dust has settled."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.mishaps.diary import epochs_repeated, read, reports_lost
from benchmarks.mishaps.places import Place
from search.job import Job
from search.job_spec import JobSpec
from search.store import StudyStore
from spaces.errors import AthanorError

SMALL: dict[str, Any] = {  # a search that takes a worker a few seconds
    "data": "digits",
    "trials": 6,
    "workers": 2,
    "folds": 3,
    "finalists": 1,
    "search_rows": 400,
    "search_epochs": 4,
    "validate_every": 1,
    "strategy": "random",
    "space": {"stages": [2, 2], "depth": [1, 1], "width": [8, 12]},
}
MINUTE: dict[str, Any] = {**SMALL, "trials": 2, "folds": 2, "search_epochs": 2, "discard_after": 0}


def spec(base: dict[str, Any], **changes: Any) -> JobSpec:
    """Return what is asked of a search."""
    return JobSpec.parse({**base, **changes})


@dataclass(frozen=True, slots=True)
class Count:
    """What happened in one or more runs; counts add up, the longest repetition counts.

    Attributes:
        faults: that were given.
        hits: faults that hit somebody who held unfinished work.
        takeovers: times that somebody went on with what another one had left.
        trials_lost: trials that were asked for and have not ended, or are missing.
        double_results: ended trials or folds that were changed, reports overwritten.
        epochs_repeated_max: epochs that a holder repeated of those before it, at most.
        late_writes: rows and files that count, changed by somebody who had lost the lease.
        reports_lost: reports acknowledged to a worker and not in the store.
        not_landed: jobs that did not end as done.
        errors: claims or calls that ended in an error nobody caught.
        notes: figures that this kind of run has alone; the largest of all runs.
    """

    runs: int = 0
    faults: int = 0
    hits: int = 0
    takeovers: int = 0
    trials_lost: int = 0
    double_results: int = 0
    epochs_repeated_max: int = 0
    late_writes: int = 0
    reports_lost: int = 0
    not_landed: int = 0
    errors: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def __add__(self, other: "Count") -> "Count":
        mine, theirs = asdict(self), asdict(other)
        notes = {**self.notes}
        for name, value in other.notes.items():
            notes[name] = max(notes[name], value) if name in notes else value
        repeated = max(self.epochs_repeated_max, other.epochs_repeated_max)
        sums = {
            name: mine[name] + theirs[name]
            for name in mine
            if name not in ("notes", "epochs_repeated_max")
        }
        return Count(**sums, epochs_repeated_max=repeated, notes=notes)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, done twice or written late, and all that was hit goes on."""
        wrong = (self.trials_lost, self.double_results, self.late_writes, self.reports_lost)
        gone = (self.not_landed, self.errors, self.hits - self.takeovers)
        return not any(wrong + gone) and self.epochs_repeated_max <= 1

    def with_notes(self, **notes: Any) -> "Count":
        """Return the same with more figures."""
        return replace(self, notes={**self.notes, **notes})


def settle(place: Place, *, faults: int, hits: int, late_writes: int = 0) -> Count:
    """Count what became of all jobs of a place, once nobody works there any more."""
    store = place.store()
    jobs = store.jobs.list()
    diary = read(place.diary)
    count = Count(
        runs=1,
        faults=faults,
        hits=hits,
        takeovers=len(place.audit().takeovers()),
        trials_lost=sum(_trials_lost(store, job) for job in jobs if job.state != "queued"),
        double_results=place.audit().double_results(),
        epochs_repeated_max=epochs_repeated(diary),
        late_writes=late_writes,
        reports_lost=reports_lost(diary, store),
        not_landed=sum(job.state == "failed" for job in jobs),
    )
    store.close()
    return count


def _trials_lost(store: StudyStore, job: Job) -> int:
    """Return how many trials are missing or open, once a job has landed."""
    if job.state != "done":
        return 0
    records = store.trials(job).records()
    ended = sum(record.state not in ("running", "waiting", "infeasible") for record in records)
    still = sum(record.state in ("running", "waiting") for record in records)
    return abs((job.spec.trials or ended) - ended) + still


def pending(store: StudyStore, key: str) -> bool:
    """Whether the work under a lease is still to be done."""
    job_id, kind, *numbers = key.split("/")
    try:
        job = store.jobs.get(job_id)
    except AthanorError:
        return False
    if kind == "trial":
        records = store.trials(job).records()
        return any(r.number == int(numbers[0]) and r.state == "running" for r in records)
    if kind == "fold":
        trial, fold = map(int, numbers)
        tasks = store.folds.all(job_id)
        return any(task.pending for task in tasks if (task.trial, task.fold) == (trial, fold))
    states = {"prepare": ("queued", "preparing"), "trials": ("searching",)}
    return job.state in states.get(kind, ("assembling",))


def held_by(place: Place, owner: str) -> list[str]:
    """Return the keys that a dead or stopped worker holds, whose work is still to be done."""
    store = place.store()
    last = {hold.key: hold for hold in place.audit().holds()}  # the last of each key
    keys = [hold.key for hold in last.values() if hold.owner == owner and not hold.ended]
    found = [key for key in keys if pending(store, key)]
    store.close()
    return found
