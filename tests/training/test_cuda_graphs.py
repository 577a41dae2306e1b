"""On a GPU steps are taken by CUDA graphs, and nothing but their speed depends on it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spaces.recipe import Optimizer
from tests.training.harness import (
    CPU,
    assert_equal_trainings,
    candidate,
    digits,
    no_interrupt,
    run,
    training_of,
)
from workers.checkpoints import load_checkpoint, save_checkpoint
from workers.device import DevicePlan
from workers.epoch_report import EpochReport
from workers.rows import Rows
from workers.training import Training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
GPU = DevicePlan(device="cuda")
HALF = DevicePlan(device="cuda", dtype="bfloat16")
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "mixed and erased": {"augmentation": "flip_shift_erase", "mixup": 0.4, "augment_until": 0.6},
    "easy rows left out": {"skip": 0.75},
    "rates and limits": {"norm_bias_rate": 8.0, "max_norm": 1.0, "clip_norm": 0.5, "focal": 1.0},
    "averaged": {"averaging": "ema"},
    "looking ahead": {"averaging": "lookahead"},
    "weighed": {"class_weights": "balanced"},
}


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """As workers compute."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = tf32


@pytest.fixture(scope="module")
def some() -> Rows:
    return digits(640, 200)


def recorded(training: Training) -> int:
    """Return how many graphs a training has."""
    graphs = training.stepper._graphs
    assert graphs is not None
    return graphs.recorded


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_training_by_graphs_is_the_one_without(
    some: Rows, optimizer: Optimizer, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = 0.05 if optimizer == "sgd" else 0.003
    made = candidate(optimizer=optimizer, learning_rate=rate, **recipe)
    with_graphs = run(training_of(made, some, plan=GPU))
    mixed = bool(recipe.get("mixup"))
    assert recorded(with_graphs) == (2 if mixed else 1)  # the last images are not mixed
    monkeypatch.setattr("workers.cuda_graphs.EAGER_STEPS", 1_000_000)
    without = run(training_of(made, some, plan=GPU))
    assert recorded(without) == 0
    for one, other in zip(with_graphs.curve, without.curve, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.images == other.images
    for name, weights in with_graphs.weights().items():
        expected = without.weights()[name]
        torch.testing.assert_close(weights, expected, rtol=0.02, atol=0.005)


def test_a_gpu_learns_what_a_processor_learns(some: Rows) -> None:
    made = candidate(epochs=8, dropout=0.1)
    accuracies = [
        run(training_of(made, some, plan=plan)).curve[-1].validation_accuracy
        for plan in (CPU, GPU, HALF)
    ]
    assert all(accuracy is not None and accuracy > 0.9 for accuracy in accuracies), accuracies


def test_predictions_are_those_of_the_processor(some: Rows) -> None:
    training = run(training_of(candidate(), some, plan=HALF, evaluation=GPU))
    on_gpu = training.predict(some.validation_images, GPU)
    training.network.to("cpu")
    np.testing.assert_allclose(training.predict(some.validation_images, CPU), on_gpu, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("recipe", [{}, {"skip": 0.75, "dropout": 0.3}], ids=["plain", "random"])
def test_a_resumed_training_ends_where_the_undisturbed_one_does(
    some: Rows, tmp_path: Any, optimizer: Optimizer, recipe: dict[str, Any]
) -> None:
    rate = 0.05 if optimizer == "sgd" else 0.003
    made = candidate(optimizer=optimizer, learning_rate=rate, **recipe)
    undisturbed = run(training_of(made, some, plan=GPU))

    class Killed(Exception):
        pass

    def save_and_die(training: Training, report: EpochReport) -> None:
        save_checkpoint(tmp_path / "1", training.state(), candidate=made, epoch=report.epoch)
        raise Killed

    with pytest.raises(Killed):
        training_of(made, some, plan=GPU).run(on_epoch=save_and_die, interrupt=no_interrupt)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    resumed = training_of(made, some, plan=GPU)
    resumed.restore(loaded[1])
    run(resumed)
    for name, weights in resumed.weights().items():
        torch.testing.assert_close(weights, undisturbed.weights()[name], rtol=0.05, atol=0.01)
    if not recipe:
        return
    assert [each.images for each in resumed.curve] == [each.images for each in undisturbed.curve]


def test_a_rung_leaves_the_training_as_it_would_be(some: Rows) -> None:
    made = candidate(dropout=0.3, skip=0.75, averaging="ema")
    judged = run(training_of(made, some, plan=GPU, rung=1))
    plain = run(training_of(made, some, plan=GPU))
    judged.curve = plain.curve = []  # equal but for the rung's validation
    assert recorded(judged) == recorded(plain) == 1
    assert_equal_trainings(judged, plain)


def test_steps_that_wait_for_the_gpu_are_taken_without_a_graph(some: Rows) -> None:
    training = training_of(candidate(), some, plan=GPU)

    def waits(_: Any, inputs: tuple[Tensor, ...]) -> None:
        inputs[0].sum().item()

    training.network.register_forward_pre_hook(waits)
    run(training)
    assert recorded(training) == 0
    accuracy = training.curve[-1].validation_accuracy
    assert accuracy is not None and accuracy > 0.5
    assert recorded(run(training_of(candidate(dropout=0.3), some, plan=GPU))) == 1


def test_a_lack_of_memory_is_answered_by_smaller_pieces(some: Rows) -> None:
    images = np.asarray(some.train_images[:512]).repeat(16, axis=1).repeat(16, axis=2)
    labels = some.train_labels[:512]
    rows = Rows(images, labels, images[:16], labels[:16], classes=10)
    made = candidate(batch_size=512, epochs=8)
    training = training_of(made, rows, plan=GPU)
    limit = torch.cuda.memory_allocated() + 400 * 2**20
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        run(training)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert training.stepper.pieces > 1 and training.stepper._graphs is None
