"""A job that lands an earlier one's trials once more: its plan, finalists, finished folds."""

import shutil
import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from search.durable import make_folder
from search.finalists import best_trials, trained_trials
from search.folds import ALL_ROWS, JUDGING_FOLD, Folds
from search.job import Job
from search.store import FoldTask, Lease, StudyStore, TrialRecord
from spaces.errors import JobError, JobFailed
from workers.contenders import contenders
from workers.data import ImageData
from workers.files import JobFiles, new_folder
from workers.fold_files import FoldFiles
from workers.host_speed import host_speed
from workers.workbench import Workbench


def prepare_landing(
    store: StudyStore,
    job: Job,
    *,
    data: ImageData,
    files: JobFiles,
    cache: Path,
    progress: Callable[[str], None],
    workers: int | None = None,
) -> None:
    """Write a plan that is the earlier job's but for what is made of its trials.

    Args:
        workers: for how many it is, where the job does not say.

    Raises:
        JobError: there is no such job, it has no folds that were finished, or other data; or they
            are those of a student, and this is to be none.
    """
    earlier, spec = earlier_of(store, job), job.spec.shared_by(workers)
    plan = earlier.plan
    if earlier.state != "done" or plan is None:
        raise JobError(
            f"only a job that is done can be landed, but {earlier.id} is {earlier.state}"
        )
    if earlier.spec.distills is not None and spec.distills is None:
        raise JobError(
            f"only a search can be landed otherwise, but {earlier.id} has distilled "
            f"{earlier.spec.lands}: what its networks were taught is no measure of others"
        )
    if plan.data_fingerprint != data.train_fingerprint:
        raise JobError(f"{earlier.id} was run on other rows than {spec.data} has now")
    folds = Folds.load(JobFiles(files.root, earlier.id).folds(plan.folds_hash))
    make_folder(files.folder)
    folds.save(files.folds(folds.hash))
    done = networks_of(store, earlier)
    known = len(trained_trials(earlier, done, final=spec.final))
    count = spec.folds or max(task.fold for task in done)
    if count > len(folds.folds) - 1:
        raise JobError(
            f"folds must be at most {len(folds.folds) - 1}, as {earlier.id} has split its rows, "
            f"but got {count}"
        )
    if spec.distills is not None:
        able = {record.number for record in store.trials(job).records() if record.finished}
        able |= {task.trial for task in done}  # also one that the search's end has interrupted
        _check_distillation(data, able, student=spec.distills)
    speed, device = host_speed(cache=cache, progress=progress, workers=spec.worker_count)
    finalists = 1 if spec.distills is not None else spec.finalists or known
    progress(f"landing trials of {earlier.id}: {len(done)} of its networks are kept")
    changes = {
        "device": device.to_json(),
        "speed": speed,
        "threads": torch.get_num_threads(),
        "workers": spec.worker_count,
        "search_seconds": 0.0,
        "finalists": finalists,
        "survivors": finalists,
        "folds": count,
        "final": spec.final or ("refit" if plan.refit else "bag"),
        "finalist_epochs": round(statistics.fmean(_epochs(task) for task in done)) or 1,
        "finalist_images": _images_of(done),
    }
    store.jobs.set_plan(job.id, plan.model_copy(update=changes))


def _check_distillation(data: ImageData, able: set[int], *, student: int) -> None:
    if data.task == "regression":
        raise JobError(f"an ensemble of classes can be distilled, but {data.name} has numbers")
    if student not in able:
        raise JobError(f"a student must be a finished trial of {sorted(able)}, but got {student}")


def earlier_of(store: StudyStore, job: Job) -> Job:
    """Return the job whose trials one lands."""
    assert job.spec.lands is not None
    return store.jobs.get(job.spec.lands)


def _epochs(task: FoldTask) -> float:
    assert task.report is not None
    return float(task.report["epochs"])


def _images_of(done: list[FoldTask]) -> dict[int, int]:
    """Return how many images a network of each trial has seen; of folds that differ, the most."""
    seen: defaultdict[int, list[int]] = defaultdict(list)
    for task in done:
        assert task.report is not None
        seen[task.trial].append(task.report["images"])
    return {trial: max(images) for trial, images in seen.items()}


def networks_of(store: StudyStore, earlier: Job) -> list[FoldTask]:
    """Return the folds of a job whose networks another one can use.

    Raises:
        JobError: there are none.
    """
    done = [t for t in store.folds.all(earlier.id) if t.done and t.fold > JUDGING_FOLD]
    if not done:
        raise JobError(f"only finished folds can be landed again, but {earlier.id} has none")
    return done


def finalists_again(bench: Workbench) -> list[TrialRecord]:
    """Return those that the earlier job has trained on folds, then the best other trials."""
    records = bench.trials.records()
    if bench.job.spec.distills is not None:
        return [records[bench.job.spec.distills]]
    earlier = earlier_of(bench.store, bench.job)
    done = networks_of(bench.store, earlier)
    trained = trained_trials(earlier, done, final=bench.job.spec.final)
    first = [records[number] for number in trained]
    board, prior = contenders(bench)
    known = {record.number for record in first}
    others = [r for r in board if r.state == "complete" and r.number not in known]
    if others:
        rows = bench.plan.validation_rows
        others = best_trials(
            others, count=len(others), prior=prior, with_prior=False, validation_rows=rows
        )
    return [*first, *others][: bench.plan.survivors]


def keep_finished_folds(bench: Workbench, lease: Lease) -> None:
    """Take over what the earlier job has trained; networks of all rows unless these are asked for.

    A student is trained anew, as it learns from other labels.
    """
    spec = bench.job.spec
    if spec.distills is not None:
        return
    earlier = earlier_of(bench.store, bench.job)
    theirs = JobFiles(bench.files.root, earlier.id)
    done = {(task.trial, task.fold): task for task in networks_of(bench.store, earlier)}
    if spec.final is None:
        refits = [t for t in bench.store.folds.all(earlier.id) if t.done and t.fold == ALL_ROWS]
        done |= {(task.trial, task.fold): task for task in refits}
    for task in bench.store.folds.all(bench.job.id):
        known = done.get((task.trial, task.fold))
        if known is None or not task.pending:
            continue
        assert known.files is not None and known.report is not None
        folder = bench.files.finalist(task.trial, task.fold) / str(lease.fence)
        source = FoldFiles(theirs.folder / known.files)
        if not source.weights.exists():
            raise JobFailed(f"the networks of {earlier.id} must be at {theirs.folder}, but are not")
        bench.write(partial(_copy, source, folder))
        bench.store.folds.record(
            task, files=bench.files.relative(folder), score=known.score, report=known.report
        )


def _copy(source: FoldFiles, folder: Path) -> None:
    with new_folder(folder, replace=True) as staging:
        for file in (source.weights, source.predictions, source.meta):
            shutil.copyfile(file, staging / file.name)
