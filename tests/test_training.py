"""A training repeats, resumes bit by bit, learns, notices divergence and keeps to its time."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor

from search.plan import HostSpeed
from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.network import build_network
from spaces.recipe import Augmentation, Candidate, Optimizer, Recipe, Schedule
from workers.augmentation import AUGMENTATIONS
from workers.batches import Batch, Batches, Normalisation
from workers.checkpoints import load_checkpoint, save_checkpoint
from workers.device import DevicePlan, host_speed, images_per_second
from workers.evaluation import predict_probabilities
from workers.finalist import processor_pace
from workers.optimization import learning_rate_factor, make_optimizer
from workers.training import Diverged, EpochReport, Rows, Training

CPU = DevicePlan()
ARCHITECTURE = Architecture(
    stem=Stem(width=8),
    stages=(Stage(depth=1, width=16), Stage(block="residual", depth=1, width=16)),
    head=Head(hidden=(16,)),
)
Images = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On one thread sums are added up in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def digits(train: int, validation: int) -> Rows:
    """Return 8x8 images of digits."""
    data = load_digits()
    images = (data.images * 15).astype(np.uint8)[..., None]
    labels = data.target.astype(np.int64)
    end = train + validation
    return Rows(images[:train], labels[:train], images[train:end], labels[train:end], classes=10)


@pytest.fixture(scope="module")
def few() -> Rows:
    return digits(200, 60)


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
    assert first.numbers["random"] == second.numbers["random"]
    assert first.numbers["optimizer"] == second.numbers["optimizer"]


# --- the rung ---------------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", ["none", "ema"])
def test_a_rung_judges_a_branch_and_leaves_the_training_alone(few: Rows, averaging: str) -> None:
    made = candidate(augmentation="flip_shift", dropout=0.3, learning_rate=0.2, averaging=averaging)
    judged, plain = run(training_of(made, few, rung=1)), run(training_of(made, few))
    assert curve(judged)[1:] == curve(plain)[1:]
    first, same = judged.curve[0], plain.curve[0]
    assert first.train_loss == same.train_loss
    assert first.validation_loss != same.validation_loss
    judged.curve = plain.curve = []  # equal but for the rung's validation
    assert_equal_trainings(judged, plain)


def test_the_last_epoch_needs_no_branch(few: Rows) -> None:
    made = candidate(epochs=1)
    assert_equal_trainings(run(training_of(made, few, rung=1)), run(training_of(made, few)))


def test_a_branch_can_be_interrupted(few: Rows) -> None:
    steps = len(few.train_labels) // 32

    class Stop(Exception):
        pass

    calls = iter(range(10**6))

    def interrupt() -> None:
        if next(calls) == steps + 1:  # the second step of the branch
            raise Stop

    training = training_of(candidate(), few, rung=1)
    with pytest.raises(Stop):
        training.run(on_epoch=go_on, interrupt=interrupt)
    assert training.curve == []


# --- repeating and resuming -------------------------------------------------------------------


def test_equal_seeds_give_equal_trainings_and_others_do_not(few: Rows) -> None:
    made = candidate(augmentation="flip_shift_erase", mixup=0.4, dropout=0.3)
    one, same, other = (run(training_of(made, few, seed=seed)) for seed in (5, 5, 6))
    assert_equal_trainings(one, same)
    assert curve(one) != curve(other)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "recipe",
    [{}, {"augmentation": "flip_shift_erase", "mixup": 0.4}],
    ids=["plain", "mixed and erased"],
)
def test_a_resumed_training_ends_where_the_undisturbed_one_does(
    few: Rows,
    tmp_path: Path,
    optimizer: Optimizer,
    recipe: dict[str, Any],
    channels_last: bool,
) -> None:
    rate = 0.05 if optimizer == "sgd" else 0.003
    made = candidate(
        optimizer=optimizer, learning_rate=rate, dropout=0.3, schedule="cosine", **recipe
    )
    plan = DevicePlan(channels_last=channels_last)
    undisturbed = run(training_of(made, few, plan=plan))

    class Killed(Exception):
        pass

    def save_and_die(training: Training, report: EpochReport) -> None:
        folder = tmp_path / "1"
        save_checkpoint(folder, training.state(), candidate=made, epoch=report.epoch)
        raise Killed

    for epoch in (1, 2):
        torch.rand(epoch)  # whatever else a new process draws
        training = training_of(made, few, plan=plan)
        loaded = load_checkpoint(tmp_path)
        if loaded is not None:
            training.restore(loaded[1])
        with pytest.raises(Killed):
            training.run(on_epoch=save_and_die, interrupt=no_interrupt)
        assert training.epoch == epoch
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded[0] == made
    resumed = training_of(made, few, plan=plan)
    resumed.restore(loaded[1])
    assert resumed.epoch == 2 and not resumed.finished
    assert_equal_trainings(run(resumed), undisturbed)


def test_a_training_restored_after_its_end_does_nothing_more(few: Rows) -> None:
    done = run(training_of(candidate(epochs=1), few))
    again = training_of(candidate(epochs=1), few)
    again.restore(done.state())
    assert again.finished
    run(again)
    assert curve(again) == curve(done)


def test_a_state_does_not_change_when_the_training_goes_on(few: Rows) -> None:
    training = training_of(candidate(epochs=2), few)
    states = []
    training.run(
        on_epoch=lambda training, _: states.append(training.state()), interrupt=no_interrupt
    )
    assert states[0].numbers["step"] == 6 and len(states[0].numbers["curve"]) == 1
    weights = [state.tensors["network.stem.0.weight"] for state in states]
    assert not torch.equal(*weights)
    json.dumps(states[0].numbers)


def test_an_interrupt_comes_before_the_next_step(few: Rows) -> None:
    training = training_of(candidate(), few)

    def interrupt() -> None:
        if training.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(on_epoch=go_on, interrupt=interrupt)
    assert training.step == 4 and training.curve == []


def test_a_validation_can_be_interrupted(few: Rows) -> None:
    training = training_of(candidate(epochs=1), few)

    def interrupt() -> None:
        if training.finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(on_epoch=go_on, interrupt=interrupt)
    assert training.finished and training.curve == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_restored_optimizer_keeps_the_layout_of_the_weights(
    few: Rows, optimizer: Optimizer
) -> None:
    made = candidate(optimizer=optimizer, epochs=2)
    plan = DevicePlan(channels_last=True)
    trained = run(Training(made, few, plan=plan, seed=0))
    restored = Training(made, few, plan=plan, seed=0)
    restored.restore(trained.state())
    compared = 0
    for parameter, entry in restored.optimizer.state.items():
        for value in entry.values():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                assert value.stride() == parameter.stride()
                compared += parameter.dim() == 4 and parameter.shape[1] > 1
    assert compared


# --- learning and diverging -------------------------------------------------------------------


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
    assert training.finished and training.step == training.total_steps == 18


def test_only_the_last_epoch_is_validated_if_so_wished(few: Rows) -> None:
    training = run(training_of(candidate(), few, validate_each_epoch=False))
    assert [report.validation_accuracy is None for report in training.curve] == [True, True, False]
    every = run(training_of(candidate(), few))
    assert curve(training)[-1] == curve(every)[-1]


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


# --- keeping to the time ----------------------------------------------------------------------

STEP_SECONDS = 1000.0  # of the clock that tests turn; what really passes is nothing against it


def turn_clock(monkeypatch: pytest.MonkeyPatch, training: Training) -> None:
    """Let each step of the running epoch take `STEP_SECONDS`."""

    def clock() -> float:
        steps = training.step - training.epoch * training.batches.per_epoch
        return perf_counter() + steps * STEP_SECONDS

    monkeypatch.setattr("workers.training.time", SimpleNamespace(perf_counter=clock))


@pytest.mark.parametrize("schedule", ["triangular", "cosine"])
@pytest.mark.parametrize("end", [20, 40, 57])
def test_a_deadline_shortens_the_schedule_to_its_annealed_end(
    few: Rows, monkeypatch: pytest.MonkeyPatch, schedule: Schedule, end: int
) -> None:
    training = training_of(candidate(schedule=schedule, batch_size=10), few)
    assert training.total_steps == 60
    turn_clock(monkeypatch, training)
    run(training, seconds_left=lambda: (end + 0.9 - training.step) * STEP_SECONDS)
    assert training.finished and end - 2 <= training.total_steps == training.step <= end
    rates = [group["lr"] for group in training.optimizer.param_groups]
    assert 0.0 < max(rates) < 0.04 * training.candidate.recipe.learning_rate
    assert training.curve[-1].validation_accuracy is not None
    assert sum(report.images for report in training.curve) == 10 * training.step


def run_within(training: Training, left: list[float], *, planned: int) -> set[int]:
    """Train with these steps' time left at each check, then the last; return all plans seen."""
    totals: set[int] = set()
    times = iter(left)

    def note() -> None:
        assert training.step <= planned, "the training goes on beyond its plan"
        totals.add(training.total_steps)

    def seconds_left() -> float:
        return next(times, left[-1]) * STEP_SECONDS

    training.run(on_epoch=go_on, interrupt=note, seconds_left=seconds_left)
    return totals


