"""What the finalists' folds say of the rows that they have left out, and how well."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search.calibration import as_scored, at_temperature, helpful_temperature
from search.combining import CrossFitted
from search.ensemble import member_name
from search.folds import Folds
from search.metrics import accuracy
from search.predictions import OutOfFoldPredictions, mean_log_loss
from search.score_errors import group_effect
from search.store import FoldTask
from workers.data import ImageData
from workers.files import JobFiles
from workers.fold_files import FoldFiles
from workers.workbench import Workbench

Predictions = dict[str, OutOfFoldPredictions]


class Judging(Protocol):
    """What predictions are read with: a workbench, or no more of it than this."""

    @property
    def data(self) -> ImageData:
        """The rows."""

    @property
    def folds(self) -> Folds:
        """How they were parted."""

    @property
    def files(self) -> JobFiles:
        """Where the predictions are."""


def fold_files(bench: Judging, task: FoldTask) -> FoldFiles:
    """Return the files of a fold that is done."""
    assert task.files is not None
    return FoldFiles(bench.files.folder / task.files)


def saved_predictions(bench: Judging, task: FoldTask) -> NDArray[np.float32]:
    """Return what a fold's network gave for the rows that it predicts (rows, classes)."""
    path = fold_files(bench, task).predictions
    array: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return array


def out_of_fold(bench: Judging, tasks: list[FoldTask]) -> Predictions:
    """Return what each finalist's folds say together of the training rows, by its name."""
    predictions: Predictions = {}
    for task in tasks:
        name = member_name(task.trial)
        current = predictions.get(name) or OutOfFoldPredictions.empty(
            bench.data.train_labels, bench.data.classes
        )
        rows = bench.folds.folds[task.fold].validation_rows
        predictions[name] = current.with_fold(rows, saved_predictions(bench, task))
    return predictions


def one_parting(bench: Judging, tasks: list[FoldTask]) -> list[FoldTask]:
    """Return the folds of one parting of the rows, so that one network judges each row.

    They are all, unless the rows are parted repeatedly.
    """
    kept, known = set[int](), np.array([], dtype=np.int64)
    for fold in sorted({task.fold for task in tasks}):
        rows = bench.folds.folds[fold].validation_rows
        if not len(np.intersect1d(rows, known)):
            kept.add(fold)
            known = np.concatenate([known, rows])
    return [task for task in tasks if task.fold in kept]


def left_out(bench: Judging, tasks: list[FoldTask]) -> list[NDArray[np.int64]]:
    """Return the rows that each fold has left out."""
    folds = sorted({task.fold for task in tasks})
    return [bench.folds.folds[fold].validation_rows for fold in folds]


def known_scores(
    bench: Workbench, predictions: Predictions, judged: CrossFitted, *, hottest: float
) -> dict[str, Any]:
    """Return the scores of finalists and of the model, before the test set is opened.

    Args:
        judged: what the model says of rows that have chosen nothing of it.
        hottest: the highest temperature that may be taken.
    """
    probabilities, targets = judged.probabilities, judged.targets
    members = sorted(predictions.items())
    groups = None if bench.folds.groups is None else bench.folds.groups[judged.rows]
    temperature = 1.0
    if bench.metric.task == "classification":
        seed = bench.seed("temperature")
        found = helpful_temperature(probabilities, targets, seed=seed, groups=groups)
        temperature = min(found, hottest)
    scored = as_scored(bench.metric, probabilities, temperature)
    scores = {
        "metric": bench.metric.name,
        "out_of_fold_score": bench.metric.score(targets, scored),
        "out_of_fold_rows": len(targets),
        "out_of_fold_of_members": {name: each.score(bench.metric) for name, each in members},
    }
    if groups is not None:
        scores["design_effect"] = group_effect(
            bench.metric, targets, scored, groups, seed=bench.seed("groups")
        )
    if bench.metric.task == "regression":
        return scores
    warmed = at_temperature(probabilities, temperature)
    return scores | {
        "out_of_fold_accuracy": accuracy(targets, probabilities),
        "out_of_fold_log_loss": mean_log_loss(probabilities, targets),
        "out_of_fold_log_loss_of_members": {name: each.log_loss() for name, each in members},
        "temperature": temperature,
        "out_of_fold_log_loss_at_temperature": mean_log_loss(warmed, targets),
    }
