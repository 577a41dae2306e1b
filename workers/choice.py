"""What the model folder will hold: which of the finalists' networks, and with which weights."""

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.calibration import at_temperature, helpful_temperature
from search.ensemble import Ensemble
from search.estimate import Estimate, estimate
from search.folds import ALL_ROWS, JUDGING_FOLD
from search.metrics import Targets, accuracy
from search.plan import Final
from search.predictions import OutOfFoldPredictions, mean_log_loss
from search.selection import WITHIN, greedy_selection
from search.store import FoldTask
from spaces.errors import JobFailed
from workers.ensemble_limits import ensemble_limits
from workers.fold_files import FoldFiles
from workers.landing import race_of
from workers.workbench import Workbench

Predictions = dict[str, OutOfFoldPredictions]


@dataclass(frozen=True, eq=False)
class Choice:
    """Networks, and what is known of them before the test set is opened.

    Attributes:
        networks: the finalists' folds whose networks are kept.
        shares: of each of their trials in the ensemble, by number; their sum is 1.
        scores: for the job's result; those out of fold are of networks that had not seen the rows.
    """

    networks: list[FoldTask]
    shares: dict[int, float]
    scores: dict[str, Any]


def choose(bench: Workbench) -> Choice:
    """Choose networks by what they say of the rows that they have left out.

    Raises:
        JobFailed: no fold was finished.
    """
    tasks = _counting_folds(bench)
    predictions = _out_of_fold(bench, tasks)
    limits = ensemble_limits(bench, tasks)
    folds = len({task.fold for task in tasks}) if bench.plan.final == "bag" else 1
    each = limits.networks_each(folds)
    taken = {member_name(trial): limits.shares(trial, each) for trial in limits.costs}
    ensemble = greedy_selection(
        predictions=predictions,
        metric=bench.metric,
        seed=bench.seed("ensemble"),
        shares=taken,
    )
    within = [task for task in tasks if max(taken[member_name(task.trial)], default=0.0) <= WITHIN]
    final, networks, shares = _kept(bench, within, ensemble)
    if limits.limits:
        networks = [task for task in networks if _rank(task, networks) < each]
    if final != "bag" or each < folds:  # networks that are fewer than judge each row
        tasks = _one_parting(bench, tasks)
        predictions = _out_of_fold(bench, tasks)
    expected = _expected(bench, tasks, predictions, taken, better=final != "best")
    if final == "best":
        ensemble, predictions = _alone(bench, networks[0])
    probabilities, targets = _together(bench, predictions, ensemble)
    members = sorted(predictions.items())
    scores = {
        "final": final,
        "metric": bench.metric.name,
        "out_of_fold_score": bench.metric.score(targets, probabilities),
        "out_of_fold_rows": len(targets),
        "out_of_fold_of_members": {name: each.score(bench.metric) for name, each in members},
        "expected": asdict(expected),
    }
    if limits.limits:
        scores["limits"], scores["costs"] = dict(limits.limits), limits.total(networks)
    if bench.metric.task == "regression":
        return Choice(networks=networks, shares=shares, scores=scores)
    temperature = helpful_temperature(probabilities, targets, seed=bench.seed("temperature"))
    if final == "bag" and len(networks) > len(shares):
        # a mean of networks is less sure than each of them, by which it was measured
        temperature = min(temperature, 1.0)
    warmed = at_temperature(probabilities, temperature)
    scores |= {
        "out_of_fold_accuracy": accuracy(targets, probabilities),
        "out_of_fold_log_loss": mean_log_loss(probabilities, targets),
        "out_of_fold_log_loss_of_members": {name: each.log_loss() for name, each in members},
        "temperature": temperature,
        "out_of_fold_log_loss_at_temperature": mean_log_loss(warmed, targets),
    }
    return Choice(networks=networks, shares=shares, scores=scores)


def _expected(
    bench: Workbench,
    tasks: list[FoldTask],
    predictions: Predictions,
    taken: dict[str, tuple[float, ...]],
    *,
    better: bool,
) -> Estimate:
    """Return what the test should score: by all folds, also where the best one alone is kept."""
    folds = sorted({task.fold for task in tasks})
    return estimate(
        predictions,
        [bench.folds.folds[fold].validation_rows for fold in folds],
        metric=bench.metric,
        test_rows=len(bench.data.test_labels),
        lower=better,
        seed=bench.seed("estimate"),
        shares=taken,
    )


