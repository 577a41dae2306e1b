"""What a recipe states reaches the network, its loss and its steps."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spaces.architecture import Architecture, Stage, Stem
from spaces.network import build_network
from spaces.recipe import Candidate, Recipe
from tests.training.harness import ARCHITECTURE, CPU, candidate, run, training_of
from workers.batches import Batch
from workers.device import DevicePlan
from workers.evaluation import predict
from workers.gentler import gentler, is_gentler
from workers.optimization import learning_rate_factor, make_optimizer, set_rate
from workers.rows import Rows
from workers.schedule import Schedule
from workers.stepping import Stepper
from workers.training import Training
from workers.whitening import fit_whitening


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dropout", 0.5),
        ("stochastic_depth", 0.9),
        ("label_smoothing", 0.3),
        ("schedule", "constant"),
        ("clip_norm", 1e-3),
        ("norm_bias_rate", 8.0),
        ("layer_rate_factor", 0.5),
        ("max_norm", 0.1),
        ("focal", 2.0),
        ("weight_decay", 0.5),
    ],
)
def test_each_field_changes_the_weights(field: str, value: Any, few: Rows) -> None:
    plain = {"epochs": 1, "dropout": 0.0, "label_smoothing": 0.0, "norm_bias_rate": 1.0}
    usual = run(training_of(candidate(**plain), few)).weights()
    other = run(training_of(candidate(**{**plain, field: value}), few)).weights()
    assert any(not torch.equal(tensor, other[name]) for name, tensor in usual.items())


def test_each_group_of_weights_has_its_own_rate() -> None:
    network = build_network(ARCHITECTURE, channels=1, classes=10, seed=0)
    optimizer = make_optimizer(network, Recipe(norm_bias_rate=8.0, layer_rate_factor=0.5))
    set_rate(optimizer, 0.1)
    rates = [group["lr"] for group in optimizer.param_groups]
    factors = [group["rate_factor"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.1 * factor for factor in factors]) and len(set(rates)) > 2


def test_momentum_is_nesterov_s() -> None:
    network = Logits(torch.zeros(1, 1))
    optimizer = make_optimizer(network, Recipe(learning_rate=1.0, weight_decay=0.0))
    for _ in range(2):
        network.logits.grad = torch.ones(1, 1)
        optimizer.step()
    assert network.logits.item() == pytest.approx(-(1.9 + 2.71))  # momentum 0.9


def stepper_of(network: nn.Module, recipe: Recipe, **more: Any) -> Stepper:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    return Stepper(network, optimizer, recipe=recipe, plan=CPU, **more)


class Logits(nn.Module):
    """Whose outputs are its weights, for any images."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(images)]


def images(count: int) -> torch.Tensor:
    return torch.zeros(count, 1, 2, 2)


def test_gradients_are_clipped_to_their_norm() -> None:
    norms = {}
    for clip in (None, 0.01):
        network = Logits(torch.eye(4))
        recipe = Recipe(clip_norm=clip, label_smoothing=0.0)
        stepper_of(network, recipe).step(Batch(images(4), torch.tensor([1, 2, 3, 0])))
        assert network.logits.grad is not None
        norms[clip] = float(network.logits.grad.norm())
    assert norms[None] > 0.1 and norms[0.01] == pytest.approx(0.01, rel=1e-3)


def test_smoothed_labels_give_a_share_to_all_classes() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.1, 3.0]])
    stepper = stepper_of(Logits(logits.clone()), Recipe(label_smoothing=0.2))
    stepper.step(Batch(images(2), torch.tensor([0, 1])))
    said = logits.log_softmax(1)
    expected = -(0.8 * said[[0, 1], [0, 1]] + 0.2 * said.mean(1)).sum()
    assert float(stepper.sums.loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_sure_and_right_network_has_finite_gradients_of_the_focal_loss() -> None:
    network = Logits(200.0 * torch.eye(3))
    recipe = Recipe(focal=0.5, label_smoothing=0.0)
    stepper_of(network, recipe).step(Batch(images(3), torch.arange(3)))
    assert network.logits.grad is not None and network.logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "expected"), [("squared", 25.0 + 0.25), ("l1", 5.0 + 0.5), ("huber", 4.5 + 0.125)]
)
def test_numbers_have_the_loss_that_is_stated(kind: Any, expected: float) -> None:
    network = Logits(torch.tensor([[5.0], [0.5]]))
    stepper = stepper_of(network, Recipe(regression_loss=kind))
    stepper.step(Batch(images(2), torch.zeros(2)))
    assert float(stepper.sums.loss) == pytest.approx(expected)


def test_each_label_of_a_mixed_image_has_the_weight_of_its_class() -> None:
    """So that all classes count the same with mixup, too."""
    logits, share = torch.tensor([[1.0, -0.5]]), 0.7
    weights = torch.tensor([0.5, 5.0])
    stepper = stepper_of(Logits(logits.clone()), Recipe(label_smoothing=0.0), class_weights=weights)
    stepper.step(Batch(images(1), torch.tensor([0]), torch.tensor([1]), share))
    loss = -logits.log_softmax(1)[0]
    expected = share * 0.5 * loss[0] + (1.0 - share) * 5.0 * loss[1]
    assert float(stepper.sums.loss) == pytest.approx(float(expected), rel=1e-5)


