"""A job as runs of an experiment tracker: one of the job, one of each trial that has ended."""

from dataclasses import dataclass
from typing import Any

from athanor.progress import Progress
from search.folds import JUDGING_FOLD
from search.job import Job
from search.metrics import METRICS
from search.store import FoldTask, StudyStore, TrialRecord
from spaces.errors import JobError
from workers.files import JobFiles
from workers.learning_curves import fold_curve, trial_curve

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told of a job or a trial.

    Attributes:
        parameters: what was chosen, before anything ran.
        figures: what came out, in the end.
        curves: by epoch.
        tags: words.
    """

    name: str
    parameters: dict[str, Any]
    figures: dict[str, float]
    curves: dict[str, Points]
    tags: dict[str, str]


def tracked_runs(store: StudyStore, job_id: str, *, files: JobFiles) -> list[TrackedRun]:
    """Return the job's run, then those of its trials, by number.

    Raises:
        JobError: there is no such job, or it has not begun.
    """
    progress = Progress.read(store, job_id)
    if progress.job.plan is None:
        raise JobError(f"only a job that has begun has runs, but {job_id} is {progress.job.state}")
    parameters = [t.params for t in store.trials(progress.job).study.get_trials(deepcopy=False)]
    trials = [
        _trial_run(record, parameters[record.number], progress, files)
        for record in progress.trials
        if not record.open
    ]
    return [_job_run(progress.job, progress.folds, files), *trials]


def _job_run(job: Job, tasks: list[FoldTask], files: JobFiles) -> TrackedRun:
    result, space = job.result or {}, job.spec.space.to_json()
    asked = job.spec.model_dump(mode="json", exclude_defaults=True)
    asked.pop("space", None)
    figures = {key: float(v) for key, v in result.items() if isinstance(v, (int, float))}
    figures |= {f"phase/{name}": begun for name, begun in job.phases.items()}
    figures |= {"seconds": job.seconds_used, "processor_seconds": job.processor_seconds}
    curves: dict[str, Points] = {}
    for task in tasks:
        if task.done and task.fold > JUDGING_FOLD:
            curve = fold_curve(task, files)
            curves[f"trial-{task.trial}/fold-{task.fold}/train_loss"] = curve.loss
            curves[f"trial-{task.trial}/fold-{task.fold}/validation"] = curve.score
    return TrackedRun(
        name=job.id,
        parameters={**asked, "space": space.get("kind", "cnn")},
        figures=figures,
        curves={name: points for name, points in curves.items() if points},
        tags={"state": job.state, "data": job.spec.data, "error": job.error or ""},
    )


def _trial_run(
    record: TrialRecord, parameters: dict[str, Any], progress: Progress, files: JobFiles
) -> TrackedRun:
    plan = progress.job.plan
    assert plan is not None
    curve = trial_curve(record, files)
    curves = {"train_loss": curve.loss, "train_accuracy": curve.accuracy, "validation": curve.score}
    figures = {
        METRICS[plan.metric].name: record.score,
        "standard_error": record.error,
        "parameters": record.parameters,
        "macs": record.macs,
        "latency": record.latency,
        "seconds": record.seconds,
    }
    network = "" if record.candidate is None else str(record.candidate.architecture)
    return TrackedRun(
        name=f"trial-{record.number}",
        parameters=parameters,
        figures={name: float(value) for name, value in figures.items() if value is not None},
        curves={name: points for name, points in curves.items() if points},
        tags={"state": record.state, "network": network, "note": record.note},
    )