def test_time_in_plenty_extends_nothing(few: Rows) -> None:
    training = training_of(candidate(batch_size=10), few)
    assert run_within(training, [1e9], planned=60) == {60}
    assert training.step == 60
    assert_equal_trainings(training, run(training_of(candidate(batch_size=10), few)))


def test_what_a_slow_stretch_cut_is_given_back_up_to_the_plan(
    few: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(candidate(batch_size=10), few)
    turn_clock(monkeypatch, training)
    # The checks are at steps 8, 16, 24, ...; the first comes too early for a pace to be believed.
    assert run_within(training, [1.0, 12.5, 20.5, 100.0], planned=60) == {60, 28, 44}
    assert training.step == 60


def test_without_any_time_left_the_training_ends_and_is_validated(few: Rows) -> None:
    training = run(training_of(candidate(batch_size=10), few), seconds_left=lambda: -1.0)
    assert training.step == 8 and len(training.curve) == 1
    assert training.curve[0].validation_accuracy is not None


# --- schedules and weight decay ---------------------------------------------------------------

GRID = np.linspace(0.0, 1.0, 2001)


def factors(schedule: Schedule) -> NDArray[np.float64]:
    return np.array([learning_rate_factor(schedule, float(at)) for at in GRID])


@pytest.mark.parametrize(
    ("schedule", "peak", "end"),
    [
        ("triangular", 0.2, 0.0),
        ("cosine", 0.05, 0.0),
        ("constant", 0.05, 1.0),
        ("step", 0.05, 0.01),
    ],
)
def test_each_schedule_warms_up_to_its_peak_and_then_never_rises(
    schedule: Schedule, peak: float, end: float
) -> None:
    values = factors(schedule)
    assert values[0] == 0.0 and values.max() == pytest.approx(1.0)
    assert values[-1] == pytest.approx(end, abs=1e-9)
    assert GRID[values.argmax()] == pytest.approx(peak, abs=1e-3)
    rising = GRID[1:] <= peak
    assert (np.diff(values)[rising] > 0).all() and (np.diff(values)[~rising] <= 1e-12).all()


@pytest.mark.parametrize("schedule", ["triangular", "cosine", "constant"])
def test_smooth_schedules_do_not_jump(schedule: Schedule) -> None:
    steepest = 1.0 / 0.05  # the warm-up
    assert np.abs(np.diff(factors(schedule))).max() <= steepest * GRID[1] * 1.001


def test_the_triangle_is_straight_and_the_cosine_is_half_way_in_the_middle() -> None:
    assert learning_rate_factor("triangular", 0.1) == pytest.approx(0.5)
    assert learning_rate_factor("triangular", 0.6) == pytest.approx(0.5)
    assert learning_rate_factor("cosine", 0.525) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("progress", "factor"), [(0.05, 1.0), (0.49, 1.0), (0.5, 0.1), (0.74, 0.1), (0.75, 0.01)]
)
def test_the_step_schedule_drops_tenfold_twice(progress: float, factor: float) -> None:
    assert learning_rate_factor("step", progress) == pytest.approx(factor)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_biases_and_norms_do_not_decay(optimizer: Optimizer) -> None:
    network = build_network(ARCHITECTURE, channels=1, classes=10, seed=0)
    recipe = Recipe(optimizer=optimizer, learning_rate=0.5, weight_decay=0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    make_optimizer(network, recipe).step()
    kinds = set()
    for name, parameter in network.named_parameters():
        exempt = parameter.ndim == 1
        kinds.add(exempt)
        assert (parameter == 1.0).all() if exempt else (parameter < 1.0).all(), name
    assert kinds == {True, False}


# --- batches ----------------------------------------------------------------------------------


def test_normalisation_is_numpys_mean_and_deviation_by_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    images[..., 1] //= 4
    images[..., 2] = 7
    made = Normalisation.of(images)
    pixels = images.reshape(-1, 3).astype(float)
    assert made.mean == pytest.approx(tuple(pixels.mean(0)))
    assert made.std == pytest.approx((pixels[:, 0].std(), pixels[:, 1].std(), 1.0))
    mapped = made.apply(torch.from_numpy(images)).numpy()
    expected = (images - pixels.mean(0)) / np.array(made.std)
    assert mapped.shape == (50, 3, 6, 5)
    assert np.allclose(mapped, expected.transpose(0, 3, 1, 2), atol=1e-4)


def batches_of(
    images: Images,
    augmentation: Augmentation,
    *,
    seed: int = 0,
    batch_size: int = 64,
    mixup: float = 0.0,
) -> Batches:
    """Return batches in which the label of each image is its row."""
    recipe = Recipe(augmentation=augmentation, batch_size=batch_size, mixup=mixup)
    labels = np.arange(len(images), dtype=np.int64)
    return Batches(images, labels, recipe=recipe, seed=seed, device=CPU.torch_device)


def pixels_of(batches: Batches, images: Tensor) -> NDArray[np.float64]:
    """Return normalised images as pixel values of (rows, height, width, channels)."""
    values: NDArray[np.float64] = images.permute(0, 2, 3, 1).numpy().astype(np.float64)
    values *= np.array(batches.normalisation.std)
    values += np.array(batches.normalisation.mean)
    return values


def drawn(batches: Batches, epoch: int) -> dict[int, NDArray[np.float64]]:
    """Return each image of an epoch by its row, as pixel values."""
    return {
        int(label): image
        for batch in batches.epoch(epoch)
        for label, image in zip(batch.labels, pixels_of(batches, batch.images), strict=True)
    }


def single_pixels(side: int, *, at: tuple[int, int], rows: int = 128) -> Images:
    """Return black images with one bright pixel at (row, column)."""
    images = np.zeros((rows, side, side, 1), dtype=np.uint8)
    images[:, at[0], at[1]] = 250
    return images


def places(batches: Batches, epoch: int) -> dict[int, tuple[int, int]]:
    """Return where the one bright pixel of each image is."""
    found = {}
    for row, image in drawn(batches, epoch).items():
        bright = np.argwhere(image[..., 0] > 125)
        assert len(bright) == 1
        found[row] = (int(bright[0, 0]), int(bright[0, 1]))
    return found


def noise(rows: int = 64, *, side: int = 8, channels: int = 1) -> Images:
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (rows, side, side, channels), dtype=np.uint8)


