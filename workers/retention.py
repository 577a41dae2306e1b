"""Which files of a job stay; the others are removed as soon as nobody can need them.

While it is worked on, a trial or fold keeps its two newest checkpoints. Afterwards

    a complete trial        keeps its last checkpoint and its predictions
    a finished fold         keeps weights, predictions and how it was trained
    any other               keeps nothing
    a model                 stays where it is: one folder, that of the holder who finished it

When a job is assembled, only its best trials and its finalists keep their checkpoints. What the
holder of a fence removes was written under this fence or before: a later holder's files are not
for it to judge, and an earlier one's can count no more.
"""

import shutil
from pathlib import Path

from search.store import FoldTask, Lease
from search.store.records import TrialRecord
from workers.checkpoints import fence_of, remove_older
from workers.files import JobFiles
from workers.workbench import Workbench

ANY_FENCE = 1 << 62  # none is as large
KEPT_TRIALS = 10  # best trials of a job that keep a checkpoint after its landing


def tidy(all_fences: Path, *, until: int, keep: Path | None = None, checkpoints: int = 0) -> None:
    """Remove what holders up to a fence left of a trial or fold that has ended.

    Args:
        keep: the folder that counts; of its checkpoints so many of the newest stay.
    """
    for folder in all_fences.glob("*"):
        if folder != keep and fence_of(folder) <= until:
            shutil.rmtree(folder, ignore_errors=True)
    if keep is not None:
        remove_older(keep, kept=checkpoints)
        for unfinished in keep.glob(".*.tmp"):
            unfinished.unlink(missing_ok=True)


def tidy_job(bench: Workbench) -> None:
    """Remove what nobody needs once all trials and folds have ended."""
    records = bench.trials.records()
    tasks = bench.store.folds.all(bench.job.id)
    best = {record.number for record in bench.trials.leaderboard()[:KEPT_TRIALS]}
    best |= {task.trial for task in tasks}
    for record in records:
        _tidy_trial(bench.files, record, checkpoints=int(record.number in best))
    for task in tasks:
        _tidy_fold(bench.files, task)


def tidy_models(files: JobFiles, lease: Lease) -> None:
    """Remove models, whole or not, of those who assembled before the holder of this lease."""
    for path in files.model(lease.fence).parent.glob("*"):
        fence = path.name.lstrip(".").partition(".")[0]
        if not fence.isdigit() or int(fence) >= lease.fence:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _tidy_trial(files: JobFiles, record: TrialRecord, *, checkpoints: int) -> None:
    counts = record.state == "complete" and record.files is not None
    keep = files.folder / str(record.files) if counts else None
    tidy(files.trial(record.number), until=ANY_FENCE, keep=keep, checkpoints=checkpoints)


def _tidy_fold(files: JobFiles, task: FoldTask) -> None:
    keep = files.folder / task.files if task.files is not None else None
    tidy(files.finalist(task.trial, task.fold), until=ANY_FENCE, keep=keep)
