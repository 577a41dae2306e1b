"""Which networks a person means by ensemble, best, distilled or a trial's number."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from search.folds import ALL_ROWS, JUDGING_FOLD, Folds
from search.job import Job
from search.marks import Marks
from search.metrics import METRICS
from search.predictions import OutOfFoldPredictions
from search.score_errors import bootstrap_interval, group_effect, widened
from search.seeds import derived_seed
from search.store import FoldTask, StudyStore, TrialRecord
from spaces.errors import JobError
from workers.checkpoints import has_checkpoint
from workers.data import ImageData
from workers.files import JobFiles
from workers.fold_files import FoldFiles
from workers.folder_networks import fold_network, protocol_of, trial_network
from workers.model_folder import Manifest, NetworkEntry, library_versions, read_manifest

ENSEMBLE, BEST, DISTILLED = "ensemble", "best", "distilled"


@dataclass(frozen=True)
class JobToExport:
    """A job whose networks are to be exported, and the data that it was run on.

    Raises:
        JobError: it has no plan yet.
        DataError: the data are not those that it was planned with.
    """

    store: StudyStore
    job: Job
    root: Path
    data: ImageData

    def __post_init__(self) -> None:
        if self.job.plan is None:
            raise JobError(f"{self.job.id} must have been prepared, but is {self.job.state}")
        self.folds.check(self.data.train_fingerprint)

    @cached_property
    def folds(self) -> Folds:
        """How the job has parted the rows."""
        assert self.job.plan is not None
        return Folds.load(self.files.folds(self.job.plan.folds_hash))

    @property
    def files(self) -> JobFiles:
        """Where the job keeps its files."""
        return JobFiles(self.root, self.job.id)

    @cached_property
    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return self.store.trials(self.job).records()

    @cached_property
    def done(self) -> list[FoldTask]:
        """The folds on which finalists were trained, but for those of the race."""
        tasks = self.store.folds.all(self.job.id)
        return [task for task in tasks if task.done and task.fold != JUDGING_FOLD]

    @cached_property
    def trial_files(self) -> Path:
        """Where the job that searched keeps its trials."""
        job = self.job
        while job.spec.lands is not None:
            job = self.store.jobs.get(job.spec.lands)
        return JobFiles(self.root, job.id).folder


def write_networks(source: JobToExport, model: str, target: Path) -> Manifest:
    """Write the networks that `model` names into a folder; return what `model.json` will say.

    Args:
        model: ensemble, best, distilled, or the number of a trial.

    Raises:
        JobError: there are none, or their files are gone.
    """
    if model == ENSEMBLE:
        return _copied(source.job, source.files, target)
    if model == DISTILLED:
        job = _student(source)
        return _copied(job, JobFiles(source.root, job.id), target)
    if model == BEST:
        return _of_folds(source, [_best_fold(source)], target, final="best")
    if not model.isdecimal() or int(model) >= len(source.records):
        last = len(source.records) - 1
        raise JobError(
            f"--model must be {ENSEMBLE}, {BEST}, {DISTILLED} or a trial of 0 to {last}, "
            f"but got {model}"
        )
    return _of_trial(source, source.records[int(model)], target)


def best_trials(source: JobToExport, count: int) -> list[TrialRecord]:
    """Return the best trials that have networks to be exported, equal ones but once.

    Raises:
        JobError: there are fewer.
    """
    board = source.store.trials(source.job).leaderboard()
    known = [
        record for record in board if record.state != "copied" and _has_network(source, record)
    ]
    if len(known) < count:
        raise JobError(
            f"--top must be at most {len(known)}, the trials of {source.job.id} whose weights are "
            f"kept, but got {count}"
        )
    return known[:count]


def _has_network(source: JobToExport, record: TrialRecord) -> bool:
    if any(task.trial == record.number for task in source.done):
        return True
    if record.files is None:
        return False
    return has_checkpoint((source.trial_files / record.files).parent)


def _copied(job: Job, files: JobFiles, target: Path) -> Manifest:
    """Copy a job's own model, which was verified when it was made."""
    if job.state != "done" or job.result is None:
        raise JobError(f"only a job that is done has a model, but {job.id} is {job.state}")
    folder = files.folder / job.result["model"]
    if not folder.is_dir():
        raise JobError(f"the model of {job.id} must be at {folder}, but it is not there")
    manifest = read_manifest(folder)
    for entry in manifest.networks:
        shutil.copyfile(folder / entry.file, target / entry.file)
    return manifest