def test_without_augmentation_images_and_labels_stay_as_they_are() -> None:
    images = noise(channels=3)
    batches = batches_of(images, "none", batch_size=16)
    for epoch in range(2):
        seen = drawn(batches, epoch)
        assert len(seen) == len(images)
        for row, image in seen.items():
            assert np.allclose(image, images[row], atol=1e-2)


@pytest.mark.parametrize("augmentation", ["none", "flip", "shift", "flip_shift_erase"])
def test_an_epoch_sees_each_row_at_most_once_in_another_order(augmentation: Augmentation) -> None:
    batches = batches_of(noise(50), augmentation, batch_size=16)
    assert batches.per_epoch == 3
    orders = [[int(x) for batch in batches.epoch(e) for x in batch.labels] for e in range(2)]
    for order in orders:
        assert len(order) == len(set(order)) == 48
    assert orders[0] != orders[1]


def test_fewer_rows_than_a_batch_are_one_batch() -> None:
    batches = batches_of(noise(10), "none", batch_size=256)
    assert batches.per_epoch == 1 and len(drawn(batches, 0)) == 10


@pytest.mark.parametrize(("side", "most"), [(8, 1), (28, 2), (40, 3)])
def test_a_shift_moves_at_most_the_stated_pixels_each_way(side: int, most: int) -> None:
    batches = batches_of(single_pixels(side, at=(3, 4)), "shift")
    moves = [(y - 3, x - 4) for epoch in (0, 1) for y, x in places(batches, epoch).values()]
    for direction in (0, 1):
        assert {move[direction] for move in moves} == set(range(-most, most + 1))


