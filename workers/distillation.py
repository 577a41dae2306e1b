"""What an earlier job's ensemble says of the training rows, for one network to learn from.

(G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network", arXiv
1503.02531.) Each row's soft label is from networks that had not seen it, so it is as unsure as they
are of new images; rows that no fold has left out keep their label alone.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.calibration import as_scored
from search.ensemble import member_name
from search.folds import ALL_ROWS, JUDGING_FOLD
from search.job import Job
from search.predictions import OutOfFoldPredictions
from search.store import FoldTask
from workers.files import JobFiles
from workers.judged_rows import Opened, combination_of, is_stacked
from workers.landing_again import earlier_of, networks_of
from workers.out_of_fold import out_of_fold
from workers.rows import Rows
from workers.workbench import Workbench

TEACHING = 0.7  # of a soft label that is the ensemble's; the rest is the label's


def taught(bench: Workbench, rows: Rows, *, fold: int) -> Rows:
    """Return a fold's rows with soft labels, if the job distills an ensemble."""
    if bench.job.spec.distills is None:
        return rows
    every = soft_labels(bench)
    numbers = slice(None) if fold == ALL_ROWS else bench.folds.folds[fold].train_rows
    return replace(rows, soft_labels=every[numbers])


def soft_labels(bench: Workbench) -> NDArray[np.float32]:
    """Return what each training row of the data should be predicted as (rows, classes)."""
    said, data = said_out_of_fold(bench), bench.data
    rows = np.arange(len(data.train_labels))
    labels = np.zeros((len(rows), data.classes), dtype=np.float32)
    labels[rows, data.train_labels] = 1.0
    known = said.covered
    labels[known] = (1.0 - TEACHING) * labels[known] + TEACHING * said.probabilities[known]
    return labels


def said_out_of_fold(bench: Workbench) -> OutOfFoldPredictions:
    """Return what the earlier job's ensemble says of each row that its folds have left out.

    Of rows that only some members have left out, these speak, by their weights.
    """
    earlier = earlier_of(bench.store, bench.job)
    assert earlier.result is not None
    files = JobFiles(bench.files.root, earlier.id)
    shares = {member_name(each["trial"]): each["weight"] for each in earlier.result["members"]}
    opened = Opened(data=bench.data, folds=bench.folds, files=files)
    each = out_of_fold(opened, _teachers(bench, earlier))
    covered = np.stack([found.covered for found in each.values()])
    weights = np.array([[shares[name]] for name in each]) * covered
    said = sum(
        weight[:, None] * np.nan_to_num(found.probabilities)
        for weight, found in zip(weights, each.values(), strict=True)
    )
    some, every = covered.any(axis=0), covered.all(axis=0)
    said[some] /= weights.sum(axis=0)[some, None]
    if is_stacked(earlier.result):
        all_say = {name: found.probabilities[every] for name, found in each.items()}
        said[every] = combination_of(earlier, each).combine(all_say)
    together = OutOfFoldPredictions.empty(bench.data.train_labels, bench.data.classes)
    return together.with_fold(np.flatnonzero(some), said[some])


def teacher_of(bench: Workbench) -> dict[str, Any]:
    """Say what the ensemble reached on the rows that judge its student."""
    earlier, said = earlier_of(bench.store, bench.job), said_out_of_fold(bench)
    tasks = [task for task in bench.store.folds.all(bench.job.id) if task.done]
    folds = {task.fold for task in tasks if task.fold > JUDGING_FOLD}
    judged = [bench.folds.folds[fold].validation_rows for fold in sorted(folds)]
    rows = np.intersect1d(np.concatenate(judged), np.flatnonzero(said.covered))
    result = earlier.result or {}
    told = as_scored(bench.metric, said.probabilities[rows], result.get("temperature", 1.0))
    score = bench.metric.score(said.targets[rows], told) if len(rows) else None
    networks = len(_teachers(bench, earlier))
    return {"job": earlier.id, "networks": networks, "score": score, "rows": len(rows)}


def _teachers(bench: Workbench, earlier: Job) -> list[FoldTask]:
    """Return the folds of the ensemble's trials: the networks that had not seen some row."""
    assert earlier.result is not None
    trials = {each["trial"] for each in earlier.result["members"]}
    done = networks_of(bench.store, earlier)
    return [task for task in done if task.files is not None and task.trial in trials]
