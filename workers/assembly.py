"""The landing's end: model folder, verification, and the test set opened once."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from search.ensemble import member_name
from search.machine import usable_cores
from search.metrics import accuracy
from search.predictions import share_interval
from search.score_errors import bootstrap_interval, widened
from search.stacking import Stack
from search.store import FoldTask, Lease
from workers.choice import Choice, choose
from workers.distillation import teacher_of
from workers.files import new_folder
from workers.folder_networks import fold_network, protocol_of
from workers.landing_time import SAMPLE_ROWS
from workers.model_folder import Manifest, NetworkEntry, library_versions, write_manifest
from workers.out_of_fold import fold_files, saved_predictions
from workers.verification import Sample, TestPredictions, verify_and_predict
from workers.workbench import Workbench


def assemble(bench: Workbench, lease: Lease) -> dict[str, Any]:
    """Build, verify, score and publish the model folder; return the job's result.

    Raises:
        JobFailed: no fold was finished, or the folder predicts otherwise than in training.
    """
    choice = choose(bench)
    members, scores = choice.networks, dict(choice.scores)
    folder = bench.files.model(lease.fence)
    with new_folder(folder) as staging:
        entries = _write_networks(bench, choice, staging)
        write_manifest(staging, _manifest(bench, choice.stack, entries, scores))
        bench.heartbeat.expect(None)
        bench.heartbeat.check()
        predictions = _verified(bench, members, staging)
        bench.heartbeat.check_now()
        effect = scores.get("design_effect", 1.0)
        scores |= _open_test(bench, predictions, members, effect=effect)
        write_manifest(staging, _manifest(bench, choice.stack, entries, scores))
    if bench.job.spec.distills is not None:
        scores["teacher"] = teacher_of(bench)
    return {
        **scores,
        "model": bench.files.relative(folder),
        "networks": len(entries),
        "members": [
            {"trial": trial, "weight": share, "networks": sum(t.trial == trial for t in members)}
            for trial, share in choice.shares.items()
        ],
        "folds": len({task.fold for task in members}),
    }


def _write_networks(bench: Workbench, choice: Choice, staging: Path) -> list[NetworkEntry]:
    entries: list[NetworkEntry] = []
    for task in choice.networks:
        folds = sum(other.trial == task.trial for other in choice.networks)
        entry = fold_network(
            fold_files(bench, task),
            staging,
            trial=task.trial,
            fold=task.fold,
            weight=choice.shares[task.trial] / folds,
        )
        entries.append(entry)
    return entries


def _sample(bench: Workbench, members: list[FoldTask]) -> Sample:
    """Take a few rows that each network has predicted, with what it gave for them."""
    count = min(SAMPLE_ROWS, *(len(bench.predicted_rows(task.fold)) for task in members))
    images, expected = [], []
    for task in members:
        rows = bench.predicted_rows(task.fold)[:count]
        images.append(bench.data.train_images[rows])
        expected.append(saved_predictions(bench, task)[:count])
    return Sample(images=np.stack(images), expected=np.stack(expected))


def _verified(bench: Workbench, members: list[FoldTask], folder: Path) -> TestPredictions:
    """Return what the folder predicts for the test images, loaded in a new process."""
    try:
        return verify_and_predict(
            folder,
            sample=_sample(bench, members),
            test_images=bench.data.test_images,
            threads=usable_cores(),
            interrupt=bench.heartbeat.check,
        )
    except RuntimeError:
        bench.heartbeat.check()  # whoever ended the process may have meant this one, too
        raise


def _manifest(
    bench: Workbench, stack: Stack | None, entries: list[NetworkEntry], scores: dict[str, Any]
) -> Manifest:
    data = bench.data
    return Manifest(
        job=bench.job.id,
        data=data.name,
        class_names=data.class_names,
        image_shape=data.image_shape,
        networks=tuple(entries),
        stack=stack,
        temperature=scores.get("temperature", 1.0),
        scores=scores,
        protocol=protocol_of(bench.job, data, folds=bench.folds),
        versions=library_versions(),
    )


def _open_test(
    bench: Workbench, predictions: TestPredictions, networks: list[FoldTask], *, effect: float
) -> dict[str, Any]:
    """Compare the predictions with the test labels: the only place where a search reads these.

    Not if another job has done so before, unless this one was told to, nor if it was told not to.

    Args:
        effect: of groups, by which rows are fewer than they seem: here as out of fold.
    """
    rows, job = bench.data.test_rows, bench.job
    opening = None
    if not job.spec.keep_test_closed:
        opening = bench.store.test.open(
            job.id,
            rows=rows,
            by=bench.heartbeat.worker.id,
            reason="landing of the search",
            again=job.spec.reopen_test,
        )
    earlier = [
        {"job": each.job_id, "at": each.opened_at, "score": each.score}
        for each in bench.store.test.all(rows)
        if each.job_id != job.id and (opening is None or each.id < opening.id)
    ]
    if opening is None:
        return {"test_rows": len(bench.data.test_labels), "test_opened_before": earlier}
    labels, metric, probabilities = bench.data.test_labels, bench.metric, predictions.together
    found: dict[str, Any] = {"test_opened": True, "test_rows": len(labels)}
    found["test_opened_before"] = earlier
    if metric.task == "classification":
        correct = int((probabilities.argmax(1) == labels).sum())
        found["test_accuracy"] = correct / len(labels)
        found["test_interval"] = share_interval(correct / len(labels), rows=len(labels) / effect)
        trials = np.array([task.trial for task in networks])
        found["test_accuracy_of_members"] = {
            member_name(trial): accuracy(labels, predictions.each[trials == trial].mean(0))
            for trial in dict.fromkeys(trials.tolist())
        }
    score = metric.score(labels, probabilities)
    if metric.name != "accuracy" and math.isfinite(score):  # one class alone has no ROC curve
        seed = bench.seed("test interval")
        found["test_score"] = score
        alone = bootstrap_interval(metric, labels, probabilities, seed=seed)
        found["test_score_interval"] = widened(alone, score, effect=effect, highest=metric.highest)
    shown = found.get("test_accuracy", found.get("test_score"))
    if shown is not None:
        bench.store.test.score(opening, score=shown)
    return found
