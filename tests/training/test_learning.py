"""A training learns, reports each epoch in its turn and notices divergence."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from spaces.recipe import Optimizer
from tests.training.harness import candidate, curve, digits, no_interrupt, run, training_of
from workers.batches import Batch
from workers.epoch_report import EpochReport
from workers.rows import Rows
from workers.training import Diverged


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_small_network_learns_digits(optimizer: Optimizer) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.01
    made = candidate(optimizer=optimizer, learning_rate=rate, epochs=5, augmentation="shift")
    training = run(training_of(made, digits(1300, 497)))
    last = training.curve[-1]
    assert last.validation_accuracy is not None and last.validation_accuracy > 0.9
    assert training.validation_probabilities is not None
    labels = training.rows.validation_labels
    right = training.validation_probabilities.argmax(1) == labels
    assert last.validation_accuracy == pytest.approx(right.mean())
    likelihood = training.validation_probabilities[np.arange(len(labels)), labels]
    assert last.validation_loss == pytest.approx(-np.log(likelihood).mean(), rel=1e-4)


def test_each_epoch_is_reported_in_its_turn(few: Rows) -> None:
    seen: list[EpochReport] = []
    training = training_of(candidate(), few)
    training.run(on_epoch=lambda _, report: seen.append(report), interrupt=no_interrupt)
    assert seen == training.curve and [report.epoch for report in seen] == [1, 2, 3]
    assert all(report.images == 192 for report in seen)  # 6 batches of 32; 8 rows are left over
    assert training.finished and training.schedule.step == training.schedule.total_steps == 18


@pytest.mark.parametrize(("every", "expected"), [(None, [3]), (2, [2, 3]), (1, [1, 2, 3])])
def test_some_epochs_are_validated_the_last_one_always(
    every: int | None, expected: list[int], few: Rows
) -> None:
    training = run(training_of(candidate(), few, validate_every=every))
    validated = [each.epoch for each in training.curve if each.validation_accuracy is not None]
    assert validated == expected
    assert curve(training)[-1] == curve(run(training_of(candidate(), few)))[-1]


def test_a_loss_that_is_not_a_number_is_a_divergence(few: Rows) -> None:
    training = training_of(candidate(), few)
    with torch.no_grad():
        next(training.network.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match="training loss of epoch 1 is nan"):
        run(training)
    assert training.curve == []


def test_predictions_that_are_not_numbers_are_a_divergence(few: Rows) -> None:
    training = training_of(candidate(), few)
    norm = next(m for m in training.network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    norm.running_mean.fill_(math.nan)  # used by predictions alone
    with pytest.raises(Diverged, match="predictions of epoch 1 are not finite"):
        run(training)


def test_a_far_too_high_rate_diverges_and_clipping_does_not(few: Rows) -> None:
    wild = {"learning_rate": 10.0, "schedule": "constant", "weight_decay": 1.0, "epochs": 12}
    with pytest.raises(Diverged):
        run(training_of(candidate(**wild), few))
    gentle = {**wild, "learning_rate": 0.05, "clip_norm": 1.0, "weight_decay": 0.0, "epochs": 2}
    assert run(training_of(candidate(**gentle), few)).finished


def test_easy_rows_are_left_out_until_the_last_steps(few: Rows) -> None:
    made = candidate(skip=0.9, epochs=8, batch_size=16, learning_rate=0.1)
    training = run(training_of(made, few))
    images = [report.images for report in training.curve]
    assert sum(images) == 8 * 192 == training.schedule.total_steps * 16
    assert training.epoch == 8 and training.batches.passes > 12
    ends = np.cumsum(images)
    assert all(192 * n <= end < 192 * (n + 1) for n, end in enumerate(ends, start=1))
    last = training.curve[-1]
    assert last.validation_accuracy is not None and last.validation_accuracy > 0.7
    assert last.train_accuracy is not None and 0.0 < last.train_accuracy <= 1.0


@pytest.mark.parametrize("epochs", [1, 4])
def test_the_last_steps_are_not_augmented(
    few: Rows, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    made = candidate(augment_until=0.75, batch_size=16, epochs=epochs)
    training = training_of(made, few)
    draw, augmented = training.batches.one_pass, []

    def one_pass(*, whole: bool = False, augment: Callable[[], bool]) -> Iterator[Batch]:
        for batch in draw(whole=whole, augment=augment):
            augmented.append(augment())
            yield batch

    monkeypatch.setattr(training.batches, "one_pass", one_pass)
    run(training)
    steps = 12 * epochs
    assert augmented == [True] * (steps * 3 // 4) + [False] * (steps // 4)


def test_the_training_accuracy_weighs_images_as_the_loss_does(few: Rows) -> None:
    training = run(training_of(candidate(skip=0.75, epochs=12, learning_rate=0.2), few))
    assert 0.9 < max(report.train_accuracy or 0.0 for report in training.curve) < 1.0 + 1e-5