def test_what_a_shift_brings_in_is_black() -> None:
    images = np.full((128, 8, 8, 1), 200, dtype=np.uint8)
    images[0] = 100  # so that the deviation is not zero
    for row, image in drawn(batches_of(images, "shift"), 0).items():
        values = set(np.rint(image).astype(int).ravel().tolist())
        assert values <= {0, int(images[row, 0, 0, 0])}


def test_a_flip_mirrors_each_image_in_every_second_epoch() -> None:
    batches = batches_of(single_pixels(8, at=(2, 1)), "flip")
    epochs = [places(batches, epoch) for epoch in range(4)]
    assert {place for place in epochs[0].values()} == {(2, 1), (2, 6)}
    assert epochs[0] == epochs[2] and epochs[1] == epochs[3]
    assert all(epochs[0][row] != epochs[1][row] for row in epochs[0])


def test_a_flip_mirrors_whole_images() -> None:
    images = noise(channels=2)
    for row, image in drawn(batches_of(images, "flip"), 0).items():
        either = (images[row], images[row][:, ::-1])
        assert any(np.allclose(image, each, atol=1e-2) for each in either)


def test_flip_and_shift_together_do_both() -> None:
    batches = batches_of(single_pixels(28, at=(9, 4)), "flip_shift")
    for epoch in (0, 1):
        found = places(batches, epoch).values()
        assert {y for y, _ in found} == set(range(7, 12))
        assert {x for _, x in found} == {*range(2, 7), *range(21, 26)}


