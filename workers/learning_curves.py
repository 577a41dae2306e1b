"""How a training went, epoch by epoch, read from what its checkpoint or its fold's files say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.store import FoldTask, TrialRecord
from workers.files import JobFiles
from workers.fold_files import FoldFiles


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A training's figures by epoch, from 1.

    Attributes:
        fold: that a finalist was trained on; None: a trial of the search.
        loss: of the training images as the network saw them, altered at random.
        accuracy: on these; None where numbers are predicted.
        score: by the job's metric on rows that were left out, after epochs that were validated.
    """

    trial: int
    fold: int | None
    loss: tuple[tuple[int, float], ...]
    accuracy: tuple[tuple[int, float], ...]
    score: tuple[tuple[int, float], ...]


def trial_curve(record: TrialRecord, files: JobFiles) -> LearningCurve:
    """Return a trial's curve: scores as the store has them, losses while its checkpoint exists."""
    epochs: list[Mapping[str, Any]] = []
    if record.files is not None:
        checkpoints = sorted((files.folder / record.files).glob("epoch-*.json"))
        epochs = _epochs(checkpoints[-1], "numbers") if checkpoints else []
    return LearningCurve(
        trial=record.number,
        fold=None,
        loss=_figures(epochs, "train_loss"),
        accuracy=_figures(epochs, "train_accuracy"),
        score=tuple(record.curve.items()),
    )


def fold_curve(task: FoldTask, files: JobFiles) -> LearningCurve:
    """Return a finalist's curve on a fold, with its one score, at the end, as the store has it."""
    assert task.files is not None
    epochs = _epochs(FoldFiles(files.folder / task.files).meta)
    last = () if task.score is None or not epochs else ((len(epochs), task.score),)
    return LearningCurve(
        trial=task.trial,
        fold=task.fold,
        loss=_figures(epochs, "train_loss"),
        accuracy=_figures(epochs, "train_accuracy"),
        score=last,
    )


def _epochs(path: Path, *within: str) -> list[Mapping[str, Any]]:
    """Return the reports of all epochs; none where the file is gone or says nothing of them."""
    try:
        found = json.loads(path.read_text())
        for key in within:
            found = found[key]
        return list(found["curve"])
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _figures(epochs: list[Mapping[str, Any]], name: str) -> tuple[tuple[int, float], ...]:
    return tuple(
        (int(each["epoch"]), float(each[name])) for each in epochs if each[name] is not None
    )