def _student(source: JobToExport) -> Job:
    """Return the last job that has distilled this one, or this one if it has distilled another."""
    if source.job.spec.distills is not None:
        return source.job
    students = [
        job
        for job in source.store.jobs.list()
        if job.spec.lands == source.job.id and job.spec.distills is not None and job.state == "done"
    ]
    if not students:
        raise JobError(
            f"{source.job.id} must have been distilled, but was not: "
            f"athanor distill {source.job.id} does it"
        )
    return students[0]


def _best_fold(source: JobToExport) -> FoldTask:
    """Return the single network with the best score on the rows that it has left out."""
    judged = [task for task in source.done if task.score is not None and task.fold != ALL_ROWS]
    if not judged:
        raise JobError(f"{source.job.id} must have finished a fold, but has not")
    return max(judged, key=lambda task: (task.score, -task.place, -task.fold))


def _of_trial(source: JobToExport, record: TrialRecord, target: Path) -> Manifest:
    """Write a finalist's networks, equally weighed, or what its training in the search has left."""
    mine = [task for task in source.done if task.trial == record.number]
    folds = [task for task in mine if task.fold != ALL_ROWS]
    if folds or mine:
        final = "bag" if len(folds) > 1 else "fold" if folds else "refit"
        return _of_folds(source, folds or mine, target, final=final)
    entry = trial_network(
        record,
        target,
        job=source.job,
        data=source.data,
        folds=source.folds,
        files=source.trial_files,
    )
    assert source.job.plan is not None
    scores = {
        "final": "search",
        "metric": source.job.plan.metric,
        "validation_score": record.score,
        "validation_rows": source.job.plan.validation_rows,
    }
    return _manifest(source, [entry], scores)


def _of_folds(source: JobToExport, tasks: list[FoldTask], target: Path, *, final: str) -> Manifest:
    entries = []
    for task in tasks:
        assert task.files is not None
        files = FoldFiles(source.files.folder / task.files)
        if not files.weights.exists():
            raise JobError(f"a network of trial {task.trial} must be at {files.folder}, but is not")
        weight = 1.0 / len(tasks)
        entry = fold_network(files, target, trial=task.trial, fold=task.fold, weight=weight)
        entries.append(entry)
    return _manifest(source, entries, {"final": final, **_out_of_fold(source, tasks)})


def _out_of_fold(source: JobToExport, tasks: list[FoldTask]) -> dict[str, Any]:
    """Return what networks score on the rows that each has left out, with intervals."""
    assert source.job.plan is not None
    metric = METRICS[source.job.plan.metric]
    judged = [task for task in tasks if task.fold != ALL_ROWS]
    if not judged:
        return {"metric": metric.name}
    predictions = OutOfFoldPredictions.empty(source.data.train_labels, source.data.classes)
    for task in judged:
        files = FoldFiles(source.files.folder / str(task.files))
        rows = source.folds.folds[task.fold].validation_rows
        predictions = predictions.with_fold(rows, np.load(files.predictions, allow_pickle=False))
    targets = predictions.targets[predictions.covered]
    said = predictions.probabilities[predictions.covered]
    groups = source.folds.groups
    own = None if groups is None else groups[predictions.covered]
    seed = derived_seed(source.job.spec.seed, "interval of an export")
    score, interval = (
        metric.score(targets, said),
        bootstrap_interval(metric, targets, said, seed=seed),
    )
    if own is not None:
        effect = group_effect(metric, targets, said, own, seed=seed)
        interval = widened(interval, score, effect=effect, highest=metric.highest)
    found: dict[str, Any] = {
        "metric": metric.name,
        "out_of_fold_score": score,
        "out_of_fold_interval": interval,
        "out_of_fold_rows": len(targets),
    }
    if metric.task == "classification":
        marks = Marks(said.argmax(1) == targets, own)
        found["out_of_fold_accuracy"] = marks.share
        found["out_of_fold_accuracy_interval"] = marks.interval
    return found


def _manifest(source: JobToExport, entries: list[NetworkEntry], scores: dict[str, Any]) -> Manifest:
    return Manifest(
        job=source.job.id,
        data=source.data.name,
        class_names=source.data.class_names,
        image_shape=source.data.image_shape,
        networks=tuple(entries),
        scores=scores,
        protocol=protocol_of(source.job, source.data, folds=source.folds),
        versions=library_versions(),
    )