def test_erasing_sets_one_square_of_half_of_the_images_to_the_mean() -> None:
    batches = batches_of(noise(256, side=20), "flip_shift_erase", batch_size=256)
    (batch,) = batches.epoch(0)
    erased = 0
    for image in batch.images[:, 0].numpy():
        rows, columns = np.nonzero(image == 0.0)  # the mean, once normalised
        if len(rows):
            erased += 1
            assert np.ptp(rows) == np.ptp(columns) == 6 and len(rows) == 49  # 35 % of 20 is 7
    assert 0.35 < erased / 256 < 0.65


def test_an_affine_change_turns_scales_and_moves_each_image_by_itself() -> None:
    images = np.zeros((200, 40, 40, 1), dtype=np.uint8)
    images[:, 17:23, 10:30] = 200  # a bar
    found = drawn(batches_of(images, "affine", batch_size=200), 0).values()
    y, x = np.mgrid[:40, :40] - 19.5
    angles, sizes, moves = [], [], []
    for image in (each[:, :, 0] for each in found):
        mass = image.sum()
        centre = np.array([(image * y).sum(), (image * x).sum()]) / mass
        dy, dx = y - centre[0], x - centre[1]
        cross, wide, high = ((image * each).sum() for each in (dx * dy, dx**2, dy**2))
        angles.append(math.degrees(0.5 * math.atan2(2.0 * cross, wide - high)))
        sizes.append(mass / (200 * 120))
        moves.append(np.abs(centre).max())
    assert 7.0 < max(map(abs, angles)) < 11.0
    assert 0.80 < min(sizes) < 0.88 and 1.14 < max(sizes) < 1.25  # 1.1 squared is 1.21
    assert 2.5 < max(moves) < 3.8  # 8 % of 40 pixels, and scaled
    assert len(set(map(float, angles))) == 200


def test_jitter_changes_contrast_and_brightness_alone() -> None:
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = AUGMENTATIONS["jitter"](images, np.random.default_rng(0)).numpy()
    factors = []
    for before, after in zip(images.numpy(), changed, strict=True):
        factor, offset = np.polyfit(before.ravel(), after.ravel(), 1)
        assert np.allclose(after, factor * before + offset, atol=1e-4)
        assert 0.8 <= factor <= 1.2 and abs(offset) <= 0.2
        factors.append(factor)
    assert np.ptp(factors) > 0.2


def test_mixup_mixes_images_as_it_mixes_labels() -> None:
    images = np.repeat(np.arange(200, dtype=np.uint8), 64).reshape(200, 8, 8, 1)
    batches = batches_of(images, "none", batch_size=50, mixup=0.4)
    shares = []
    for batch in batches.epoch(0):
        assert batch.other_labels is not None and 0.0 <= batch.share <= 1.0
        assert sorted(batch.labels.tolist()) == sorted(batch.other_labels.tolist())
        expected = batch.share * batch.labels + (1.0 - batch.share) * batch.other_labels
        found = pixels_of(batches, batch.images)[:, 0, 0, 0]
        assert np.allclose(found, expected.numpy(), atol=1e-2)
        shares.append(batch.share)
    assert len(set(shares)) == 4


