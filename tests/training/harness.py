"""Small trainings on digits, and what makes two of them equal."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.recipe import Candidate, Recipe
from workers.device import DevicePlan
from workers.epoch_report import EpochReport
from workers.rows import Rows
from workers.training import Training

CPU = DevicePlan()
ARCHITECTURE = Architecture(
    stem=Stem(width=8),
    stages=(Stage(depth=1, width=16), Stage(block="residual", depth=1, width=16)),
    head=Head(hidden=(16,)),
)


def digits(train: int, validation: int) -> Rows:
    """Return 8x8 images of digits."""
    data = load_digits()
    images = (data.images * 15).astype(np.uint8)[..., None]
    labels = data.target.astype(np.int64)
    end = train + validation
    return Rows(images[:train], labels[:train], images[train:end], labels[train:end], classes=10)


def candidate(**recipe: Any) -> Candidate:
    values = {"augmentation": "none", "batch_size": 32, "epochs": 3, "learning_rate": 0.05}
    return Candidate(architecture=ARCHITECTURE, recipe=Recipe.from_json({**values, **recipe}))


def training_of(
    made: Candidate, rows: Rows, *, seed: int = 0, plan: DevicePlan = CPU, **options: Any
) -> Training:
    return Training(made, rows, plan=plan, seed=seed, **options)


def go_on(training: Training, report: EpochReport) -> None:
    """An `on_epoch` that lets the training go on."""


def no_interrupt() -> None:
    """An `interrupt` that never comes."""


def run(training: Training, *, seconds_left: Callable[[], float] | None = None) -> Training:
    training.run(on_epoch=go_on, interrupt=no_interrupt, seconds_left=seconds_left)
    return training


def curve(training: Training) -> list[EpochReport]:
    """Return the reports without the times, which no two runs have in common."""
    return [replace(each, train_seconds=0.0, validation_seconds=None) for each in training.curve]


def assert_equal_trainings(one: Training, other: Training) -> None:
    """Compare curves, predictions, weights, optimizer and random states, bit by bit."""
    assert curve(one) == curve(other)
    assert np.array_equal(one.validation_probabilities, other.validation_probabilities)  # type: ignore[arg-type]
    first, second = one.state(), other.state()
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name]), name
    assert first.numbers["batches"] == second.numbers["batches"]
    assert first.numbers["optimizer"] == second.numbers["optimizer"]
