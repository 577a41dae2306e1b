"""The landing's end: ensemble, model folder, verification, and the test set opened once."""

import hashlib
import json
import math
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.calibration import at_temperature, helpful_temperature
from search.ensemble import Ensemble, greedy_selection
from search.folds import ALL_ROWS, JUDGING_FOLD
from search.metrics import accuracy, bootstrap_interval
from search.plan import Final
from search.predictions import OutOfFoldPredictions, accuracy_interval, mean_log_loss
from search.race import Race
from search.store import FoldTask, Lease
from spaces.errors import JobFailed
from workers.files import new_folder
from workers.finalist import FoldFiles
from workers.landing import SAMPLE_ROWS, cores
from workers.model_folder import Manifest, NetworkEntry, library_versions, write_manifest
from workers.verification import Sample, verify_and_predict
from workers.workbench import Workbench


def assemble(bench: Workbench, lease: Lease) -> dict[str, Any]:
    """Build, verify, score and publish the model folder; return the job's result.

    Raises:
        JobFailed: no fold was finished, or the folder predicts otherwise than in training.
    """
    tasks = _counting_folds(bench)
    predictions = _out_of_fold(bench, tasks)
    ensemble = greedy_selection(
        predictions=predictions,
        metric=bench.metric,
        seed=bench.seed("ensemble"),
    )
    final, members, shares = _kept(bench, tasks, ensemble)
    if final == "best":
        ensemble, predictions = _alone(bench, members[0])
    together = _together(bench, predictions, ensemble)
    temperature = helpful_temperature(
        together.probabilities, together.targets, seed=bench.seed("temperature")
    )
    if final == "bag" and len(members) > len(shares):
        # a mean of networks is less sure than each of them, by which it was measured
        temperature = min(temperature, 1.0)
    scores = {
        "final": final,
        **_validation_scores(bench, predictions, ensemble, together),
        "temperature": temperature,
        "out_of_fold_log_loss_at_temperature": mean_log_loss(
            at_temperature(together.probabilities, temperature), together.targets
        ),
    }
    folder = bench.files.model(lease.fence)
    with new_folder(folder) as staging:
        entries = _write_networks(bench, members, shares, staging)
        write_manifest(staging, _manifest(bench, entries, scores))
        bench.heartbeat.expect(None)
        bench.heartbeat.check()
        probabilities = _verified(bench, members, staging)
        bench.heartbeat.check_now()
        scores |= _open_test(bench, probabilities)
        write_manifest(staging, _manifest(bench, entries, scores))
    return {
        **scores,
        "model": bench.files.relative(folder),
        "networks": len(entries),
        "members": [
            {"trial": task.trial, "weight": shares[_name(task.trial)]}
            for task in members
            if task.fold == min(t.fold for t in members if t.trial == task.trial)
        ],
        "folds": min(sum(t.trial == task.trial for t in members) for task in members),
    }


def _kept(
    bench: Workbench, tasks: list[FoldTask], ensemble: Ensemble
) -> tuple[Final, list[FoldTask], dict[str, float]]:
    """Return what is made of the folds' networks, which are kept, and each member's share.

    Where a refit was asked for and there was no time for one, the folds' networks are kept.
    """
    shares = dict(zip(ensemble.members, ensemble.weights, strict=True))
    bag = [task for task in tasks if _name(task.trial) in shares]
    if bench.plan.final == "best":
        best = max(tasks, key=lambda task: (_or_worst(task.score), -task.place, -task.fold))
        return "best", [best], {_name(best.trial): 1.0}
    if bench.plan.final == "refit":
        done = [t for t in bench.store.folds.all(bench.job.id) if t.done and t.fold == ALL_ROWS]
        refits = [task for task in done if _name(task.trial) in shares]
        if refits:
            total = sum(shares[_name(task.trial)] for task in refits)
            return "refit", refits, {_name(t.trial): shares[_name(t.trial)] / total for t in refits}
    return "bag", bag, shares


def _or_worst(score: float | None) -> float:
    return -math.inf if score is None else score


def _alone(bench: Workbench, task: FoldTask) -> tuple[Ensemble, dict[str, OutOfFoldPredictions]]:
    """Return the ensemble of a single network, and what it says of the rows that it left out."""
    predictions = _out_of_fold(bench, [task])
    score = predictions[_name(task.trial)].score(bench.metric)
    return Ensemble(members=(_name(task.trial),), weights=(1.0,), score=score), predictions


def _name(trial: int) -> str:
    return f"trial-{trial}"


def _counting_folds(bench: Workbench) -> list[FoldTask]:
    """Return the folds that count: those of every finalist that has the fullest one's folds.

    So all members are judged on the same rows; the best finalist of the fullest decides.
    """
    done: defaultdict[int, list[FoldTask]] = defaultdict(list)
    tasks = bench.store.folds.all(bench.job.id)
    for task in Race(tasks, survivors=bench.plan.survivors).ranked(tasks):
        if task.done and task.fold not in (JUDGING_FOLD, ALL_ROWS):
            done[task.trial].append(task)
    if not done:
        raise JobFailed("the landing must finish at least one fold, but none was finished")
    fullest = max(done.values(), key=len)
    wanted = {task.fold for task in fullest}
    return [task for tasks in done.values() if {t.fold for t in tasks} == wanted for task in tasks]


def _out_of_fold(bench: Workbench, tasks: list[FoldTask]) -> dict[str, OutOfFoldPredictions]:
    predictions: dict[str, OutOfFoldPredictions] = {}
    for task in tasks:
        name = _name(task.trial)
        current = predictions.get(name) or OutOfFoldPredictions.empty(
            bench.data.train_labels, bench.data.classes
        )
        rows = bench.folds.folds[task.fold].validation_rows
        predictions[name] = current.with_fold(rows, _saved_predictions(bench, task))
    return predictions