def fold_files(bench: Workbench, task: FoldTask) -> FoldFiles:
    """Return the files of a fold that is done."""
    assert task.files is not None
    return FoldFiles(bench.files.folder / task.files)


def saved_predictions(bench: Workbench, task: FoldTask) -> NDArray[np.float32]:
    """Return what a fold's network gave for the rows that it predicts (rows, classes)."""
    path = fold_files(bench, task).predictions
    array: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return array


def member_name(trial: int) -> str:
    """Return what a finalist is called in an ensemble and in its folder."""
    return f"trial-{trial}"


def _kept(
    bench: Workbench, tasks: list[FoldTask], ensemble: Ensemble
) -> tuple[Final, list[FoldTask], dict[int, float]]:
    """Return what is made of the folds' networks, which are kept, and each trial's share.

    Where a refit was asked for and there is none, the folds' networks are kept.
    """
    weights = dict(zip(ensemble.members, ensemble.weights, strict=True))
    names = {task.trial: member_name(task.trial) for task in tasks}
    shares = {trial: weights[name] for trial, name in names.items() if name in weights}
    if bench.plan.final == "best":
        best = max(tasks, key=lambda task: (_or_worst(task.score), -task.place, -task.fold))
        return "best", [best], {best.trial: 1.0}
    if bench.plan.final == "refit":
        done = [t for t in bench.store.folds.all(bench.job.id) if t.done and t.fold == ALL_ROWS]
        refits = [task for task in done if task.trial in shares]
        if refits:
            total = sum(shares[task.trial] for task in refits)
            return "refit", refits, {task.trial: shares[task.trial] / total for task in refits}
    return "bag", [task for task in tasks if task.trial in shares], shares


def _rank(task: FoldTask, networks: list[FoldTask]) -> int:
    """Return how many networks of the same finalist come before one: those of earlier folds."""
    return sum(other.trial == task.trial and other.fold < task.fold for other in networks)


def _or_worst(score: float | None) -> float:
    return -math.inf if score is None else score


def _alone(bench: Workbench, task: FoldTask) -> tuple[Ensemble, Predictions]:
    """Return the ensemble of a single network, and what it says of the rows that it left out."""
    predictions, name = _out_of_fold(bench, [task]), member_name(task.trial)
    score = predictions[name].score(bench.metric)
    return Ensemble(members=(name,), weights=(1.0,), score=score), predictions


def _counting_folds(bench: Workbench) -> list[FoldTask]:
    """Return the folds that count: those of every finalist that has the fullest one's folds.

    So all members are judged on the same rows; the best finalist of the fullest decides.
    """
    done: defaultdict[int, list[FoldTask]] = defaultdict(list)
    tasks = bench.store.folds.all(bench.job.id)
    for task in race_of(bench, tasks).ranked(tasks):
        if task.done and task.fold not in (JUDGING_FOLD, ALL_ROWS):
            done[task.trial].append(task)
    if not done:
        raise JobFailed("the landing must finish at least one fold, but none was finished")
    fullest = max(done.values(), key=len)
    wanted = {task.fold for task in fullest}
    return [task for tasks in done.values() if {t.fold for t in tasks} == wanted for task in tasks]


def _out_of_fold(bench: Workbench, tasks: list[FoldTask]) -> Predictions:
    predictions: Predictions = {}
    for task in tasks:
        name = member_name(task.trial)
        current = predictions.get(name) or OutOfFoldPredictions.empty(
            bench.data.train_labels, bench.data.classes
        )
        rows = bench.folds.folds[task.fold].validation_rows
        predictions[name] = current.with_fold(rows, saved_predictions(bench, task))
    return predictions


def _one_parting(bench: Workbench, tasks: list[FoldTask]) -> list[FoldTask]:
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


def _together(
    bench: Workbench, predictions: Predictions, ensemble: Ensemble
) -> tuple[NDArray[np.float32], Targets]:
    """Return the ensemble's out-of-fold probabilities (rows, classes), and the targets (rows,)."""
    covered = next(iter(predictions.values())).covered
    combined = ensemble.combine({name: each.probabilities for name, each in predictions.items()})
    return combined[covered], bench.data.train_labels[covered]
