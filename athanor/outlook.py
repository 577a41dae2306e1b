"""What is still to come of a job, by what it has taken so far."""

from dataclasses import dataclass

from athanor.progress import Progress, clock_text
from search.job import Job

LEAST_TRIALS = 2  # that have ended, before their pace says anything


@dataclass(frozen=True, slots=True)
class Outlook:
    """An estimate; None is what nobody can know yet.

    Attributes:
        trials: that the search will still run, about.
        folds: that are still to be trained.
        phase_seconds: until the phase ends.
        seconds: until the job ends.
    """

    trials: int | None = None
    folds: int | None = None
    phase_seconds: float | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, progress: Progress) -> "Outlook":
        """Look ahead from what the store says now."""
        job = progress.job
        left = None if job.spec.budget is None else max(0.0, job.spec.budget - job.seconds_used)
        if job.state == "searching":
            trials, seconds = _search(progress)
            return cls(trials=trials, phase_seconds=seconds, seconds=left)
        if job.state == "landing":
            folds, seconds = _landing(progress)
            return cls(folds=folds, phase_seconds=seconds, seconds=left)
        return cls(seconds=None if job.ended else left)

    def text(self) -> str:
        """Say it in words; an empty text if there is nothing to say."""
        parts = []
        if self.trials == 0:
            parts.append("no further trial")
        elif self.trials is not None:
            parts.append(f"about {self.trials} more trial{'s' if self.trials != 1 else ''}")
        if self.folds is not None:
            parts.append(f"{self.folds} more fold{'s' if self.folds != 1 else ''}")
        if parts and self.phase_seconds:
            parts[-1] += f" in {clock_text(self.phase_seconds)}"
        if self.seconds is not None:
            parts.append(f"all done within {clock_text(self.seconds)}")
        return ", ".join(parts)


def _search(progress: Progress) -> tuple[int | None, float | None]:
    """Return how many trials are to come, and in how many seconds."""
    job, spec = progress.job, progress.job.spec
    counted = [record for record in progress.trials if record.state != "infeasible"]
    ended = sum(not record.open for record in counted)
    pace = ended / _spent(job, "searching") if ended >= LEAST_TRIALS else None
    wanted = None if spec.trials is None else max(0, spec.trials - ended)
    end = None if job.plan is None else job.plan.search_seconds
    if end is None:
        return wanted, None if pace is None or wanted is None else wanted / pace
    seconds = max(0.0, end - job.seconds_used)
    if pace is None:
        return wanted, seconds
    if wanted is not None and wanted < pace * seconds:
        return wanted, wanted / pace
    return round(pace * seconds), seconds


def _landing(progress: Progress) -> tuple[int, float | None]:
    """Return how many folds are to come, and in how many seconds."""
    job, folds = progress.job, progress.folds
    pending = sum(task.pending for task in folds)
    ended = len(folds) - pending
    if ended < LEAST_TRIALS:
        return pending, None
    return pending, pending * _spent(job, "landing") / ended


def _spent(job: Job, phase: str) -> float:
    """Return for how many seconds a job has been in a phase, at least one."""
    return max(1.0, job.seconds_used - job.phases.get(phase, 0.0))