def _fold_files(bench: Workbench, task: FoldTask) -> FoldFiles:
    assert task.files is not None
    return FoldFiles(bench.files.folder / task.files)


def _saved_predictions(bench: Workbench, task: FoldTask) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(_fold_files(bench, task).predictions, allow_pickle=False)
    return array


@dataclass(frozen=True, eq=False)
class _Together:
    """The out-of-fold probabilities (rows, classes) of the ensemble, and the targets (rows,)."""

    probabilities: NDArray[np.float32]
    targets: NDArray[np.int64]


def _together(
    bench: Workbench, predictions: dict[str, OutOfFoldPredictions], ensemble: Ensemble
) -> _Together:
    covered = next(iter(predictions.values())).covered
    combined = ensemble.combine({name: each.probabilities for name, each in predictions.items()})
    return _Together(combined[covered], bench.data.train_labels[covered])


def _validation_scores(
    bench: Workbench,
    predictions: dict[str, OutOfFoldPredictions],
    ensemble: Ensemble,
    together: _Together,
) -> dict[str, Any]:
    members = sorted(predictions.items())
    return {
        "metric": bench.metric.name,
        "out_of_fold_score": ensemble.score,
        "out_of_fold_accuracy": accuracy(together.targets, together.probabilities),
        "out_of_fold_log_loss": mean_log_loss(together.probabilities, together.targets),
        "out_of_fold_rows": len(together.targets),
        "out_of_fold_of_members": {name: each.score(bench.metric) for name, each in members},
        "out_of_fold_log_loss_of_members": {name: each.log_loss() for name, each in members},
    }


def _write_networks(
    bench: Workbench, members: list[FoldTask], shares: dict[str, float], staging: Path
) -> list[NetworkEntry]:
    entries: list[NetworkEntry] = []
    for task in members:
        source = _fold_files(bench, task)
        meta = json.loads(source.meta.read_text())
        part = "all-rows" if task.fold == ALL_ROWS else f"fold-{task.fold}"
        target = staging / f"{_name(task.trial)}-{part}.safetensors"
        shutil.copyfile(source.weights, target)
        folds = sum(other.trial == task.trial for other in members)
        entries.append(
            NetworkEntry(
                file=target.name,
                sha256=hashlib.sha256(target.read_bytes()).hexdigest(),
                trial=task.trial,
                fold=task.fold,
                weight=shares[_name(task.trial)] / folds,
                architecture=meta["candidate"]["architecture"],
                recipe=meta["candidate"]["recipe"],
                mean=meta["normalisation"]["mean"],
                std=meta["normalisation"]["std"],
                report=meta["report"],
            )
        )
    return entries


def _sample(bench: Workbench, members: list[FoldTask]) -> Sample:
    """Take a few rows that each network has predicted, with what it gave for them."""
    count = min(SAMPLE_ROWS, *(len(bench.predicted_rows(task.fold)) for task in members))
    images, expected = [], []
    for task in members:
        rows = bench.predicted_rows(task.fold)[:count]
        images.append(bench.data.train_images[rows])
        expected.append(_saved_predictions(bench, task)[:count])
    return Sample(images=np.stack(images), expected=np.stack(expected))


def _verified(bench: Workbench, members: list[FoldTask], folder: Path) -> NDArray[np.float32]:
    """Return what the folder predicts for the test images, loaded in a new process."""
    try:
        return verify_and_predict(
            folder,
            sample=_sample(bench, members),
            test_images=bench.data.test_images,
            threads=cores(),
            interrupt=bench.heartbeat.check,
        )
    except RuntimeError:
        bench.heartbeat.check()  # whoever ended the process may have meant this one, too
        raise


def _manifest(bench: Workbench, entries: list[NetworkEntry], scores: dict[str, Any]) -> Manifest:
    spec, data = bench.job.spec, bench.data
    return Manifest(
        job=bench.job.id,
        data=data.name,
        class_names=data.class_names,
        image_shape=data.image_shape,
        networks=tuple(entries),
        temperature=scores["temperature"],
        scores=scores,
        protocol={
            "splits": len(bench.folds.folds),
            "folds_hash": bench.folds.hash,
            "train_rows": len(data.train_labels),
            "test_split": data.test_split,
            "train_fingerprint": data.train_fingerprint,
            "test_fingerprint": data.test_fingerprint,
            "judging_fold": JUDGING_FOLD,
            "selected_on": "validation rows of the judging fold, on which no network is scored; "
            "ensemble weights on the out-of-fold rows",
            "predictions": "float32, loaded from this folder in a new process",
            "training": bench.plan.device,
            "metric": bench.metric.name,
            "notes": list(bench.plan.notes),
            "seed": spec.seed,
        },
        versions=library_versions(),
    )


def _open_test(bench: Workbench, probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """Compare the predictions with the test labels: the only place where these are read."""
    opening = bench.store.test.open(
        bench.job.id,
        test_fingerprint=bench.data.test_fingerprint,
        by=bench.heartbeat.worker.id,
        reason="landing of the search",
    )
    labels, metric = bench.data.test_labels, bench.metric
    correct = int((probabilities.argmax(1) == labels).sum())
    share = correct / len(labels)
    bench.store.test.score(opening, accuracy=share)
    found = {
        "test_accuracy": share,
        "test_interval": accuracy_interval(correct, len(labels)),
        "test_rows": len(labels),
    }
    if metric.name == "accuracy":
        return found
    seed, score = bench.seed("test interval"), metric.score(labels, probabilities)
    if not math.isfinite(score):  # of one class alone there is no area under a curve
        return found
    interval = bootstrap_interval(metric, labels, probabilities, seed=seed)
    return found | {"test_score": score, "test_score_interval": interval}
