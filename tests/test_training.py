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

from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.network import build_network
from spaces.recipe import Candidate, Optimizer, Recipe, Schedule
from workers.batches import Batch
from workers.checkpoints import load_checkpoint, save_checkpoint
from workers.device import DevicePlan
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
    [{}, {"augmentation": "flip_shift_erase", "mixup": 0.4}, {"skip": 0.75}],
    ids=["plain", "mixed and erased", "easy rows left out"],
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


def test_easy_rows_are_left_out_until_the_last_steps(few: Rows) -> None:
    made = candidate(skip=0.9, epochs=8, batch_size=16, learning_rate=0.1)
    training = run(training_of(made, few))
    images = [report.images for report in training.curve]
    assert sum(images) == 8 * 192 == training.total_steps * 16
    assert images[0] == 192 and max(images[1:4]) < 192
    assert training.epoch > 8
    last = training.curve[-1]
    assert last.validation_accuracy is not None and last.validation_accuracy > 0.7
    assert 0.0 < last.train_accuracy <= 1.0


@pytest.mark.parametrize("epochs", [1, 4])
def test_the_last_steps_are_not_augmented(
    few: Rows, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    made = candidate(augment_until=0.75, batch_size=16, epochs=epochs)
    training = training_of(made, few)
    draw, augmented = training.batches.epoch, []

    def epoch(number: int, *, whole: bool = False, augment: Callable[[], bool]) -> Iterator[Batch]:
        for batch in draw(number, whole=whole, augment=augment):
            augmented.append(augment())
            yield batch

    monkeypatch.setattr(training.batches, "epoch", epoch)
    run(training)
    steps = 12 * epochs
    assert augmented == [True] * (steps * 3 // 4) + [False] * (steps // 4)


@pytest.mark.parametrize("until", [0.0, 1.0])
def test_a_rung_is_judged_on_images_as_the_training_sees_them(
    few: Rows, monkeypatch: pytest.MonkeyPatch, until: float
) -> None:
    training = training_of(candidate(augment_until=until, epochs=2), few, rung=1)
    draw, augmented = training.batches.epoch, set()

    def epoch(number: int, *, whole: bool = False, augment: Callable[[], bool]) -> Iterator[Batch]:
        augmented.add(augment())
        return draw(number, whole=whole, augment=augment)

    monkeypatch.setattr(training.batches, "epoch", epoch)
    run(training)
    assert augmented == {until == 1.0}


def test_the_training_accuracy_weighs_images_as_the_loss_does(few: Rows) -> None:
    training = run(training_of(candidate(skip=0.75, epochs=12, learning_rate=0.2), few))
    assert 0.9 < max(report.train_accuracy for report in training.curve) < 1.0 + 1e-5


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


def test_the_exported_networks_pace_is_that_of_the_processor(few: Rows) -> None:
    training = run(training_of(candidate(epochs=1), few))
    own = training.curve[-1].validation_seconds
    assert own is not None
    assert processor_pace(training) == own / len(few.validation_labels)
    training.evaluation = training.evaluation.model_copy(update={"device": "cuda"})
    assert 0.0 < processor_pace(training) != own / len(few.validation_labels)
