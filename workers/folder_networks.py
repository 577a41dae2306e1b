"""From what trainings have left to the networks of a model folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from search.folds import ALL_ROWS, JUDGING_FOLD, Folds
from search.job import Job
from search.metrics import METRICS
from search.seeds import derived_seed
from search.store import TrialRecord
from spaces.errors import JobError
from workers.checkpoints import load_checkpoint
from workers.data import ImageData
from workers.device import DevicePlan
from workers.fold_files import FoldFiles
from workers.model_folder import NetworkEntry, sha256_of
from workers.rows import Rows
from workers.search_rows import search_rows
from workers.training import Training


def fold_network(
    source: FoldFiles, target: Path, *, trial: int, fold: int, weight: float
) -> NetworkEntry:
    """Copy the network of a finalist's fold into a folder; return its entry in `model.json`."""
    meta = json.loads(source.meta.read_text())
    part = "all-rows" if fold == ALL_ROWS else f"fold-{fold}"
    file = target / f"trial-{trial}-{part}.safetensors"
    shutil.copyfile(source.weights, file)
    return NetworkEntry(
        file=file.name,
        sha256=sha256_of(file),
        trial=trial,
        fold=fold,
        weight=weight,
        architecture=meta["candidate"]["architecture"],
        recipe=meta["candidate"]["recipe"],
        mean=meta["normalisation"]["mean"],
        std=meta["normalisation"]["std"],
        scale=meta.get("scale"),
        report=meta["report"],
    )


def trial_network(
    record: TrialRecord, target: Path, *, job: Job, data: ImageData, folds: Folds, files: Path
) -> NetworkEntry:
    """Write the network of a trial's last checkpoint into a folder; return its entry.

    Args:
        files: where the job that searched keeps its files.

    Raises:
        JobError: the trial has kept no whole checkpoint.
    """
    loaded = None if record.files is None else load_checkpoint((files / record.files).parent)
    if loaded is None or job.plan is None:
        raise JobError(f"trial {record.number} must have kept a checkpoint, but there is none")
    candidate, state = loaded
    # what it began from does not matter any more, and may not be on this machine
    recipe = candidate.recipe.model_copy(update={"weights": None})
    train, validation = search_rows(data, folds, job.plan, seed=job.spec.seed)
    rows = Rows(
        train_images=data.train_images[train],
        train_labels=data.train_labels[train],
        validation_images=data.train_images[validation],
        validation_labels=data.train_labels[validation],
        classes=data.classes,
    )
    with torch.random.fork_rng(devices=[]):
        training = Training(
            candidate.model_copy(update={"recipe": recipe}),
            rows,
            plan=DevicePlan(),
            metric=METRICS[job.plan.metric],
            seed=derived_seed(job.spec.seed, "trial", record.number),
        )
        training.restore(state)
    file = target / f"trial-{record.number}-search.safetensors"
    file.write_bytes(save_tensors(training.weights()))
    last = training.curve[-1]
    return NetworkEntry(
        file=file.name,
        sha256=sha256_of(file),
        trial=record.number,
        fold=JUDGING_FOLD,
        weight=1.0,
        architecture=candidate.architecture,
        recipe=candidate.recipe,
        mean=training.normalisation.mean,
        std=training.normalisation.std,
        scale=training.scale,
        report={
            "epochs": last.epoch,
            "validation_score": record.score,
            "validation_rows": job.plan.validation_rows,
        },
    )


def protocol_of(job: Job, data: ImageData, *, folds: Folds) -> dict[str, Any]:
    """Return what `model.json` says of how rows were parted and networks chosen."""
    plan = job.plan
    assert plan is not None
    return {
        "splits": folds.parted_into,
        "repeats": folds.repeats,
        "folds_hash": plan.folds_hash,
        "train_rows": len(data.train_labels),
        "test_split": data.test_split,
        "train_fingerprint": data.train_fingerprint,
        "test_fingerprint": data.test_rows.fingerprint,
        "judging_fold": JUDGING_FOLD,
        "selected_on": "validation rows of the judging fold, on which no network is scored; "
        "ensemble weights on the out-of-fold rows",
        "task": data.task,
        "predictions": "float32, loaded from this folder in a new process",
        "training": plan.device,
        "metric": plan.metric,
        "notes": list(plan.notes),
        "seed": job.spec.seed,
    }
