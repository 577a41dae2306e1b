"""What an earlier job's ensemble says of the training rows, for one network to learn from.

(G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network", arXiv
1503.02531.) Each row's soft label is from networks that had not seen it, so it is as unsure as they
are of new images; rows that no fold has left out keep their label alone.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from search.folds import ALL_ROWS
from search.predictions import OutOfFoldPredictions
from workers.files import JobFiles
from workers.fold_files import FoldFiles
from workers.landing_again import earlier_of, networks_of
from workers.training import Rows
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
    earlier, data = earlier_of(bench.store, bench.job), bench.data
    assert earlier.result is not None
    files, done = JobFiles(bench.files.root, earlier.id), networks_of(bench.store, earlier)
    rows = np.arange(len(data.train_labels))
    labels = np.zeros((len(rows), data.classes), dtype=np.float32)
    labels[rows, data.train_labels] = 1.0
    sums, shares = np.zeros_like(labels), np.zeros((len(rows), 1), dtype=np.float32)
    for member in earlier.result["members"]:
        predictions = OutOfFoldPredictions.empty(data.train_labels, data.classes)
        for task in done:
            if task.trial == member["trial"] and task.files is not None:
                path = FoldFiles(files.folder / task.files).predictions
                predicted = bench.folds.folds[task.fold].validation_rows
                predictions = predictions.with_fold(predicted, np.load(path, allow_pickle=False))
        known = predictions.covered
        sums[known] += member["weight"] * predictions.probabilities[known]
        shares[known] += member["weight"]
    known = shares[:, 0] > 0.0
    labels[known] *= 1.0 - TEACHING
    labels[known] += TEACHING * sums[known] / shares[known]
    return labels