@pytest.mark.parametrize("augmentation", ["none", "flip_shift_erase", "flip_affine_jitter"])
def test_equal_seeds_draw_equal_batches_also_after_a_restore(augmentation: Augmentation) -> None:
    def epoch(batches: Batches, number: int) -> list[Batch]:
        return list(batches.epoch(number))

    first = batches_of(noise(), augmentation, batch_size=16, mixup=0.4)
    epoch(first, 0)
    state = json.loads(json.dumps(first.state()))
    again = batches_of(noise(), augmentation, batch_size=16, mixup=0.4)
    again.restore(state)
    for one, other in zip(epoch(first, 1), epoch(again, 1), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        assert one.share == other.share
    different = batches_of(noise(), augmentation, batch_size=16, seed=1)
    assert not torch.equal(epoch(different, 0)[0].labels, one.labels)


def test_the_exported_networks_pace_is_that_of_the_processor(few: Rows) -> None:
    training = run(training_of(candidate(epochs=1), few))
    own = training.curve[-1].validation_seconds
    assert own is not None
    assert processor_pace(training) == own / len(few.validation_labels)
    training.evaluation = training.evaluation.model_copy(update={"device": "cuda"})
    assert 0.0 < processor_pace(training) != own / len(few.validation_labels)


# --- predicting -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_probabilities_sum_to_one_whatever_the_batch(
    few: Rows, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    training = run(training_of(candidate(epochs=1, dropout=0.5), few))
    plan = DevicePlan.from_json({"dtype": dtype})
    tolerance = 1e-5 if dtype == "float32" else 0.05
    expected = training.predict(few.train_images, CPU)
    for size in (1, 7, 200, 500):
        monkeypatch.setattr("workers.evaluation.LARGEST_BATCH", size)
        made = predict_probabilities(
            training.network, few.train_images, normalisation=training.normalisation, plan=plan
        )
        assert made.shape == (200, 10) and made.dtype == np.float32
        assert np.allclose(made.sum(1), 1.0, atol=1e-5) and (made >= 0.0).all()
        assert np.allclose(made, expected, atol=tolerance)


def test_predicting_changes_neither_the_network_nor_the_random_state(few: Rows) -> None:
    training = run(training_of(candidate(epochs=1, dropout=0.5), few))
    before = training.state()
    training.predict(few.validation_images, CPU)
    after = training.state()
    assert all(torch.equal(before.tensors[name], after.tensors[name]) for name in before.tensors)


# --- the host's speed -------------------------------------------------------------------------


class Probe:
    """Stands in for the measuring, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[DevicePlan] = []
        self.progress: list[str] = []

    def __call__(self, plan: DevicePlan) -> float:
        self.asked.append(plan)
        return 900.0 if plan.dtype == "float32" and plan.channels_last else 500.0

    def speed(self, cache: Path) -> tuple[HostSpeed, DevicePlan]:
        return host_speed(cache=cache, progress=self.progress.append)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    made = Probe()
    monkeypatch.setattr("workers.device.images_per_second", made)
    return made


def test_the_fastest_way_of_computing_is_chosen(probe: Probe, tmp_path: Path) -> None:
    speed, plan = probe.speed(tmp_path)
    assert speed.images_per_second == 900.0 and speed.macs > 0
    assert plan.dtype == "float32" and plan.channels_last
    assert len(probe.asked) == len(set(probe.asked)) == 3 and len(probe.progress) == 1


def test_a_host_is_measured_once(probe: Probe, tmp_path: Path) -> None:
    first = probe.speed(tmp_path / "cache")
    measured = len(probe.asked)
    assert probe.speed(tmp_path / "cache") == first
    (path,) = (tmp_path / "cache").iterdir()
    record = json.loads(path.read_text())
    record["speed"]["images_per_second"] = 12345.0
    path.write_text(json.dumps(record))
    speed, plan = probe.speed(tmp_path / "cache")
    assert speed.images_per_second == 12345.0 and plan == first[1]
    assert len(probe.asked) == measured and len(probe.progress) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "null",
        lambda text: "[]",
        lambda text: text.replace("images_per_second", "images"),
        lambda text: text.replace("float32", "float33"),
        lambda text: text.replace("900", '"fast"'),
        lambda text: "\xff",
    ],
)
def test_a_damaged_memory_is_measured_again_and_mended(
    probe: Probe, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    first = probe.speed(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_text()
    path.write_bytes(damage(whole).encode("latin-1"))
    assert probe.speed(tmp_path) == first and len(probe.asked) == 6
    assert path.read_text() == whole


def test_a_memory_that_cannot_be_written_is_done_without(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert probe.speed(tmp_path / "file")[0].images_per_second == 900.0
    assert len(probe.asked) == 6


def test_measuring_gives_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.device.PROBE_SECONDS", 0.01)
    assert images_per_second(CPU) > 0.0
