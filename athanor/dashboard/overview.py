"""What the overview shows: jobs, workers, and one job in detail, as the store has them now."""

from collections import Counter
from dataclasses import dataclass, field

from athanor.doings import climb
from athanor.leaderboard import Leaderboard
from athanor.outlook import Outlook
from athanor.places import Places
from athanor.progress import Progress, phase_spans
from search.job import Job
from search.store import StudyStore, WorkerRecord

LATEST = 20  # jobs that have ended and are still shown


@dataclass(frozen=True, slots=True)
class JobCard:
    """How far a job is, and who works on it.

    Attributes:
        unfit: by worker, why it cannot.
    """

    progress: Progress
    outlook: Outlook
    workers: int
    unfit: dict[str, str]

    @property
    def job(self) -> Job:
        """The job itself."""
        return self.progress.job

    @property
    def states(self) -> list[tuple[str, int]]:
        """How many trials are in which state, the most frequent first."""
        return Counter(record.state for record in self.progress.trials).most_common()

    @property
    def climb(self) -> list[float]:
        """The best score after each trial that had one."""
        return climb(self.progress.trials)


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything, at one moment."""

    cards: list[JobCard] = field(default_factory=list)
    ended: list[Job] = field(default_factory=list)
    workers: list[WorkerRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class JobPage:
    """One job: how far it is, its leaderboard, what each phase took, and where to look further.

    Attributes:
        study: the number of its study in the Optuna dashboard, if it has one yet.
        report: whether one was written.
    """

    card: JobCard
    board: Leaderboard
    workers: list[WorkerRecord]
    phases: dict[str, float]
    study: int | None
    report: bool


class Watcher:
    """Reads the store for the pages."""

    def __init__(self, store: StudyStore, places: Places) -> None:
        self._store, self._places = store, places

    def overview(self) -> Overview:
        """Return all jobs and workers."""
        workers = self._store.beats.all()
        under_way = self._store.jobs.under_way()
        cards = [self._card(Progress.of(self._store, job), workers) for job in under_way]
        return Overview(cards, self._store.jobs.latest_ended(LATEST), workers)

    def job(self, job_id: str) -> JobPage:
        """Return a job's page; `JobError` if there is no such job."""
        progress = Progress.read(self._store, job_id)
        job, workers = progress.job, self._store.beats.all()
        numbers = {name: number for number, name in self._store.studies.names().items()}
        return JobPage(
            card=self._card(progress, workers),
            board=Leaderboard.read(self._store, progress),
            workers=[worker for worker in workers if worker.job_id == job.id],
            phases=phase_spans(job.phases),
            study=numbers.get(self._store.study_of(job)),
            report=self._places.files(job.id).report.is_file(),
        )

    def _card(self, progress: Progress, workers: list[WorkerRecord]) -> JobCard:
        job = progress.job
        return JobCard(
            progress=progress,
            outlook=Outlook.of(progress),
            workers=sum(worker.job_id == job.id for worker in workers),
            unfit={
                worker.id: worker.unfit[job.id]
                for worker in workers
                if job.id in worker.unfit and not job.ended
            },
        )
