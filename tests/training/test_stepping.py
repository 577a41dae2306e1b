"""One step is the same in pieces, answers a lack of memory, and follows the recipe's rates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.errors import SpaceError
from spaces.network import Network, build_network, diagonal_shifts, stem_width
from spaces.recipe import Averaging, Candidate, Recipe
from workers.averaging import WeightAverage
from workers.batches import Batch, Batches, Normalisation
from workers.device import DevicePlan
from workers.optimization import make_optimizer
from workers.pixels import windows
from workers.rows import Rows
from workers.stepping import Stepper, StepSums
from workers.training import Training
from workers.whitening import fit_whitening, patch_covariance, principal_directions

CPU = DevicePlan()
WHITENED = Architecture(
    stem=Stem(kind="whitening", width=18),
    stages=(Stage(depth=1, width=8),),
    head=Head(pooling="max", scale=0.25),
    views="flip",
)


def random_images(count: int, *, channels: int = 1, side: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(count, channels, side, side, generator=generator)
    return noise + 0.9 * noise.roll(1, 3)  # neighbours are correlated, as in pictures


def random_pixels(count: int, *, channels: int = 1, side: int = 12) -> NDArray[np.uint8]:
    images = 128 + 40 * random_images(count, channels=channels, side=side)
    return images.clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def batch_of(count: int, **more: Any) -> Batch:
    return Batch(random_images(count), torch.arange(count) % 5, **more)


FULL = (
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 EB",
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
)


class Tiny(nn.Module):
    """No batch norm, so that pieces of a batch must give exactly its gradient."""

    def __init__(self, *, largest: int = 1000, words: str = FULL[0]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(144, 5)
        self.largest, self.words = largest, words

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.largest:
            raise RuntimeError(self.words)
        logits: Tensor = self.layer(images.flatten(1))
        return logits


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_images_come_in_the_format_that_was_measured(channels_last: bool, channels: int) -> None:
    seen: list[bool] = []
    plan = DevicePlan(channels_last=channels_last)
    pixels = random_pixels(48, channels=channels)
    rows = Rows(pixels[:32], np.arange(32) % 2, pixels[32:], np.arange(16) % 2, 2)
    architecture = Architecture(stem=Stem(width=8), stages=(Stage(depth=1, width=8),))
    candidate = Candidate(architecture=architecture, recipe=Recipe(batch_size=16, epochs=1))
    training = Training(candidate, rows, plan=plan, seed=0)
    training.network.register_forward_pre_hook(
        lambda _, images: seen.append(images[0].stride(1) > 1)
    )
    training.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    assert set(seen) == {not channels_last} and len(seen) == 3  # two steps, one prediction


def stepped(
    network: nn.Module, batch: Batch, *, pieces: int = 1, class_weights: Tensor | None = None
) -> tuple[Stepper, StepSums]:
    recipe = Recipe(weight_decay=0.0)
    optimizer = make_optimizer(network, recipe)
    stepper = Stepper(
        network, optimizer, recipe=recipe, plan=CPU, pieces=pieces, class_weights=class_weights
    )
    stepper.step(batch)
    return stepper, stepper.sums


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_pieces_of_a_batch_make_the_same_step(pieces: int, mixed: bool, weighed: bool) -> None:
    more: dict[str, Any] = {"other_labels": torch.arange(20) % 3, "share": 0.3} if mixed else {}
    classes = torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0]) if weighed else None
    if weighed:
        more["weights"] = torch.linspace(0.1, 2.0, 20)
    whole, cut = Tiny(), Tiny()
    _, expected = stepped(whole, batch_of(20, **more), class_weights=classes)
    _, sums = stepped(cut, batch_of(20, **more), pieces=pieces, class_weights=classes)
    torch.testing.assert_close(cut.layer.weight, whole.layer.weight)
    assert sums.images == expected.images == 20
    torch.testing.assert_close(sums.loss, expected.loss)
    assert sums.correct == expected.correct


def test_an_image_counts_by_its_weight() -> None:
    weighed, twice = Tiny(), Tiny()
    batch = batch_of(10)
    _, sums = stepped(weighed, replace(batch, weights=torch.tensor([2.0] * 5 + [0.0] * 5)))
    _, expected = stepped(twice, Batch(batch.images[:5], batch.labels[:5]))
    torch.testing.assert_close(weighed.layer.weight, twice.layer.weight)
    torch.testing.assert_close(sums.loss / sums.weight, expected.loss / expected.weight)
    assert sums.correct == 2.0 * expected.correct


@pytest.mark.parametrize("words", FULL)
def test_a_lack_of_memory_is_answered_by_smaller_pieces_in_the_same_step(words: str) -> None:
    short, enough = Tiny(largest=24, words=words), Tiny()
    stepper, sums = stepped(short, batch_of(80))
    stepped(enough, batch_of(80))
    assert stepper.pieces == 4 and sums.images == 80
    torch.testing.assert_close(short.layer.weight, enough.layer.weight)


def test_a_lack_of_memory_for_the_smallest_pieces_is_raised() -> None:
    with pytest.raises(RuntimeError, match="allocate"):
        stepped(Tiny(largest=10), batch_of(80))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        stepped(Tiny(), Batch(torch.zeros(4, 1, 3, 3), torch.zeros(4).long()))


def test_weight_decay_is_decoupled_and_spares_biases() -> None:
    network = Tiny()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = make_optimizer(network, Recipe(weight_decay=0.1, learning_rate=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(3):
        optimizer.step()
    torch.testing.assert_close(network.layer.weight, before["layer.weight"] * 0.95**3)
    torch.testing.assert_close(network.layer.bias, before["layer.bias"])


def test_the_norms_biases_have_a_rate_of_their_own() -> None:
    network = build_network(WHITENED, channels=1, classes=5, seed=0)
    groups = make_optimizer(network, Recipe(norm_bias_rate=8.0)).param_groups
    rates = {id(p): group["rate_factor"] for group in groups for p in group["params"]}
    norm = network.stages[0][0][2]  # type: ignore[index]
    assert rates[id(norm.bias)] == 8.0 and rates[id(norm.weight)] == 1.0
    assert id(network.stem[0].weight) not in rates  # whitening filters are not trained


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_and_of_unit_variance(channels: int) -> None:
    pixels = random_pixels(400, channels=channels)
    normalisation = Normalisation.of(pixels)
    filters = principal_directions(pixels, kernel=3, normalisation=normalisation)
    images = normalisation.apply(torch.from_numpy(pixels)).contiguous()
    patches = nn.functional.unfold(images, 3).transpose(1, 2).reshape(-1, 9 * channels)
    outputs = patches @ filters.T
    covariance = outputs.T @ outputs / len(outputs)
    torch.testing.assert_close(covariance, torch.eye(9 * channels), atol=1e-3, rtol=0)


def test_a_whitening_stem_has_both_signs_of_the_largest_directions() -> None:
    architecture = WHITENED.model_copy(update={"stem": Stem(kind="whitening", width=6)})
    network = build_network(architecture, channels=1, classes=5, seed=0)
    pixels = random_pixels(50)
    normalisation = Normalisation.of(pixels)
    fit_whitening(network, pixels, normalisation=normalisation)
    weight = network.stem[0].weight
    assert isinstance(weight, Tensor) and weight.shape == (6, 1, 3, 3)
    torch.testing.assert_close(weight[:3], -weight[3:])
    directions = principal_directions(pixels, kernel=3, normalisation=normalisation)
    torch.testing.assert_close(weight[:3].flatten(1), directions[:3])


@pytest.mark.parametrize("shape", [(1, 64, 1), (2, 2, 3), (2, 30, 1), (28, 28, 1)])
def test_tiny_and_constant_images_have_finite_whitening_filters(shape: tuple[int, ...]) -> None:
    varied = np.random.default_rng(0).integers(0, 256, (20, *shape), np.uint8)
    for pixels in (varied, np.zeros_like(varied)):
        normalisation = Normalisation.of(pixels)
        filters = principal_directions(pixels, kernel=3, normalisation=normalisation)
        assert filters.shape == (9 * shape[-1],) * 2 and bool(filters.isfinite().all())


def test_whitening_sees_rows_from_all_over_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_by_class = np.concatenate([np.zeros((30, 8, 8, 1), np.uint8), random_pixels(30, side=8)])
    normalisation = Normalisation.of(sorted_by_class)
    every = patch_covariance(sorted_by_class, 3, normalisation)
    monkeypatch.setattr("workers.whitening.FIT_PATCHES", 20 * 36)  # 20 images of 36 patches
    monkeypatch.setattr("workers.whitening.PATCHES_AT_ONCE", 100)
    some = patch_covariance(sorted_by_class, 3, normalisation)
    assert float((some - every).abs().max()) < 0.2 * float(every.abs().max())


def test_a_patch_bounds_the_width_of_a_whitening_stem() -> None:
    assert stem_width(Stem(kind="whitening", width=32), channels=1) == 18
    assert stem_width(Stem(kind="whitening", width=32), channels=3) == 32
    with pytest.raises(SpaceError, match="must be even"):
        Stem.from_json({"kind": "whitening", "width": 7})


def predictions(network: Network, images: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network.eval()(images)
    return logits


def network_with(views: str, state: dict[str, Tensor]) -> Network:
    data = WHITENED.to_json() | {"views": views}
    network = build_network(Architecture.from_json(data), channels=1, classes=5)
    network.load_state_dict(state)
    return network


def test_views_are_averaged_in_evaluation_and_only_there() -> None:
    state = build_network(WHITENED, channels=1, classes=5, seed=0).state_dict()
    images = random_images(6)
    one = network_with("one", state)
    flip = predictions(network_with("flip", state), images)
    by_hand = (predictions(one, images) + predictions(one, images.flip(3))) / 2
    torch.testing.assert_close(flip, by_hand)
    six = network_with("flip_shift", state)
    shifted = predictions(six, images)
    moved = [images, *diagonal_shifts(images)]
    each = [predictions(one, view) + predictions(one, view.flip(3)) for view in moved]
    torch.testing.assert_close(shifted, torch.stack(each).sum(0) / 6)
    assert not torch.allclose(shifted, flip)
    training = network_with("flip", state).train()(images)
    torch.testing.assert_close(training, network_with("one", state).train()(images))


def test_an_average_follows_the_weights_and_leaves_the_network_as_it_was() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = WeightAverage(network, "ema")
    for step in range(1, 201):
        network.weight.data.fill_(float(step))
        average.update(step=step, total_steps=200)
    assert 180.0 < float(average.tensors[0]) < 200.0
    with average.in_place():
        assert network.weight.item() < 200.0
    assert network.weight.item() == 200.0


def test_lookahead_pulls_the_weights_back_halfway() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average = WeightAverage(network, "lookahead")
    network.weight.data.fill_(4.0)
    average.update(step=5, total_steps=100)
    assert network.weight.item() == 2.0


def rows() -> Rows:
    images = np.random.default_rng(0).integers(0, 256, (96, 12, 12, 1), dtype=np.uint8)
    labels = np.arange(96, dtype=np.int64) % 5
    return Rows(images[:64], labels[:64], images[64:], labels[64:], classes=5)


@pytest.mark.parametrize("averaging", ["none", "ema", "lookahead"])
def test_an_averaged_training_resumes_to_the_same_predictions(averaging: Averaging) -> None:
    recipe = Recipe(averaging=averaging, batch_size=8, epochs=3, norm_bias_rate=8.0)
    made = Candidate(architecture=WHITENED, recipe=recipe)
    states = []
    whole = Training(made, rows(), plan=CPU, seed=1)
    whole.run(on_epoch=lambda t, _: states.append(t.state()), interrupt=lambda: None)
    resumed = Training(made, rows(), plan=CPU, seed=1)
    resumed.restore(states[1])
    resumed.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    weights = resumed.weights()
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, weights[name]), name
    first, again = whole.validation_probabilities, resumed.validation_probabilities
    assert first is not None and again is not None and np.array_equal(first, again)


def test_exported_weights_are_those_that_predicted() -> None:
    recipe = Recipe(averaging="ema", batch_size=8, epochs=20)
    training = Training(Candidate(architecture=WHITENED, recipe=recipe), rows(), plan=CPU, seed=1)
    training.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    network = build_network(WHITENED, channels=1, classes=5)
    network.load_state_dict(training.weights())
    images = training.normalisation.apply(torch.from_numpy(rows().validation_images))
    found = predictions(network, images).softmax(1)
    assert training.validation_probabilities is not None
    np.testing.assert_allclose(found.numpy(), training.validation_probabilities, atol=1e-6)
    live = {k: v for k, v in training.network.state_dict().items() if v.is_floating_point()}
    assert any(not torch.equal(v, training.weights()[k]) for k, v in live.items())


def test_windows_are_all_places_of_an_image() -> None:
    images = torch.arange(2 * 5 * 6 * 3).view(2, 5, 6, 3)
    view = windows(images, 3, 4)
    assert view.shape == (2, 3, 3, 3, 4, 3)
    for top in range(3):
        for left in range(3):
            assert torch.equal(view[:, top, left], images[:, top : top + 3, left : left + 4])


def test_half_of_the_images_are_mirrored_and_the_others_in_the_next_pass() -> None:
    images = np.zeros((64, 4, 4, 1), dtype=np.uint8)
    images[:, :, 0] = 200
    recipe = Recipe(augmentation="flip", batch_size=64)
    labels = np.arange(64, dtype=np.int64)
    made = Batches(images, labels, recipe=recipe, seed=0, device=torch.device("cpu"))
    mirrored = []
    for _ in range(2):
        batch = next(made.one_pass())
        order = batch.labels.argsort()
        mirrored.append(batch.images[order, 0, 0, 3] > 0)
    assert 10 < int(mirrored[0].sum()) < 54
    assert torch.equal(mirrored[0], ~mirrored[1])


def test_soft_labels_weigh_as_their_classes_do() -> None:
    weights = torch.tensor([1.0, 3.0])
    assert Stepper._weights_of(weights, torch.tensor([0, 1])).tolist() == [1.0, 3.0]
    assert Stepper._weights_of(weights, torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist() == [1, 2]