def test_memory_that_runs_out_half_way_counts_no_image_twice() -> None:
    class Short(nn.Module):
        def __init__(self, *, fails_at: int) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.fails_at, self.calls = nn.Linear(4, 5), fails_at, 0

        def forward(self, seen: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls == self.fails_at:
                raise MemoryError("out of memory")
            found: torch.Tensor = self.layer(seen.flatten(1))
            return found

    pixels = torch.randn(80, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    found = []
    for fails_at in (0, 2):
        network = Short(fails_at=fails_at)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        stepper = Stepper(network, optimizer, recipe=Recipe(), plan=CPU, pieces=2)
        stepper.step(Batch(pixels, torch.arange(80) % 5))
        assert float(stepper.sums.weight) == 80.0
        found.append((float(stepper.sums.loss), network.layer.weight.detach()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)


@pytest.mark.parametrize("schedule", ["triangular", "cosine", "constant", "step"])
def test_the_rate_follows_the_recipe_s_schedule(schedule: Any) -> None:
    found = Schedule(Recipe(schedule=schedule, epochs=2), steps_per_epoch=50)
    found.step = 60
    assert found.rate_factor() == learning_rate_factor(schedule, 0.605)


def test_who_has_diverged_is_trained_at_a_lower_rate_with_clipped_gradients() -> None:
    made = candidate(learning_rate=0.5)
    soft = gentler(made)
    assert soft.architecture == made.architecture
    assert soft.recipe == made.recipe.model_copy(
        update={"learning_rate": pytest.approx(0.15), "clip_norm": 1.0}
    )
    assert is_gentler(soft) and not is_gentler(made)


WHITENED = Candidate(
    architecture=Architecture(
        stem=Stem(kind="whitening", width=8), stages=(Stage(depth=1, width=8),)
    ),
    recipe=Recipe(batch_size=32, epochs=1, augmentation="none"),
)


def stem_filters(network: nn.Module) -> torch.Tensor:
    weight: torch.Tensor = network.state_dict()["stem.0.weight"]
    return weight.clone()


def test_a_whitening_stem_is_fitted_to_the_training_images_and_stays(few: Rows) -> None:
    training = Training(WHITENED, few, plan=CPU, seed=0)
    fitted = stem_filters(training.network)
    by_hand = build_network(WHITENED.architecture, channels=1, classes=10, seed=0)
    fit_whitening(by_hand, few.train_images, normalisation=training.normalisation)
    assert torch.equal(fitted, stem_filters(by_hand))
    run(training)
    assert torch.equal(fitted, stem_filters(training.network))


def test_predictions_that_count_are_made_as_the_evaluation_says(few: Rows) -> None:
    half = DevicePlan(dtype="bfloat16")
    seen = set[torch.dtype]()
    training = training_of(candidate(epochs=1), few, plan=half, evaluation=CPU)
    training.network.register_forward_hook(lambda *args: seen.add(args[-1].dtype))
    run(training)
    exact, rough = (
        predict(
            training.network, few.validation_images, normalisation=training.normalisation, plan=plan
        )
        for plan in (CPU, half)
    )
    assert np.array_equal(training.validation_probabilities, exact)  # type: ignore[arg-type]
    assert not np.array_equal(exact, rough)
    assert seen == {torch.bfloat16, torch.float32}


def test_averaged_weights_predict_other_rows_too(few: Rows) -> None:
    training = run(training_of(candidate(averaging="ema", epochs=20), few))
    again = training.predict(few.validation_images, CPU)
    assert np.array_equal(again, training.validation_probabilities)  # type: ignore[arg-type]
    with_last = predict(
        training.network, few.validation_images, normalisation=training.normalisation, plan=CPU
    )
    assert not np.array_equal(again, with_last)


def test_a_branch_s_rate_falls_to_zero_and_the_training_s_goes_on(few: Rows) -> None:
    training = training_of(candidate(batch_size=10), few, rung=1)
    rates: list[float] = []
    step = training.stepper.step

    def noted(batch: Batch) -> None:
        rates.append(training.optimizer.param_groups[0]["lr"])
        step(batch)

    training.stepper.step = noted  # type: ignore[method-assign]
    run(training)
    steps = training.batches.per_epoch
    branch = rates[steps : steps + 5]
    assert np.diff(branch) == pytest.approx([-branch[0] / 4.5] * 4)
    assert branch[-1] == pytest.approx(branch[0] / 9.0)
    progress = (steps + 0.5) / (3 * steps)
    after = learning_rate_factor("triangular", progress) * 0.05
    assert rates[steps + 5] == pytest.approx(after)


def test_the_last_passes_leave_no_row_out(few: Rows) -> None:
    training = training_of(candidate(skip=0.75, epochs=16), few)
    passes: list[tuple[float, bool]] = []
    one_pass = training.batches.one_pass

    def noted(**options: Any) -> Any:
        passes.append((training.schedule.step / training.schedule.total_steps, options["whole"]))
        return one_pass(**options)

    training.batches.one_pass = noted  # type: ignore[method-assign]
    run(training)
    assert {whole for _, whole in passes} == {False, True}
    assert all(whole == (share >= 0.875) for share, whole in passes)


def test_pieces_that_were_foreseen_are_kept_over_an_interruption(few: Rows) -> None:
    training = training_of(candidate(), few, pieces=2)
    other = training_of(candidate(), few)
    assert (training.stepper.pieces, other.stepper.pieces) == (2, 1)
    other.restore(run(training).state())
    assert other.stepper.pieces == 2


def test_weights_begin_as_large_as_their_maps_need() -> None:
    """(K. He et al., arXiv 1502.01852, by the fan out.)"""
    made = Architecture(stem=Stem(width=16), stages=(Stage(block="plain", depth=1, width=64),))
    network = build_network(made, channels=1, classes=10, seed=0)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    (wide,) = [w for w in weights if w.shape[:2] == (64, 16)]
    expected = (2.0 / (64 * wide.shape[-1] ** 2)) ** 0.5
    assert wide.detach().std().item() == pytest.approx(expected, rel=0.05)
