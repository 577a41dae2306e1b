"""What an earlier job's ensemble says of the training rows, for one network to learn from.

(G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network", arXiv
1503.02531.) Each row's soft label is from networks that had not seen it, so it is as unsure as they
are of new images; rows that no fold has left out keep their label alone.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.folds import ALL_ROWS, JUDGING_FOLD
from search.predictions import OutOfFoldPredictions
from workers.files import JobFiles
from workers.fold_files import FoldFiles
from workers.landing_again import earlier_of, networks_of
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
    """Return what the earlier job's ensemble says of each row that its folds have left out."""
    earlier, data = earlier_of(bench.store, bench.job), bench.data
    assert earlier.result is not None
    files, members = JobFiles(bench.files.root, earlier.id), earlier.result["members"]
    done = networks_of(bench.store, earlier)
    together = OutOfFoldPredictions.empty(data.train_labels, data.classes)
    for fold in sorted({task.fold for task in done}):
        weights, said = [], []
        for member in members:
            for task in done:
                if (task.trial, task.fold) == (member["trial"], fold) and task.files is not None:
                    path = FoldFiles(files.folder / task.files).predictions
                    said.append(np.load(path, allow_pickle=False))
                    weights.append(member["weight"])
        if said:
            rows = bench.folds.folds[fold].validation_rows
            together = together.with_fold(rows, np.average(said, axis=0, weights=weights))
    return together


def teacher_of(bench: Workbench) -> dict[str, Any]:
    """Say what the ensemble reached on the rows that judge its student."""
    earlier, said = earlier_of(bench.store, bench.job), said_out_of_fold(bench)
    tasks = [task for task in bench.store.folds.all(bench.job.id) if task.done]
    folds = {task.fold for task in tasks if task.fold > JUDGING_FOLD}
    judged = [bench.folds.folds[fold].validation_rows for fold in sorted(folds)]
    rows = np.intersect1d(np.concatenate(judged), np.flatnonzero(said.covered))
    score = bench.metric.score(said.targets[rows], said.probabilities[rows]) if len(rows) else None
    networks = (earlier.result or {}).get("networks")
    return {"job": earlier.id, "networks": networks, "score": score, "rows": len(rows)}
