"""The rows on which a job's model was judged, read from the files of its folds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.calibration import as_scored
from search.ensemble import Ensemble, member_name
from search.folds import JUDGING_FOLD, Folds
from search.job import Job
from search.metrics import METRICS, Targets
from search.seeds import derived_seed
from search.stacking import Stack, fitted_stack
from search.store import FoldTask
from spaces.errors import StoreError
from workers.data import ImageData
from workers.files import JobFiles
from workers.out_of_fold import Judging, Predictions, one_parting, out_of_fold

TOLERANCE = 1e-6  # by which the score of the files may differ from the one in the store


@dataclass(frozen=True)
class Opened:
    """Data, folds and files of a job that nobody works on."""

    data: ImageData
    folds: Folds
    files: JobFiles


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """The rows on which a job's model was judged, and what was said of each.

    Attributes:
        rows: (n,) their ids among the training rows, ascending.
        targets: (n,).
        groups: (n,) of those that are right or wrong together; None: all stand for themselves.
        together: (n, classes or 1) what the ensemble says, before the temperature.
        each: the same of each finalist that was judged, by name.
    """

    rows: NDArray[np.int64]
    targets: Targets
    groups: NDArray[np.int64] | None
    together: NDArray[Any]
    each: Mapping[str, NDArray[Any]]


def open_job(job: Job, *, files: JobFiles, data: ImageData) -> Opened:
    """Read a planned job's folds.

    Raises:
        StoreError: they are missing or damaged.
        DataError: the data are not those that the job was run on.
    """
    assert job.plan is not None
    folds = Folds.load(files.folds(job.plan.folds_hash))
    folds.check(data.train_fingerprint)
    return Opened(data=data, folds=folds, files=files)


def judged_rows(job: Job, tasks: Sequence[FoldTask], opened: Judging) -> JudgedRows:
    """Read what a job that is done was judged by.

    Raises:
        StoreError: a file is missing, or the files have another score than the store.
    """
    assert job.result is not None and job.plan is not None
    judging = _judging(job.result, tasks)
    for counted in (judging, one_parting(opened, judging)):
        try:
            found = _read(job, counted, opened)
        except (OSError, ValueError) as failure:
            raise StoreError(f"the predictions of {job.id} must be readable: {failure}") from None
        metric, temperature = METRICS[job.plan.metric], job.result.get("temperature", 1.0)
        score = metric.score(found.targets, as_scored(metric, found.together, temperature))
        if _agrees(job.result, found, score):
            return found
    raise StoreError(
        f"the files of {job.id} must have the score in the store, "
        f"{_score_of_files(job.result)}, but have {score}"
    )


def _judging(result: Mapping[str, Any], tasks: Sequence[FoldTask]) -> list[FoldTask]:
    """Return the folds whose networks judged: those that all finalists with a score have."""
    names = result["out_of_fold_of_members"]
    done = [t for t in tasks if t.done and t.fold > JUDGING_FOLD and member_name(t.trial) in names]
    if result["final"] == "best":
        scored = [task for task in done if task.score is not None]
        return [max(scored, key=lambda task: (task.score, -task.fold))]
    trials = {task.trial for task in done}
    return [t for t in done if trials <= {o.trial for o in done if o.fold == t.fold}]


def _read(job: Job, tasks: list[FoldTask], opened: Judging) -> JudgedRows:
    assert job.result is not None
    predictions = out_of_fold(opened, tasks)
    rows = np.flatnonzero(np.logical_and.reduce([each.covered for each in predictions.values()]))
    each = {name: found.probabilities[rows] for name, found in predictions.items()}
    groups = opened.folds.groups
    return JudgedRows(
        rows=rows,
        targets=opened.data.train_labels[rows],
        groups=None if groups is None else groups[rows],
        together=combination_of(job, predictions).combine(each),
        each=each,
    )


def combination_of(job: Job, predictions: Predictions) -> Ensemble | Stack:
    """Return what made one prediction of a job's members: their weights, or the stack of them.

    Args:
        predictions: of at least the members, by name.
    """
    assert job.result is not None
    weights = {member_name(each["trial"]): each["weight"] for each in job.result["members"]}
    members = tuple(name for name in sorted(predictions) if name in weights)
    if is_stacked(job.result):
        return fitted_stack(predictions, members, seed=derived_seed(job.spec.seed, "ensemble"))
    return Ensemble(
        members=members,
        weights=tuple(weights[name] for name in members),
        score=job.result["out_of_fold_score"],
    )


def is_stacked(result: Mapping[str, Any]) -> bool:
    """Whether a job's model combines its members by a stack."""
    return bool((result.get("stacking") or {}).get("used"))


def _score_of_files(result: Mapping[str, Any]) -> float:
    """Return the score of the members together on all rows, those included that chose weights."""
    return float(result.get("fitted_score", result["out_of_fold_score"]))


def _agrees(result: Mapping[str, Any], found: JudgedRows, score: float) -> bool:
    same = math.isclose(score, _score_of_files(result), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return same and len(found.rows) == result["out_of_fold_rows"]
