"""What lets classes, rows and weights count more or less than others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from spaces.architecture import Architecture, Stage, Stem
from spaces.recipe import Candidate, Recipe
from workers.batches import Batch, Batches
from workers.device import DevicePlan
from workers.optimization import make_optimizer
from workers.row_losses import RowLosses
from workers.rows import Rows
from workers.stepping import Stepper
from workers.training import Training

CPU = DevicePlan()
NETWORK = Architecture(stem=Stem(width=4), stages=(Stage(width=8, depth=1),))


def linear(recipe: Recipe, *, class_weights: torch.Tensor | None = None) -> Stepper:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    return Stepper(
        network,
        make_optimizer(network, recipe),
        recipe=recipe,
        plan=CPU,
        class_weights=class_weights,
    )


def unbalanced(counts: tuple[int, ...]) -> Rows:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 8, 8, 1), dtype=np.uint8)
    return Rows(images, labels, images[:3], labels[:3], len(counts))


def test_class_weights_let_all_classes_count_the_same() -> None:
    rows = unbalanced((60, 30, 10))
    candidate = Candidate(architecture=NETWORK, recipe=Recipe(class_weights="balanced"))
    weights = Training(candidate, rows, plan=CPU, seed=0).stepper.class_weights
    assert weights is not None
    totals = weights.numpy() * np.array([60, 30, 10])
    assert totals == pytest.approx([100 / 3] * 3)
    plain = candidate.model_copy(update={"recipe": Recipe()})
    assert Training(plain, rows, plan=CPU, seed=0).stepper.class_weights is None


def test_classes_count_the_same_by_what_soft_labels_give_them() -> None:
    """A class that no label names has no weight, and the mean row has 1."""
    soft = np.array([[0.8, 0.2, 0.0]] * 90 + [[0.3, 0.7, 0.0]] * 10, dtype=np.float32)
    weights = replace(unbalanced((90, 10, 0)), soft_labels=soft).class_weights()
    assert weights * soft.sum(0) == pytest.approx([50.0, 50.0, 0.0])
    assert (soft @ weights).mean() == pytest.approx(1.0)


def test_a_weighted_and_a_focal_loss_are_those_of_their_formulas() -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    weights = torch.tensor([0.5, 1.0, 4.0])
    stepper = linear(Recipe(focal=2.0, label_smoothing=0.0), class_weights=weights)
    batch = Batch(images=logits, labels=labels)
    found = stepper._losses(logits, batch)[1]
    likelihood = logits.softmax(1)[range(6), labels]
    expected = -((1.0 - likelihood) ** 2.0) * likelihood.log() * weights[labels]
    torch.testing.assert_close(found, expected)


def test_of_soft_labels_a_focal_loss_knows_what_they_expect() -> None:
    logits = torch.randn(4, 3)
    sure = torch.tensor([0, 2, 1, 1])
    stepper = linear(Recipe(focal=2.0, label_smoothing=0.0))
    hard, soft = (
        stepper._losses(logits, Batch(images=logits, labels=labels))[1]
        for labels in (sure, nn.functional.one_hot(sure, 3).float())
    )
    torch.testing.assert_close(soft, hard)
    teacher = torch.tensor([[0.5, 0.3, 0.2]] * 4)
    expected = -(teacher * logits.log_softmax(1)).sum(1)
    expected *= (1.0 - (teacher * logits.softmax(1)).sum(1)) ** 2.0
    found = stepper._losses(logits, Batch(images=logits, labels=teacher))[1]
    torch.testing.assert_close(found, expected)


def test_incoming_weights_are_kept_short() -> None:
    batch = Batch(images=torch.randn(6, 1, 4, 4), labels=torch.tensor([0, 1, 2, 2, 1, 0]))
    norms = {}
    for most in (None, 0.2):
        stepper = linear(Recipe(max_norm=most, learning_rate=0.5))
        stepper.step(batch)
        norms[most] = stepper.network[1].weight.norm(dim=1)  # type: ignore[index]
    assert norms[None].max() > 0.21
    assert norms[0.2].max() <= 0.2 + 1e-6


def test_balanced_sampling_shows_all_classes_equally_often() -> None:
    rows = unbalanced((70, 20, 6))
    recipe = Recipe(sampling="balanced", batch_size=8, skip=0.75)
    batches = Batches(
        rows.train_images, rows.train_labels, recipe=recipe, seed=0, device=CPU.torch_device
    )
    assert batches.row_losses is None
    seen = [np.concatenate([b.labels.numpy() for b in batches.one_pass()]) for _ in range(3)]
    for labels in seen:
        assert len(labels) == 96
        assert np.bincount(labels).tolist() == [32, 32, 32]
    order = batches._balanced_order()
    times = np.bincount(order, minlength=96)
    assert times[:70].max() == 1 and set(times[70:90]) == {1, 2} and set(times[90:]) == {5, 6}


def test_a_row_is_easy_by_its_own_loss_not_by_the_weight_of_its_class() -> None:
    losses = RowLosses(6, skip=0.5, device=CPU.torch_device)
    stepper = linear(Recipe(label_smoothing=0.0), class_weights=torch.tensor([0.01, 1.0, 9.0]))
    stepper.losses = losses
    images, labels = torch.randn(6, 1, 4, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    logits = stepper.network(images).detach()
    stepper.step(Batch(images=images, labels=labels, rows=torch.arange(6)))
    torch.testing.assert_close(
        losses.losses, nn.functional.cross_entropy(logits, labels, reduction="none")
    )
