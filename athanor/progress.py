"""How far a job is, in words."""

import itertools
from collections import Counter
from dataclasses import dataclass

from search.folds import JUDGING_FOLD
from search.job import Job
from search.metrics import score_text
from search.store import FoldTask, StudyStore, TrialRecord

PHASES = {
    "queued": "waiting for a worker",
    "preparing": "looking at data and host",
    "searching": "searching",
    "landing": "training the finalists",
    "assembling": "building and verifying the ensemble",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, read from the store at one moment."""

    job: Job
    trials: list[TrialRecord]
    folds: list[FoldTask]

    @classmethod
    def read(cls, store: StudyStore, job_id: str) -> "Progress":
        """Read a job's progress; a job that is not planned yet has no trials."""
        return cls.of(store, store.jobs.get(job_id))

    @classmethod
    def of(cls, store: StudyStore, job: Job) -> "Progress":
        """Read the progress of a job whose row has been read just now."""
        trials = store.trials(job).records() if store.has_study(job) else []
        folds = store.folds.all(job.id) if job.plan is not None else []
        return cls(job=job, trials=trials, folds=folds)

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial with the highest score, else the best of those still running."""
        scored = [record for record in self.trials if record.score is not None]
        return max(scored, key=lambda r: (r.finished, r.score or 0.0, -r.number), default=None)

    @property
    def folds_done(self) -> int:
        """How many finalists' folds have a result, those of a race apart."""
        return sum(task.done for task in self.networks)

    @property
    def networks(self) -> list[FoldTask]:
        """The folds that are trained or will be, those of a race apart."""
        wanted = [task for task in self.folds if task.done or task.pending]
        return [task for task in wanted if task.fold != JUDGING_FOLD]

    def phase(self) -> str:
        """Say what is going on."""
        paused = " (paused)" if self.job.paused and not self.job.ended else ""
        return f"{PHASES[self.job.state]}{paused}"

    def states(self) -> str:
        """Count the trials by state, in words."""
        counts = Counter(record.state for record in self.trials)
        infeasible = counts.pop("infeasible", 0)
        parts = ", ".join(f"{count} {state}" for state, count in counts.most_common())
        said = f"{counts.total()} trials ({parts})" if parts else "no trials yet"
        return f"{said}, and {infeasible} infeasible" if infeasible else said

    def folds_line(self) -> str:
        """Say how many folds are trained, or how far the race for them is."""
        race = [task for task in self.folds if task.fold == JUDGING_FOLD]
        if any(task.pending for task in race):
            return f"{sum(not task.pending for task in race)} of {len(race)} finalists raced"
        return f"{self.folds_done} of {len(self.networks)} folds" if self.folds else ""

    def budget_line(self) -> str:
        """Say how much of the budget is used."""
        used, budget = clock_text(self.job.seconds_used), self.job.spec.budget
        return used if budget is None else f"{used} of {clock_text(budget)}"

    def best_line(self) -> str:
        """Describe the best trial so far."""
        best = self.best
        if best is None or best.score is None or best.candidate is None:
            return ""
        size = f", {(best.parameters or 0) / 1e3:.0f} k parameters"
        return (
            f"{score_text(best.score)} (trial {best.number}: {best.candidate.architecture}{size})"
        )

    def line(self) -> str:
        """Say everything on one line, for logs."""
        folds, best = self.folds_line(), self.best_line()
        parts = [self.budget_line(), self.phase(), self.states(), folds]
        return " · ".join(part for part in [*parts, f"best {best}" if best else ""] if part)


def clock_text(seconds: float) -> str:
    """Write seconds as 9:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def phase_spans(begun: dict[str, float]) -> dict[str, float]:
    """Return what each phase that has ended took, by what had been used at its beginning."""
    order = [name for name in PHASES if name in begun]
    return {before: begun[after] - begun[before] for before, after in itertools.pairwise(order)}
